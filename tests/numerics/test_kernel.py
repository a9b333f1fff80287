"""The noise kernel against quadrature in float64, closed forms and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erfc, exp1, gamma, gammaincc, logsumexp

from composite_flow.numerics.kernel import log_uniform_kernel

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(40)


def log_integral(x, power, minimum):
    """log 2 ∫_m^1 σ^-power exp(−x/σ²) dσ by Gauss-Legendre panels in v = −log σ around the peak, in log space."""
    twice_a = power - 1
    last = -np.log(minimum) if minimum else np.inf
    peak = np.clip(0.5 * np.log(twice_a / 2 / x), 0, last) if twice_a > 0 else 0.0
    low = max(0.0, peak - 120 / twice_a - 12 / np.sqrt(twice_a)) if twice_a > 0 else 0.0
    height = twice_a / 2 + 80 + x * np.exp(2 * peak) + 50 * np.sqrt(twice_a / 2 + 1)
    high = max(peak, min(last, 0.5 * np.log(height / x)))
    edges = [np.linspace(low, peak, 40), np.linspace(peak, high, 40), low + np.geomspace(1e-9, 1, 50) * (high - low)]
    edges = np.unique(np.concatenate(edges))
    half = np.diff(edges) / 2
    v = (edges[1:] + edges[:-1])[:, None] / 2 + half[:, None] * _NODES
    return np.log(2) + logsumexp(twice_a * v - x * np.exp(2 * v), b=half[:, None] * _WEIGHTS)


def grid(dimension):
    """x from 1e-12 to 1e6, and closely around the change of method."""
    a = (dimension - 1) / 2
    around = (a + 1) * np.array([0.25, 0.5, 0.9, 0.999, 1.001, 1.1, 2.0])
    return np.asarray(2 * np.concatenate([np.geomspace(1e-12, 1e6, 37), around]), np.float32)


CASES = [(1, 0.0), (2, 0.0), (3, 0.0), (41, 0.0), (781, 0.0), (1, 0.1), (41, 0.01), (5, 0.9)]


@pytest.mark.parametrize(("dimension", "minimum"), CASES)
def test_value_and_derivative_match_quadrature(dimension, minimum):
    squared = grid(dimension)
    x, a = squared.astype(np.float64) / 2, (dimension - 1) / 2
    evaluate = jax.jit(
        lambda r: jax.jvp(lambda t: log_uniform_kernel(t, dimension, minimum), (r,), (jnp.ones_like(r),))
    )
    value, derivative = (np.asarray(result, np.float64) for result in evaluate(jnp.asarray(squared)))
    expected = np.array([log_integral(point, dimension, minimum) for point in x])
    above = np.array([log_integral(point, dimension + 2, minimum) for point in x])
    size = np.maximum(np.maximum(1, x), a * np.abs(np.log(x / max(a, 1e-9))))
    # Ten units of rounding of the largest term, or of E₁'s and Γ's differences over [m, 1], which lose 1/(1 − m).
    assert np.max(np.abs(value - expected) / size) < 1.2e-6 / (1 - minimum)
    error = np.abs(derivative / (-0.5 * np.exp(above - expected)) - 1)  # d/d(r²), the ratio of two kernels
    assert np.max(error / size) < 5e-6 / (1 - minimum)


def test_value_matches_special_functions():
    """K = x^-a Γ(a, x) for a = 0, ½, 1, 4, where SciPy's functions neither over- nor underflow."""
    x = np.geomspace(1e-3, 50, 30)
    closed = {1: exp1(x), 2: np.sqrt(np.pi / x) * erfc(np.sqrt(x)), 3: np.exp(-x) / x}
    closed[9] = x**-4 * gamma(4) * gammaincc(4, x)
    for dimension, expected in closed.items():
        with jax.enable_x64():
            value = jax.jit(log_uniform_kernel, static_argnums=(1, 2))(jnp.asarray(2 * x), dimension, 0.0)
        np.testing.assert_allclose(value, np.log(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("minimum", [0.0, 0.2])
def test_first_and_second_derivatives_match_finite_differences(minimum):
    with jax.enable_x64():
        kernel = jax.jit(lambda r: log_uniform_kernel(r, 5, minimum))
        first = jax.jit(jax.grad(lambda r: log_uniform_kernel(r, 5, minimum)))
        second = jax.jit(jax.grad(jax.grad(lambda r: log_uniform_kernel(r, 5, minimum))))
        for r in (0.01, 1.0, 5.9, 6.1, 40.0):
            step = 1e-4 * r  # central differences: error of 1e-8 relative, and 1e-11 of rounding
            np.testing.assert_allclose(first(r), (kernel(r + step) - kernel(r - step)) / (2 * step), rtol=1e-6)
            np.testing.assert_allclose(second(r), (first(r + step) - first(r - step)) / (2 * step), rtol=1e-6)


@pytest.mark.parametrize("dimension", [1, 2, 40])
def test_zero_distance_is_finite_and_the_largest(dimension):
    kernel = jax.jit(lambda r: log_uniform_kernel(r, dimension, 0.0))
    value, derivative = kernel(jnp.zeros(1)), jax.jvp(kernel, (jnp.zeros(1),), (jnp.ones(1),))[1]
    assert np.isfinite(value).all() and np.isfinite(derivative).all()
    assert value[0] > kernel(jnp.full(1, 1e-12))[0]
