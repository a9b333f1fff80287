"""Intervals cover as often as they say, for every size of the team, however wrong the claimed variances are."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from composite_flow.certificate.verdict import Names
from composite_flow.data.scaling import Scaling
from composite_flow.errors import InputError
from composite_flow.fusion.answers import Prior
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.fuse import fuse_each
from composite_flow.fusion.ideal import LinearGaussianAnswers
from composite_flow.fusion.intervals import TeamQuantiles, measure_quantiles, measured_sizes
from composite_flow.fusion.levels import LEVELS
from composite_flow.fusion.team_estimate import TeamEstimate

AGENTS, NOISE = 3, 0.5


@pytest.fixture(scope="module")
def team():
    """Three agents who see both numbers of a standard normal state, with noise; exact answers."""
    prior = Prior(jnp.zeros(2), jnp.ones(2), FeatureTypes((), (), 2))
    maps, precisions = jnp.tile(jnp.eye(2), (AGENTS, 1, 1)), jnp.tile(jnp.eye(2) / NOISE**2, (AGENTS, 1, 1))
    return LinearGaussianAnswers(prior, maps, precisions)


def draw(number, key):
    key_state, key_noise = jax.random.split(key)
    states = jax.random.normal(key_state, (number, 2))
    seen = states[:, None] + NOISE * jax.random.normal(key_noise, (number, AGENTS, 2))
    return jnp.concatenate([seen, jnp.tile(jnp.eye(AGENTS), (number, 1, 1))], axis=-1), states


def test_exact_variances_give_the_quantiles_of_a_normal(team, key):
    found = measure_quantiles(team, *draw(20_000, key), key=key)
    assert found is not None and found.sizes == (1, 2, 3)
    expected = np.broadcast_to(stats.norm.ppf(0.5 + np.array(LEVELS) / 2), found.values.shape)
    np.testing.assert_allclose(found.values, expected, rtol=0.03, atol=0.02)


@pytest.mark.parametrize("claim", [0.25, 4.0])
def test_intervals_cover_although_claims_are_wrong(team, key, claim):
    """Claims of a fourth and of four times the precision: the measured quantiles make up for it."""
    boaster = eqx.tree_at(lambda t: t.prior.precision, team, team.prior.precision)
    wrong = Boaster(boaster, jnp.float32(claim))
    key_measure, key_new = jax.random.split(key)
    quantiles = measure_quantiles(wrong, *draw(4000, key_measure), key=key)
    histories, states = draw(4000, key_new)
    for size in (1, 3):
        found = fuse_each(wrong, histories, jnp.broadcast_to(jnp.arange(AGENTS) < size, (4000, AGENTS)))
        named = found.in_own_units(Scaling(jnp.full(2, -5.0), jnp.full(2, 5.0)), Names(("x", "y")), quantiles)
        low, high = named.interval("y", 0.9)
        true = 10.0 * states[:, 1] - 5.0
        assert float(jnp.mean((low <= true) & (true <= high))) == pytest.approx(0.9, abs=0.02)


class Boaster(LinearGaussianAnswers):
    """Claims another precision than it has."""

    claim: jax.Array

    def __init__(self, honest, claim):
        self.prior, self.observation_maps, self.noise_precisions = (
            honest.prior,
            honest.observation_maps,
            honest.noise_precisions,
        )
        self.claim = claim

    def answer(self, context):
        found = super().answer(context)
        return eqx.tree_at(lambda answer: answer.precision, found, self.claim * found.precision)


def test_numbers_that_do_not_count_are_left_out(team, key):
    """Of a feature that is always right, ratios are 0: they would hide the errors of the other."""
    histories, states = draw(2000, key)
    certain = eqx.tree_at(lambda t: t.noise_precisions, team, team.noise_precisions * jnp.array([1e8, 1.0])[None, None])
    histories = histories.at[:, :, 0].set(states[:, None, 0])
    counted = jnp.broadcast_to(jnp.array([False, True]), states.shape)
    all_numbers = measure_quantiles(certain, histories, states, key=key)
    some = measure_quantiles(certain, histories, states, key=key, counted=counted)
    assert float(some.at(0.5, jnp.array(3))) == pytest.approx(stats.norm.ppf(0.75), rel=0.1)
    assert float(all_numbers.at(0.5, jnp.array(3))) < 0.5 * float(some.at(0.5, jnp.array(3)))
    with pytest.raises(InputError, match="No number counts"):
        measure_quantiles(certain, histories, states, key=key, counted=jnp.zeros_like(counted))


def test_states_without_numbers_have_no_quantiles(key):
    types = FeatureTypes((0, 1), (), 2)
    prior = Prior(jnp.full(2, 0.5), jnp.ones(2), types)
    team = LinearGaussianAnswers(prior, jnp.ones((1, 1, 2)), jnp.ones((1, 1, 1)))
    assert measure_quantiles(team, jnp.ones((4, 1, 2)), jnp.ones((4, 2)), key=key) is None


def test_between_levels_and_sizes():
    quantiles = TeamQuantiles(
        (1, 10), jnp.asarray(np.stack([np.arange(len(LEVELS)), np.arange(len(LEVELS)) + 100]), jnp.float32)
    )
    assert float(quantiles.at(LEVELS[2], jnp.array(2))) == pytest.approx(2.0)
    middle = 0.5 * (LEVELS[2] + LEVELS[3])
    np.testing.assert_allclose(quantiles.at(middle, jnp.array([1, 9, 30])), [2.5, 102.5, 102.5], rtol=1e-5)
    with pytest.raises(InputError, match="levels from"):
        quantiles.at(0.999, jnp.array(1))
    assert len(jax.tree.leaves(quantiles)) == 1  # sizes are no numbers of a network
    two = FeatureTypes((), (), 2)
    said = TeamEstimate(jnp.zeros(2), jnp.ones(2), jnp.ones(1, bool), jnp.array(1), 1, two, quantiles=quantiles)
    assert [said.promises(level) for level in (LEVELS[0], LEVELS[-1], 0.999)] == [True, True, False]
    assert not dataclasses.replace(said, quantiles=None).promises(0.9)


def test_large_teams_are_measured_at_some_sizes():
    assert measured_sizes(5) == (1, 2, 3, 4, 5)
    sizes = measured_sizes(1024)
    assert sizes[0] == 1 and sizes[-1] == 1024 and len(sizes) == 8
