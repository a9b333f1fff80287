"""Ranks of matrices with known spectra, dense and by products with vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.numerics.rank import (
    THRESHOLDS,
    effective_rank,
    effective_rank_of_values,
    numerical_rank,
    randomised_singular_values,
    rank_of_values,
    singular_values,
)


def matrix_of(values, rows, columns, key):
    """A matrix with these singular values and random singular vectors."""
    key_left, key_right = jax.random.split(key)
    left = jnp.linalg.qr(jax.random.normal(key_left, (rows, len(values))))[0]
    right = jnp.linalg.qr(jax.random.normal(key_right, (columns, len(values))))[0]
    return (left * jnp.asarray(values)[None]) @ right.T


def test_ranks_of_a_known_spectrum_fall_with_the_threshold(key):
    values = np.array([1.0, 0.5, 1e-2, 1e-5], np.float32)
    matrix = matrix_of(values, 6, 5, key)
    np.testing.assert_allclose(singular_values(matrix)[:4], values, rtol=1e-4, atol=1e-6)
    assert [int(numerical_rank(matrix, threshold)) for threshold in (0.6, 0.1, 1e-3)] == [1, 2, 3]
    assert [int(rank_of_values(jnp.asarray(values), threshold)) for threshold in THRESHOLDS] == [2, 2, 2, 3, 3, 3]
    shares = values / values.sum()
    np.testing.assert_allclose(effective_rank(matrix), np.exp(-np.sum(shares * np.log(shares))), rtol=1e-5)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_k_equal_values_have_effective_rank_k_whatever_their_size(k):
    values = jnp.pad(jnp.full(k, 1e-20), (0, 2))
    np.testing.assert_allclose(effective_rank_of_values(values), k, rtol=1e-5)
    assert rank_of_values(values) == k


def test_zero_matrices_have_rank_zero_in_a_batch():
    batch = jnp.stack([jnp.zeros((3, 5)), jnp.eye(3, 5)])
    np.testing.assert_array_equal(numerical_rank(batch), [0, 3])
    np.testing.assert_allclose(effective_rank(batch), [0.0, 3.0], rtol=1e-6)


def leading(matrix, num_values, key, **options):
    return randomised_singular_values(
        lambda v: matrix @ v, lambda u: matrix.T @ u, matrix.shape[0], matrix.shape[1], num_values, key=key, **options
    )


def test_products_give_a_low_rank_spectrum_exactly_and_zeros_after_it(key):
    values = np.array([5.0, 2.0, 1.0, 0.1], np.float32)
    found = leading(matrix_of(values, 60, 40, key), 6, key, oversampling=4)
    np.testing.assert_allclose(found, np.pad(values, (0, 2)), rtol=1e-4, atol=1e-5)


def test_products_never_say_too_much_and_come_closer_with_each_power(key):
    """A flat spectrum is the worst case: 1/√k."""
    values = 1 / np.sqrt(np.arange(1, 41, dtype=np.float32))
    matrix = matrix_of(values, 60, 40, key)
    errors = []
    for power_iterations in (0, 2, 6):
        found = np.asarray(leading(matrix, 5, key, oversampling=3, power_iterations=power_iterations))
        assert np.all(found <= values[:5] * (1 + 1e-5))  # rounding
        errors.append(np.max(1 - found / values[:5]))
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.02
