"""Theorem 4's bound against the exact gap of two states, where everything is one-dimensional."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from composite_flow.analysis.basin_gap import gap_bound, printed_gap_bound

TWO_STATES = jnp.array([[0.0, 0.0], [0.6, 0.8]])  # at distance one


def exact_gap(probability, sigma):
    """|∫_{basin of the first} Σ_s p(s) N(y; s, σ²) dy − p(first)| by quadrature along the line through both states."""
    boundary = 0.5 + sigma**2 * np.log(probability / (1 - probability))

    def density(y):
        return probability * norm.pdf(y, 0, sigma) + (1 - probability) * norm.pdf(y, 1, sigma)

    edges = [edge for edge in (0.0, 1.0) if -10 * sigma < edge < boundary]
    share, _ = quad(density, -10 * sigma, boundary, points=edges or None, limit=200, epsabs=1e-13)
    return abs(share - probability)


@functools.partial(jax.jit, static_argnums=0)
def jitted(bound, *arguments):
    return bound(*arguments)


def bounds(bound, probability, sigma):
    with jax.enable_x64(True):
        return np.asarray(
            jitted(bound, jnp.log(jnp.array([probability, 1 - probability])), jnp.asarray(TWO_STATES, float), sigma)
        )


@pytest.mark.parametrize("probability", [0.5, 0.7, 0.9, 0.999])
@pytest.mark.parametrize("sigma", [1 / 6, 0.25, 0.5, 1.0])
def test_corrected_bound_holds(probability, sigma):
    gap = exact_gap(probability, sigma)
    assert (bounds(gap_bound, probability, sigma) >= gap - 1e-12).all()


def test_corrected_bound_is_attained():
    """A state of probability 1e-9 has its whole mass in the other's basin, and nothing comes back."""
    gap = exact_gap(1 - 1e-9, 0.25)
    np.testing.assert_allclose(bounds(gap_bound, 1 - 1e-9, 0.25), gap, rtol=1e-2)


def test_printed_bound_is_violated():
    assert exact_gap(0.9, 1 / 6) > 4 * bounds(printed_gap_bound, 0.9, 1 / 6).max()


def test_printed_bound_is_below_the_chance_of_misclassification():
    """At a distance of 4σ and equal probabilities: 0.0037 printed, Φ(−2) = 0.0228 true."""
    np.testing.assert_allclose(bounds(printed_gap_bound, 0.5, 0.25), 0.0036538, rtol=1e-4)
    np.testing.assert_allclose(bounds(gap_bound, 0.5, 0.25), norm.cdf(-2), rtol=1e-6)


def test_impossible_states_change_nothing():
    states = jnp.concatenate([TWO_STATES, jnp.array([[0.1, 0.0], [0.2, 0.0]])])
    logs = jnp.log(jnp.array([0.7, 0.3, 0.0, 0.0]))
    np.testing.assert_allclose(
        jitted(gap_bound, logs, states, 0.25), np.append(bounds(gap_bound, 0.7, 0.25), [0, 0]), rtol=1e-5
    )
