"""Sensitivities: closed form, finite differences of a network's fixed point, dense against matrix-free."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from composite_flow.flow import converge
from composite_flow.linear_gaussian import LinearGaussianDenoiser
from composite_flow.network import Network
from composite_flow.numerics.krylov import krylov_solve
from composite_flow.numerics.rank import singular_values
from composite_flow.sensitivity import SensitivityOperator, sensitivity, shift_along


class LowRank(eqx.Module):
    """f(τ, y) = A tanh(B y + C τ): its Jacobian in y has at most as many ranks as there are hidden units."""

    outer: Float[Array, "state hidden"]
    inner: Float[Array, "hidden state"]
    history: Float[Array, "hidden history"]

    @property
    def state_size(self):
        return self.outer.shape[0]

    def condition(self, history):
        return self.history @ history

    def denoise(self, context, y):
        return self.outer @ jnp.tanh(self.inner @ y + context)


def low_rank(key, state_size=120, hidden=6, history_size=10):
    keys = jax.random.split(key, 3)
    return LowRank(
        jax.random.normal(keys[0], (state_size, hidden)) / state_size**0.5,
        jax.random.normal(keys[1], (hidden, state_size)) / state_size**0.5,
        jax.random.normal(keys[2], (hidden, history_size)) / history_size**0.5,
    )


@eqx.filter_jit
def rest(denoiser, history, y):
    return converge(denoiser, denoiser.condition(history), y, tolerance=1e-6, max_steps=2000).y


dense = eqx.filter_jit(sensitivity)


def test_the_mean_of_a_gaussian_posterior_moves_by_its_own_map(key):
    """J⁺ = (I − G)^{-1} (I − G) A = A, whatever the covariance and the noise."""
    key_map, key_root = jax.random.split(key)
    root, slope = jax.random.normal(key_root, (4, 4)), jax.random.normal(key_map, (4, 3))
    denoiser = LinearGaussianDenoiser(slope, jnp.zeros(4), root @ root.T, 1.0)
    # The condition number of I − G, some 10 here, times float32's rounding.
    np.testing.assert_allclose(dense(denoiser, jnp.ones(3), slope @ jnp.ones(3)), slope, atol=2e-5)


def test_a_smooth_networks_fixed_point_moves_as_predicted(key):
    """Central differences in float32 err by h² f'''/6 and 1e-6/h, so that a step of h = 0.03 leaves below 1e-3."""
    network = Network(5, 4, 12, 2, "every_layer", "silu", key=key)
    history = jnp.linspace(0.0, 1.0, 5)
    y, step = rest(network, history, jnp.full(4, 0.5)), 0.03
    columns = [
        (rest(network, history + shift, y) - rest(network, history - shift, y)) / (2 * step)
        for shift in step * jnp.eye(5)
    ]
    expected = jnp.stack(columns, axis=1)
    assert float(jnp.linalg.norm(expected)) > 0.1
    np.testing.assert_allclose(dense(network, history, y), expected, atol=1e-3)


def test_matrix_free_agrees_with_dense_far_below_the_dimension(key):
    """A Jacobian of rank 6 in 120 dimensions needs a Krylov space of depth 7, not 120."""
    denoiser, history = low_rank(key), jnp.linspace(-1.0, 1.0, 10)
    y = rest(denoiser, history, jnp.zeros(120))
    matrix = dense(denoiser, history, y)
    operator = SensitivityOperator(denoiser, history, y, depth=8, max_restarts=1)
    direction, cotangent = jax.random.normal(key, (10,)), jax.random.normal(key, (120,))

    @eqx.filter_jit
    def products(operator):
        values = operator.singular_values(6, key=key, oversampling=4)
        return operator.product(direction), operator.transposed_product(cotangent), values

    solution, (pulled, residual), leading = products(operator)
    assert max(float(solution.residual), float(residual), float(leading.residual)) < 1e-5
    np.testing.assert_allclose(solution.x, matrix @ direction, atol=1e-5)
    np.testing.assert_allclose(pulled, matrix.T @ cotangent, atol=1e-5)
    np.testing.assert_allclose(leading.values, singular_values(matrix)[:6], rtol=1e-4)
    shallow = SensitivityOperator(denoiser, history, y, depth=2, max_restarts=1).product(direction)
    assert float(shallow.residual) > 1e-3  # too shallow a space is told by its residual
    np.testing.assert_allclose(shift_along(denoiser, history, direction, y), matrix @ direction, atol=1e-5)


@pytest.mark.parametrize("depth", [4, 30])
def test_krylov_solves_restart_until_the_residual_is_small(key, depth):
    matrix = jnp.eye(30) + 0.1 * jax.random.normal(key, (30, 30))
    target = jnp.linspace(0.0, 1.0, 30)
    solution = krylov_solve(lambda v: matrix @ v, target, depth=depth, max_restarts=60)
    np.testing.assert_allclose(matrix @ solution.x, target, atol=1e-4)
    assert float(solution.residual) < 2e-5


def test_a_singular_system_is_told_by_its_residual():
    solution = krylov_solve(lambda v: v.at[0].set(0.0), jnp.ones(3))
    assert jnp.isfinite(solution.x).all() and solution.residual > 0.5


def test_nothing_to_solve_gives_nothing():
    solution = krylov_solve(lambda v: 2 * v, jnp.zeros(3))
    assert not solution.x.any() and solution.residual == 0
