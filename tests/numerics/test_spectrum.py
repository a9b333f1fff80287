"""Spectral radii: matrix-free and by matrix products, against dense eigenvalues, at a depth far below the size."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.numerics.spectrum import arnoldi_radius, radius_bound, spectral_radius

SIZE, DEPTH = 200, 20


@eqx.filter_jit
def matrix_free(matrix, key):
    return arnoldi_radius(lambda v: matrix @ v, matrix.shape[0], key=key, depth=DEPTH)


def random(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def with_blocks(values, blocks=(), upper=0.0):
    """Q T Qᵀ with T upper triangular up to 2×2 rotations, so that its eigenvalues are known."""
    size = len(values) + 2 * len(blocks)
    triangle = upper * np.triu(random((size, size), 1), 1) / size**0.5
    triangle += np.diag(np.concatenate([np.zeros(2 * len(blocks)), values]))
    for index, (modulus, angle) in enumerate(blocks):
        rows = slice(2 * index, 2 * index + 2)
        triangle[rows, rows] = modulus * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    rotation = np.linalg.qr(random((size, size), 2))[0]
    return jnp.asarray(rotation @ triangle @ rotation.T, jnp.float32)


def low_rank(rank, size=SIZE):
    left, right = random((size, rank), 3) / size**0.5, random((size, rank), 4) / size**0.5
    return jnp.asarray(left @ right.T), np.abs(np.linalg.eigvals(right.T @ left)).max()


MATRICES = {
    "known gap": (with_blocks(np.append(np.linspace(-0.6, 0.6, SIZE - 1), 0.9)), 0.9),
    "complex pair": (with_blocks(np.linspace(-0.7, 0.7, SIZE - 2), [(0.95, 1.1)]), 0.95),
    "two complex pairs": (with_blocks(np.linspace(-0.7, 0.7, SIZE - 4), [(0.95, 1.1), (0.9, 2.5)]), 0.95),
    "rank 3": low_rank(3),
    "rank 1": low_rank(1),
    "zero": (jnp.zeros((SIZE, SIZE)), 0.0),
    "identity": (jnp.eye(SIZE), 1.0),
    "non-normal": (with_blocks(np.append(np.linspace(-0.5, 0.5, SIZE - 1), 0.8), upper=0.3), 0.8),
}


@pytest.mark.parametrize("name", MATRICES)
def test_matrix_free_radius_is_the_known_one(name, key):
    matrix, truth = MATRICES[name]
    found = matrix_free(matrix, key)
    assert bool(found.residual <= 1e-3 * found.value)
    # Normal matrices err by less than the residual; the non-normal one by a few times as much.
    np.testing.assert_allclose(found.value, truth, atol=5e-3 * truth)
    assert bool(found.breakdown) == (name in {"rank 3", "rank 1", "zero", "identity"})


@pytest.mark.parametrize("name", ["rank 3", "rank 1", "zero"])
def test_rank_deficient_radii_are_exact(name, key):
    matrix, truth = MATRICES[name]
    np.testing.assert_allclose(matrix_free(matrix, key).value, truth, rtol=1e-5)


def test_crowded_spectrum_needs_restarts_and_reports_its_residual(key):
    """A random matrix fills a disc: no gap, so one cycle is not enough, and the residual says so."""
    matrix = jnp.asarray(random((SIZE, SIZE)) / SIZE**0.5)
    truth = spectral_radius(matrix)
    once = arnoldi_radius(lambda v: matrix @ v, SIZE, key=key, depth=DEPTH, max_restarts=0)
    assert once.residual > 0.05
    assert abs(matrix_free(matrix, key).value - truth) < abs(once.value - truth) + 1e-3 < 0.2


def test_full_depth_is_dense(key):
    matrix = jnp.asarray(random((8, 8)))
    found = arnoldi_radius(lambda v: matrix @ v, 8, key=key, depth=50)
    np.testing.assert_allclose(found.value, spectral_radius(matrix), rtol=1e-4)


def test_radii_under_vmap(key):
    names = ["known gap", "complex pair", "zero", "rank 3"]
    stacked = jnp.stack([MATRICES[name][0] for name in names])
    found = eqx.filter_jit(jax.vmap(lambda m: arnoldi_radius(lambda v: m @ v, SIZE, key=key, depth=DEPTH)))(stacked)
    np.testing.assert_allclose(found.value, [MATRICES[name][1] for name in names], atol=5e-3)
    np.testing.assert_allclose(spectral_radius(stacked), [MATRICES[name][1] for name in names], atol=1e-5)


@pytest.mark.parametrize("name", MATRICES)
def test_bound_is_never_below_the_radius(name):
    matrix, truth = MATRICES[name]
    bounds = [float(radius_bound(matrix, count)) for count in (0, 3, 9)]
    assert min(bounds) >= truth * (1 - 1e-6)
    assert (np.diff(bounds) <= 0).all()
    # The low-rank ones have a norm eight times their radius: rounding keeps their bound a few per cent above it.
    assert bounds[-1] <= (1.2 if "rank" in name else 1.02) * truth


def test_bound_certifies_stability_of_a_jacobian_of_the_usual_size():
    """Forty features, symmetric, radius 0.95: eight products are enough to certify it."""
    rotation = np.linalg.qr(random((40, 40)))[0]
    matrix = jnp.asarray(rotation * np.linspace(0.5, 0.95, 40, dtype=np.float32) @ rotation.T)
    assert 0.95 <= float(radius_bound(matrix)) < 0.96


def test_bound_of_a_nilpotent_map_certifies_stability():
    """Radius 0, norm 1: rounding error leaves ε^{1/8} of it, which is far below one."""
    assert 0 <= float(radius_bound(jnp.eye(8, k=1))) < 0.5
