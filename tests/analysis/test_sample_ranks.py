"""Ranks of the truth among samples: flat for samples of its own distribution, and closed forms for others.

Of the state N(0, 1) and two samples N(b, t²): both lie above it with probability ¼ + arcsin(1/(1 + t²))/(2π) for b = 0,
since x₁ − s and x₂ − s are correlated by 1/(1 + t²). One sample lies below it with probability Φ(−b/√(1 + t²)).
"""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from teams import ideal_sets

from composite_flow.analysis.sample_ranks import RankHistogram, feature_ranks, tarp
from composite_flow.analysis.sample_scores import sample_scores
from composite_flow.files.plain_json import read_json
from composite_flow.fusion.team_sampling import sample_conditional

STEPS = 20_000  # a share's standard error is at most 0.0036
CLOSE = 0.013
SBI = Path(__file__).parent / "sbi_ranks.json"


def end_share(variance):
    """How often both of two samples N(0, variance) lie above a state N(0, 1)."""
    return 0.25 + math.asin(1.0 / (1.0 + variance)) / (2.0 * math.pi)


def gaussians(key, num_samples, *, scale=1.0, shift=0.0, size=2):
    """Samples N(shift, scale²) and states N(0, 1), independent features."""
    key_samples, key_states = jax.random.split(key)
    samples = shift + scale * jax.random.normal(key_samples, (STEPS, num_samples, size))
    return samples, jax.random.normal(key_states, (STEPS, size))


def test_samples_of_the_states_own_distribution_have_flat_ranks(key):
    samples, states = gaussians(key, 7)
    for found in (feature_ranks(samples, states, key=key), tarp(samples, states, key=key)):
        np.testing.assert_allclose(found.shares, 1 / 8, atol=CLOSE)
        np.testing.assert_allclose(found.coverage, np.broadcast_to(found.levels, found.coverage.shape), atol=CLOSE)
        np.testing.assert_allclose(found.tilt, 0.0, atol=0.02)
        np.testing.assert_allclose(found.spread, 1.0, atol=0.03)
        assert np.all(found.gap < CLOSE) and np.all(found.p_values() > 0.01)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_samples_too_narrow_or_too_wide_are_seen_at_the_ends(key, scale):
    samples, states = gaussians(key, 2, scale=scale)
    found, end = feature_ranks(samples, states, key=key), end_share(scale**2)
    np.testing.assert_allclose(found.shares, [[end, 1 - 2 * end, end]] * 2, atol=CLOSE)
    assert np.all((found.spread > 1.1) == (scale < 1)) and np.all((found.spread < 0.9) == (scale > 1))
    assert np.all(found.p_values() < 1e-6)
    np.testing.assert_allclose(found.gap, abs(end - 1 / 3), atol=CLOSE)


def test_a_bias_is_seen_in_the_tilt(key):
    samples, states = gaussians(key, 1, shift=-0.5)
    found = feature_ranks(samples, states, key=key)
    below = stats.norm.cdf(0.5 / math.sqrt(2.0))
    np.testing.assert_allclose(found.shares, [[1 - below, below]] * 2, atol=CLOSE)
    np.testing.assert_allclose(found.tilt, 2 * below - 1, atol=2 * CLOSE)


def test_equal_values_are_broken_at_random(key):
    """A binary feature that is 1 in a fifth of the steps, drawn independently each time."""
    ones = jax.random.bernoulli(key, 0.2, (STEPS, 6, 1)).astype(jnp.float32)
    found = feature_ranks(ones[:, 1:], ones[:, 0], key=key)
    np.testing.assert_allclose(found.shares, 1 / 6, atol=CLOSE)
    np.testing.assert_allclose(tarp(ones[:, 1:], ones[:, 0], key=key).shares, 1 / 6, atol=CLOSE)


def test_tarp_sees_that_features_go_together_where_their_own_ranks_do_not(key):
    """Far down the diagonal, distances are those along it: the state's variance there is 1 + ρ, the samples' 1."""
    key_states, key_samples = jax.random.split(key)
    factor = jnp.array([[1.0, 0.0], [0.8, 0.6]])  # ρ = 0.8
    states = jax.random.normal(key_states, (STEPS, 2)) @ factor.T
    samples = jax.random.normal(key_samples, (STEPS, 2, 2))
    np.testing.assert_allclose(feature_ranks(samples, states, key=key).shares, 1 / 3, atol=CLOSE)
    end = end_share(1 / 1.8)
    found = tarp(samples, states, jnp.full((STEPS, 2), -300.0), key=key)
    np.testing.assert_allclose(found.shares, [end, 1 - 2 * end, end], atol=CLOSE)


def test_samples_that_ignore_what_was_seen_have_flat_ranks_and_a_worse_score(key):
    """s = seen + noise, of variance ½ each: samples of the prior, and samples of the posterior."""
    keys = jax.random.split(key, 3)
    seen = math.sqrt(0.5) * jax.random.normal(keys[0], (STEPS, 1))
    states = seen + math.sqrt(0.5) * jax.random.normal(keys[1], (STEPS, 1))
    draws = jax.random.normal(keys[2], (STEPS, 7, 1))
    prior, posterior = draws, seen[:, None] + math.sqrt(0.5) * draws
    for samples in (prior, posterior):
        np.testing.assert_allclose(feature_ranks(samples, states, key=key).shares, 1 / 8, atol=CLOSE)
    scores = [float(sample_scores(samples, states).energy) for samples in (prior, posterior)]
    np.testing.assert_allclose(scores, np.array([1.0, math.sqrt(0.5)]) / math.sqrt(math.pi), atol=0.02)


def test_samples_of_an_ideal_team_denoiser_have_flat_ranks(key):
    """States and twelve samples of 1,500 random beliefs over four states; a belief twice as sharp is seen."""
    possible = jnp.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    denoiser = ideal_sets(possible, 1)
    key_beliefs, key_states, key_samples, key_ranks = jax.random.split(key, 4)
    beliefs = jax.random.dirichlet(key_beliefs, jnp.ones(4), (1_500,))
    states = possible[jax.random.categorical(key_states, jnp.log(beliefs))]

    @jax.jit
    def draw(beliefs):
        messages = jnp.concatenate([beliefs, jnp.ones((len(beliefs), 2))], axis=1)
        keys = jax.random.split(key_samples, len(beliefs))
        return jax.vmap(lambda message, key: sample_conditional(denoiser, message, 12, key=key))(messages, keys)

    found = tarp(jnp.round(draw(beliefs)), states, key=key_ranks)
    assert found.gap < 0.045 and found.p_values() > 0.01  # 1.36/√1,500 = 0.035 is the 95% point of a continuous law
    sharper = beliefs**2 / jnp.sum(beliefs**2, axis=1, keepdims=True)
    assert tarp(jnp.round(draw(sharper)), states, key=key_ranks).p_values() < 1e-6


def test_ranks_and_tarp_are_those_of_sbi(key):
    """sbi's curve gives, at the ends of its bins, the share of steps whose rank/M lies below."""
    kept = read_json(SBI)
    draws = np.random.default_rng(kept["seed"])
    shape = (kept["steps"], kept["samples"], kept["state"])
    states = draws.normal(size=(shape[0], shape[2])).astype(np.float32)
    samples = (0.2 + 0.8 * draws.normal(size=shape)).astype(np.float32)
    references = draws.uniform(-2.0, 2.0, size=states.shape).astype(np.float32)
    found = feature_ranks(jnp.asarray(samples), jnp.asarray(states), key=key)
    assert found.counts.tolist() == kept["rank_counts"]
    curve = tarp(jnp.asarray(samples), jnp.asarray(states), jnp.asarray(references), key=key)
    below = np.ceil(np.asarray(kept["tarp_levels"]) * kept["samples"] - 1e-6).astype(int)
    np.testing.assert_allclose(curve.coverage[below[:-1]], kept["tarp_coverage"][:-1], atol=1e-5)
    assert curve.coverage[-1] == pytest.approx(kept["tarp_coverage"][-1]) == 1.0


def test_a_histogram_by_hand():
    """Ranks 0, 0, 2, 2 of two samples: shares ½, 0, ½."""
    found = RankHistogram(np.array([2, 0, 2]))
    assert found.levels.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert found.coverage.tolist() == [0.0, 0.5, 0.5, 1.0]
    assert float(found.gap) == pytest.approx(1 / 6)
    assert (float(found.tilt), float(found.spread)) == pytest.approx((0.0, 1.5))
    assert float(found.p_values()) == pytest.approx(stats.chi2.sf(2.0, 2))
