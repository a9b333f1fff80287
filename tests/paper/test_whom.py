"""Whom to ask: the exact greedy choice against sums over all that can be seen, what is counted, and a small run."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow_paper.experiment import run
from composite_flow_paper.whom.cell import stopped
from composite_flow_paper.whom.exact import expected_errors, first_of, greedy_order, outcomes_of, tables_of
from composite_flow_paper.whom.experiment import EXPERIMENT
from composite_flow_paper.whom.report import messages_needed, messages_of_stopping, removed_share

PROBLEM = cf.SensorNetwork.grid(2, 3, num_targets=2, miss=0.4)


@pytest.fixture
def seen(key):
    """Tables, and what each agent saw in 16 steps."""
    tables, listed = tables_of(PROBLEM)
    joint = cf.HistoryDataset(cf.collect(PROBLEM, 16, key=key)).joint(16 * np.arange(16))
    outcomes = outcomes_of(joint.structured.observations[:, :, -1], listed)
    return tables, joint, outcomes, jax.vmap(tables.told)(outcomes)


def test_tables_give_the_exact_joint_belief(seen):
    tables, joint, _, told = seen
    belief = cf.exact_belief(PROBLEM, joint.structured, joint=True)
    found = jax.vmap(lambda one: tables.belief(one, jnp.ones(6, bool)))(told)
    np.testing.assert_allclose(found, belief.probabilities, atol=1e-6)
    np.testing.assert_allclose(tables.likelihoods.sum(axis=1), 1.0, atol=1e-5)


def test_what_each_agent_leaves_is_the_mean_over_all_it_can_see(seen):
    tables, _, outcomes, told = seen
    heard = jnp.array([True, False, False, True, False, False])
    belief = tables.belief(told[0], heard)
    for agent in range(6):
        left, chances = 0.0, 0.0
        for outcome in range(tables.likelihoods.shape[1]):
            joint = np.asarray(belief, np.float64) * np.asarray(tables.likelihoods[agent, outcome], np.float64)
            if (chance := joint.sum()) > 0:
                left += chance * float(tables.moments(jnp.asarray(joint / chance, jnp.float32))[1])
                chances += chance
        assert chances == pytest.approx(1.0, abs=1e-5)
        assert float(tables.left_by_each(belief)[agent]) == pytest.approx(left, abs=1e-5)
    assert jnp.all(tables.left_by_each(belief) <= tables.moments(belief)[1] + 1e-5)


def test_the_greedy_order_asks_everybody_once_and_whom_it_says(seen):
    tables, _, _, told = seen
    order = greedy_order(tables, told[3])
    assert sorted(order.tolist()) == list(range(6))
    teams = first_of(order)
    assert teams.sum(axis=1).tolist() == list(range(7))
    for count in range(5):
        assert bool(teams[count + 1, order[count]]) and not bool(teams[count, order[count]])
        left = jnp.where(teams[count], jnp.inf, tables.left_by_each(tables.belief(told[3], teams[count])))
        assert left[order[count]] <= left.min() + 1e-6


def test_expected_errors_are_those_of_states_drawn_from_the_belief(seen, key):
    tables, _, _, told = seen
    teams, means = first_of(jnp.arange(6)), jnp.tile(0.1 * jnp.arange(7.0)[None], (7, 1))
    errors, least = expected_errors(tables, told[1], teams, means)
    drawn = jax.random.choice(key, tables.states, (20_000,), p=tables.belief(told[1], teams[1]))
    sampled = jnp.sum((drawn - means[1][None]) ** 2, axis=1)
    assert float(errors[1]) == pytest.approx(float(sampled.mean()), abs=4 * float(sampled.std()) / 20_000**0.5)
    assert jnp.all(least <= errors) and float(least[0]) == pytest.approx(float(tables.moments(tables.prior)[1]))


def test_messages_are_counted_between_whole_numbers():
    errors = [2.0, 1.0, 0.5, 0.0]
    assert removed_share(errors) == [0.0, 0.5, 0.75, 1.0]
    assert messages_needed(errors, 0.5) == 1.0 and messages_needed(errors, 0.8) == pytest.approx(2.2)
    stopping = [{"messages": 0.0, "error": 2.0}, {"messages": 1.0, "error": 0.5}, {"messages": 3.0, "error": 0.0}]
    assert messages_of_stopping(errors, stopping, 0.8) == pytest.approx(1.4)
    assert np.isnan(messages_of_stopping(errors, stopping[:2], 0.8))


def test_each_case_stops_at_its_own_claim():
    claims = np.array([[1.0, 0.4, 0.4, 0.2], [1.0, 0.9, 0.05, 0.05]])
    errors = np.array([[1.0, 0.5, 0.3, 0.3], [1.0, 0.8, 0.0, 0.0]])
    found = stopped(claims, errors, 3)
    assert [one["variance"] for one in found] == pytest.approx([1.0, 0.01, 1e-4])
    assert [one["messages"] for one in found] == [0.0, 3.0, 3.0]
    assert stopped(claims, errors, 9)[1] == pytest.approx({"variance": 10**-0.5, "messages": 2.5, "error": 0.15})


@pytest.mark.slow
def test_a_small_team_learns_whom_to_ask_and_is_judged(tmp_path):
    smoke = EXPERIMENT.preset("smoke")
    settings = replace(smoke, training=replace(smoke.training, steps=200), num_test=24)
    result = run(EXPERIMENT, settings, tmp_path, progress=lambda sentence: None)
    exact = result.summary["kinds"]["exact"]
    assert exact["exact"]["messages"] < exact["random"]["messages"] and exact["random"]["saved_of_seeds"] == [0.0]
    assert exact["exact"]["saved_of_seeds"] == [1.0]
    for order, found in result.cells["asking"][0]["orders"].items():
        assert np.all(np.array(found["exact_errors"]) <= np.array(found["errors"]) + 1e-6), order
        assert found["errors"][0] == pytest.approx(result.cells["asking"][0]["orders"]["random"]["errors"][0])
    assert "exact greedy choice" in (tmp_path / "whom.md").read_text()
    assert (tmp_path / "whom.png").stat().st_size > 10_000
