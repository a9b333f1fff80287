"""Marginals of sensor networks by symmetric polynomials, against sums over all states."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.belief import exact_belief
from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow.problems.sensor import SensorNetwork
from composite_flow_paper.shared.sensor_marginals import (
    exact_marginals,
    excess_share,
    same_decisions,
    subset_marginals,
)
from composite_flow_paper.shared.teams import team_posteriors


@pytest.mark.parametrize("size", [0, 1, 3, 5])
def test_sets_are_as_probable_as_their_weights_say(size):
    weights = np.array([0.5, 2.0, 0.0, 1.0, 3.0, 0.25])
    sets = list(itertools.combinations(range(6), size))
    chances = np.array([np.prod(weights[list(one)]) for one in sets])
    expected = [sum(c for one, c in zip(sets, chances, strict=True) if k in one) / chances.sum() for k in range(6)]
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(subset_marginals(np.log(weights), size), expected, atol=1e-12)


@pytest.mark.parametrize("miss", [0.0, 0.3])
@pytest.mark.parametrize("targets", [1, 3])
def test_marginals_are_those_of_the_exact_belief(targets, miss):
    problem = SensorNetwork.grid(3, 3, num_targets=targets, miss=miss)
    dataset = HistoryDataset(collect(problem, 4, key=jax.random.key(0)), length=1)
    joint = dataset.joint(dataset.steps[:40])
    participants = jax.random.bernoulli(jax.random.key(1), 0.5, (40, 9)).at[:, 4].set(True)
    belief, log_prior = exact_belief(problem, joint.structured), jnp.log(problem.initial_probabilities())
    expected = team_posteriors(belief.log_probabilities, log_prior, participants) @ belief.states
    found = exact_marginals(problem, joint.structured.observations[:, :, 0], participants)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_allclose(found.sum(axis=1), targets, atol=1e-9)


def test_a_thousand_sensors_have_marginals():
    problem = SensorNetwork.grid(32, 32, num_targets=32, miss=0.3)
    found = exact_marginals(problem, np.zeros((1, 1024, 4)), np.ones((1, 1024), bool))
    np.testing.assert_allclose(found.sum(), 32, rtol=1e-9)
    degree = np.asarray(problem.degree)
    assert found[0, degree.argmax()] > found[0, degree.argmin()]  # where targets come more often


def test_errors_beyond_the_exact_ones_are_counted_over_the_states():
    marginals = np.array([[0.5, 0.25], [1.0, 0.0]])
    found = excess_share(np.array([[0.6, 0.25], [1.0, 0.0]]), marginals)
    assert found["excess"] == pytest.approx(0.005) and found["own_error"] == pytest.approx((0.25 + 0.1875) / 2)
    assert found["share"] == pytest.approx(found["excess"] / found["own_error"])


def test_decisions_are_the_same_unless_a_side_is_wrong():
    marginals = np.array([[0.5, 0.2], [0.7, 0.2], [0.7, 0.2]])
    estimates = np.array([[0.9, 0.1], [0.6, 0.4], [0.4, 0.4]])
    assert same_decisions(estimates, marginals).tolist() == [True, True, False]
