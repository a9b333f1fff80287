"""Trust: faults do what they say, exact sets are those of the belief, and what cells come to; then all of it, small."""

import dataclasses

import jax
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.belief import exact_belief
from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.episodes import Episodes
from composite_flow.problems.sensor import SensorNetwork
from composite_flow_paper.experiment import load_experiment, run
from composite_flow_paper.trust.broken import by_growth, grown, interval_of, without
from composite_flow_paper.trust.exact import surprise
from composite_flow_paper.trust.faults import KINDS, LAG, broken
from composite_flow_paper.trust.report import kept, pooled, row_of
from composite_flow_paper.trust.sets import exact_chances, seen_by

AGENTS, COLUMNS, LENGTH, EPISODES = 3, 2, 12, 40


@pytest.fixture(scope="module")
def log():
    """A random walk of each column and agent; the actions number the agents."""
    random = np.random.default_rng(0)
    steps = np.cumsum(random.normal(size=(EPISODES, LENGTH, AGENTS, COLUMNS)), axis=1)
    flat = EPISODES * LENGTH
    return Episodes.from_arrays(
        observations=steps.reshape(flat, AGENTS, COLUMNS).astype(np.float32),
        actions=np.tile(np.arange(AGENTS, dtype=np.int32), (flat, 1)),
        states=random.normal(size=(flat, 2)).astype(np.float32),
        ends=np.arange(flat) % LENGTH == LENGTH - 1,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_changes_one_agent_of_each_episode_and_nothing_else(log, kind):
    agents = np.random.default_rng(1).integers(0, AGENTS, EPISODES)
    found = broken(log, kind, agents, 0)
    whose = agents[log.episode_of_step][:, None] == np.arange(AGENTS)
    changed = ~np.isclose(found.observations, log.observations, equal_nan=False).all(axis=2)
    assert not changed[~whose].any() and changed[whose].mean() > 0.5
    np.testing.assert_array_equal(found.states, log.states)
    told, before = found.observations[whose], log.observations[whose]
    by_episode, was = told.reshape(EPISODES, LENGTH, COLUMNS), before.reshape(EPISODES, LENGTH, COLUMNS)
    if kind == "zeros":
        assert not told.any()
    elif kind == "scaled":
        np.testing.assert_array_equal(told, 3.0 * before)
    elif kind == "nan":
        assert np.isnan(told).all()
    elif kind == "shifted":
        np.testing.assert_array_equal(by_episode[:, LAG:], was[:, :-LAG])
        np.testing.assert_array_equal(by_episode[:, :LAG], np.broadcast_to(was[:, :1], by_episode[:, :LAG].shape))
    elif kind == "frozen":
        assert (by_episode[:, LENGTH // 2 :] == by_episode[:, LENGTH // 2 :][:, :1]).all()
        assert (by_episode[:, 0] == was[:, 0]).all()
    elif kind == "offset":
        half = 0.5 * np.ptp(log.observations.reshape(-1, COLUMNS), axis=0)
        np.testing.assert_allclose(np.abs(told - before), np.broadcast_to(half, told.shape), rtol=1e-3)
        assert np.ptp(by_episode - was, axis=1).max() < 1e-3
    elif kind == "noise":
        deviations = log.observations.reshape(-1, COLUMNS).std(axis=0)
        np.testing.assert_allclose((told - before).std(axis=0), deviations, rtol=0.1)
    else:
        other = (agents[log.episode_of_step] + 1) % AGENTS
        np.testing.assert_array_equal(told, log.observations[np.arange(log.num_steps), other])
        np.testing.assert_array_equal(found.actions[whose], other)
    assert kind == "another" or (found.actions == log.actions).all()


def test_harm_counts_where_the_error_grew_by_enough():
    before, after = np.array([1.0, 1.0, 0.001, 1.0, 2.0]), np.array([1.4, 1.6, 0.01, np.nan, 1.0])
    found = grown(after, before, least=0.05)
    np.testing.assert_allclose(found, [1.4, 1.6, 1.0, np.inf, 0.5])
    bins = by_growth(found, np.array([False, True, True, True, False]))
    assert [one["share"] for one in bins] == pytest.approx([0.4, 0.2, 0.2, 0.0, 0.2])
    assert [one["named"] for one in bins] == [0.5, 0.0, 1.0, None, 1.0]


def test_intervals_of_shares_count_episodes(log):
    """Whole episodes of True and False: the interval is that of so many episodes, not of steps."""
    values = np.repeat(np.arange(EPISODES) % 2 == 0, LENGTH)
    share, low, high, count = interval_of(values, log)
    assert share == 0.5 and count == EPISODES
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.25 / EPISODES), rel=0.2)
    half = np.arange(log.num_steps) < log.num_steps // 2
    assert (
        interval_of(values[half], log, half)[3] == EPISODES // 2 and interval_of(values[:0], log, half & ~half) is None
    )
    rest = without(log, np.tile([[0, 2]], (EPISODES, 1)))
    assert rest.tolist() == [[False, True, False]] * log.num_steps


def test_exact_sets_are_made_from_the_belief_of_those_who_are_heard():
    problem = SensorNetwork.grid(2, 2, num_targets=2, miss=0.3)
    episodes = cf.collect(problem, 30, key=jax.random.key(0))
    rows = np.arange(0, episodes.num_steps, 7)
    everyone = np.ones((episodes.num_steps, 1, problem.num_agents), bool)
    found = exact_chances(problem, episodes, everyone, rows)[:, 0]
    joint = HistoryDataset(episodes, length=1).joint(rows)
    exact = exact_belief(problem, joint.structured, joint=True).probabilities
    np.testing.assert_allclose(np.exp(found), exact, atol=1e-5)
    alone = everyone & (np.arange(problem.num_agents) == 1)
    by_one = exact_chances(problem, episodes, alone, rows)[:, 0]
    own = jax.tree.map(lambda leaf: leaf[:, 1], joint.structured)
    np.testing.assert_allclose(np.exp(by_one), exact_belief(problem, own).probabilities, atol=1e-5)
    sights = seen_by(problem, np.asarray(episodes.observations[:]))
    states = np.asarray(episodes.states[:])
    assert (sights.max(axis=1) <= states).all() and 0.4 < sights.max(axis=1).sum() / states.sum() < 1.0


def test_an_observation_surprises_as_much_as_the_others_make_it_unlikely():
    """By the belief of all others, and the chance of the observation in every state."""
    problem = SensorNetwork.grid(2, 2, num_targets=2, miss=0.3)
    episodes = cf.collect(problem, 8, key=jax.random.key(1))
    found = surprise(problem, episodes)
    joint = HistoryDataset(episodes, length=1).joint(np.arange(episodes.num_steps))
    prior = np.log(np.asarray(problem.initial_probabilities()))
    seen = joint.structured.observations[:, :, 0]
    agents = range(problem.num_agents)
    told = np.stack([jax.vmap(lambda o, i=i: problem.log_likelihood(i, o))(seen[:, i]) for i in agents])
    for agent in agents:
        others = prior + np.delete(told, agent, axis=0).sum(axis=0)
        belief = others - np.logaddexp.reduce(others, axis=1, keepdims=True)
        np.testing.assert_allclose(found[:, agent], -np.logaddexp.reduce(belief + told[agent], axis=1), atol=1e-4)


def test_who_is_ruled_out_by_others_surprises_without_end_and_those_who_are_not_do_not():
    """Agent 0 sees three targets where there are two: without it all is well, and beside it nobody is possible."""
    problem = SensorNetwork.grid(2, 2, num_targets=1, miss=0.3)
    episodes = cf.collect(problem, 20, key=jax.random.key(1))
    seen = np.array(episodes.observations[:])
    rows = np.flatnonzero((seen[:, 1:] > 0).any(axis=(1, 2)) & (seen[:, 0] == 0).all(axis=1))
    seen[rows, 0] = 1.0
    found = surprise(problem, dataclasses.replace(episodes, observations=seen))[rows]
    assert len(rows) > 5 and np.isinf(found[:, 0]).all() and np.isfinite(found[:, 1:]).all()


def test_means_of_coverage_are_held_against_their_standard_errors():
    row = row_of("sensors", "regions", "step", 0.9, 3, 0.0, [0.88, 0.90, 0.86, 0.92])
    assert row["covered"] == pytest.approx(0.89)
    assert row["error"] == pytest.approx(np.std([0.88, 0.90, 0.86, 0.92], ddof=1) / 2)
    assert row["below"] == pytest.approx(0.01 / row["error"])
    certain = row_of("sensors", "regions", "step", 0.9, 3, 0.0, [1.0, 1.0])
    assert certain["below"] == 0.0
    never = row_of("sensors", "regions", "step", 0.9, 3, 0.0, [0.5, 0.5])
    assert kept([row, certain, never]) == {"rows": 3, "within_two": 2 / 3, "within_four": 2 / 3, "worst": np.inf}


def test_faults_are_pooled_by_how_often_they_harm():
    def fault(harmful, named, after):
        shares = None if named is None else [named, 0.0, 1.0, 9]
        error = {"robust": after, "of_the_sound": 1.0 if after else None}
        return {
            "harmful": harmful, "named": shares, "doubled": harmful, "abstained_or_named": shares, "error": error
        }  # fmt: skip

    kinds = list(KINDS)
    faults = {f"{kind}-{number}": fault(0.0, None, None) for kind in kinds for number in (1, 2)}
    faults |= {f"{kinds[0]}-1": fault(0.6, 1.0, 1.0), f"{kinds[1]}-1": fault(0.2, 0.5, 3.0)}
    one = pooled(faults)["1"]
    assert one["named"] == pytest.approx((0.6 + 0.1) / 0.8) == pytest.approx(one["abstained_or_named"])
    assert one["robust_over_sound"] == pytest.approx((0.6 * 1 + 0.2 * 3) / 0.8)


@pytest.mark.slow
def test_everything_runs_small_and_tells_what_it_found(tmp_path):
    experiment = load_experiment("trust")
    settings = dataclasses.replace(experiment.preset("smoke"), side=3)
    result = run(experiment, settings, tmp_path, progress=lambda sentence: None)
    coverage = result.summary["coverage"]
    assert {row["kind"] for row in coverage} == {"others", "regions", "sets of states"}
    assert {row["size"] for row in coverage} == {1, 4, 9} and {row["lost"] for row in coverage} == {0.0, 0.3}
    # three draws of 40 calibration and 40 test episodes: standard errors of about 0.04 each
    assert all(row["covered"] > row["level"] - 0.16 for row in coverage)
    assert all(0.99 < row["ratio"] for row in result.summary["sets"])  # no set is smaller than the exact one
    broken_cell = result.summary["broken"]["sensors"]
    assert broken_cell["faults"]["nan-1"]["named"][0] == 1.0 and broken_cell["accepted"][0] > 0.9
    assert broken_cell["faults"]["scaled-1"]["named"] is None or broken_cell["faults"]["scaled-1"]["named"][0] > 0.9
    assert set(result.summary["shift"]["sensors"]) == {"clean", "policy", "sight", "lost", "withheld"}
    assert (tmp_path / "trust-coverage.png").exists() and (tmp_path / "trust-broken.png").exists()
