"""Samples of a team held against its exact posterior: shares, distances and the floor of exact samples."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.belief import exact_belief
from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow.problems.sensor import SensorNetwork
from composite_flow_paper.shared.joint_samples import expected_variation, judge_samples
from composite_flow_paper.shared.teams import draw_teams, taking_part, team_posteriors, team_states


@pytest.mark.parametrize("p, n", [(0.3, 5), (0.5, 4), (0.02, 7), (0.9, 6)])
def test_the_floor_is_the_mean_deviation_of_a_binomial(p, n):
    outcomes = itertools.product((0, 1), repeat=n)
    exact = sum(abs(sum(one) / n - p) * p ** sum(one) * (1 - p) ** (n - sum(one)) for one in outcomes)
    assert expected_variation(np.array([p, 1 - p]), n) == pytest.approx(exact)  # ½ of twice the same


def test_one_possible_state_has_no_floor():
    assert expected_variation(np.array([[1.0, 0.0], [0.5, 0.5]]), 8)[0] == 0.0


def test_samples_are_counted_in_their_states():
    states = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    samples = jnp.array(
        [[[0.9, 0.1], [0.8, 0.4], [0.2, 0.7], [0.1, 0.1]], [[0.6, 0.6], [0.9, 0.9], [1.0, 1.0], [0.7, 2.0]]]
    )
    posteriors = jnp.array([[0.5, 0.5, 0.0], [0.75, 0.25, 0.0]])
    found = judge_samples(samples, states, posteriors)
    # two of four in the first state, one in the second, one in none; then all in a state that is not allowed
    np.testing.assert_allclose(found.inside, [0.75, 0.0])
    np.testing.assert_allclose(found.total_variation, [0.5 * (0.0 + 0.25 + 0.25), 1.0])
    np.testing.assert_allclose(found.states_allowed, [2, 2])
    assert found.means()["inside"] == pytest.approx(0.375)


def test_exact_samples_come_to_the_floor():
    posterior = np.random.default_rng(0).dirichlet(np.ones(8), size=300)
    states = jnp.asarray(list(itertools.product((0.0, 1.0), repeat=3)))
    keys = jax.random.split(jax.random.key(0), 300)
    drawn = jax.vmap(lambda key, p: jax.random.choice(key, 8, (50,), p=p))(keys, jnp.asarray(posterior, jnp.float32))
    found = judge_samples(states[drawn], states, jnp.asarray(posterior, jnp.float32)).means()
    assert found["inside"] == 1.0
    assert found["total_variation"] == pytest.approx(found["floor"], rel=0.03)


@pytest.mark.parametrize("miss", [0.0, 0.4])
def test_the_posterior_of_the_whole_team_is_the_joint_belief(miss):
    problem = SensorNetwork.grid(2, 3, num_targets=2, miss=miss)
    dataset = HistoryDataset(collect(problem, 4, key=jax.random.key(0)), length=1)
    structured = dataset.joint(dataset.steps[:20]).structured
    belief, log_prior = exact_belief(problem, structured), jnp.log(problem.initial_probabilities())
    teams = draw_teams(jax.random.key(1), 20, problem.num_agents, 3)
    everyone = jnp.ones((20, problem.num_agents), bool)
    together = exact_belief(problem, structured, joint=True).probabilities
    np.testing.assert_allclose(team_posteriors(belief.log_probabilities, log_prior, everyone), together, atol=1e-5)
    part = team_posteriors(belief.log_probabilities, log_prior, taking_part(teams, problem.num_agents))
    np.testing.assert_array_equal(part > 0, team_states(belief.consistent, teams))
    np.testing.assert_allclose(part.sum(axis=1), 1.0, atol=1e-5)
