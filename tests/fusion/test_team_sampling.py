"""Samplers with ideal denoisers: the conditional one has the posterior's probabilities, the blind one its states."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from teams import ideal_sets

from composite_flow.errors import InputError
from composite_flow.fusion.team_sampling import noise_levels, sample_blind, sample_conditional

STATES = jnp.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
TOLD = jnp.array([0.5, 0.3, 0.2, 0.0])  # p(s | m)
MESSAGE = jnp.concatenate([TOLD, jnp.ones(2)])  # then the mask of the one step, and the agent's number


def frequencies(samples):
    """How often samples are each of the states, all of which they come near."""
    distance = jnp.max(jnp.abs(samples[:, None] - STATES[None]), axis=2)
    assert float(jnp.max(jnp.min(distance, axis=1))) < 0.1
    return jnp.mean(jax.nn.one_hot(jnp.argmin(distance, axis=1), len(STATES)), axis=0)


def test_conditional_samples_have_the_posteriors_probabilities(key):
    """4,000 samples: a frequency's standard error is at most 0.008."""
    found = frequencies(sample_conditional(ideal_sets(STATES, 1), MESSAGE, 4000, key=key))
    np.testing.assert_allclose(found, TOLD, atol=0.03)
    assert found[3] == 0


class Gaussian(eqx.Module):
    """One number, s ~ N(½, τ²): E[s | y, σ] is linear."""

    deviation: float
    sigma: float | Array = 1.0
    state_size: int = 1

    def condition(self, history):
        return history

    def denoise(self, context, y):
        share = self.deviation**2 / (self.deviation**2 + self.sigma**2)
        return context + share * (y - context)

    def at(self, sigma):
        return Gaussian(self.deviation, sigma)


def test_conditional_samples_scatter_as_a_gaussian_posterior(key):
    samples = sample_conditional(Gaussian(0.2), jnp.array([0.5]), 4000, num_steps=60, key=key)
    assert float(jnp.mean(samples)) == pytest.approx(0.5, abs=0.02)
    assert float(jnp.std(samples)) == pytest.approx(0.2, abs=0.02)


def test_blind_samples_end_at_the_states_that_are_possible(key):
    found = frequencies(sample_blind(ideal_sets(STATES, 1), MESSAGE, 500, num_steps=40, key=key))
    assert jnp.all(found[:3] > 0.05) and found[3] == 0


def test_noise_levels_fall_evenly_in_their_cube_root():
    levels = np.asarray(noise_levels(9))
    assert levels[0] == pytest.approx(3.0) and levels[-1] == pytest.approx(0.05)
    np.testing.assert_allclose(np.diff(levels ** (1 / 3)), np.diff(levels ** (1 / 3))[0], rtol=1e-4)


def test_thirty_steps_are_usual(key):
    usual = sample_conditional(ideal_sets(STATES, 1), MESSAGE, 16, key=key)
    np.testing.assert_array_equal(usual, sample_conditional(ideal_sets(STATES, 1), MESSAGE, 16, num_steps=30, key=key))


def test_a_sample_needs_two_steps(key):
    with pytest.raises(InputError, match="num_steps"):
        sample_conditional(ideal_sets(STATES, 1), MESSAGE, 4, num_steps=1, key=key)
