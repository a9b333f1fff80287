"""Filters beside the exact one: the exact filter itself, what is judged, and a small run."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.fusion.answers import prior_of
from composite_flow.fusion.features import find_types
from composite_flow.fusion.over_time import build_filter
from composite_flow.problems.sensor import SensorWorld
from composite_flow_paper.experiment import run
from composite_flow_paper.over_time.acting import ActingSettings
from composite_flow_paper.over_time.battles import BattleSettings, compute_battles
from composite_flow_paper.over_time.battles_report import battles_table, summarise_battles
from composite_flow_paper.over_time.cell import TRAINING, judge
from composite_flow_paper.over_time.exact import exact_means
from composite_flow_paper.over_time.exact_acting import actions_of_plans, exact_acting, matchings
from composite_flow_paper.over_time.experiment import EXPERIMENT
from composite_flow_paper.over_time.report import (
    acting_table,
    summarise_acting,
    summarise_way,
    t_interval,
    told_of,
    way_in_words,
)
from composite_flow_paper.shared.cells import Workspace
from composite_flow_paper.table1.experiment import PRESETS as OF_TABLE_1

PROBLEM = cf.problem_from_text("sensor:2x2,targets=1,miss=0.4,steps=6")


@pytest.fixture
def windows(key):
    return cf.HistoryDataset(cf.collect(PROBLEM, 5, key=key), 6).joint(np.arange(30))


def test_the_exact_filter_of_what_is_heard(windows):
    """All heard, it is the exact belief of whole windows; one agent alone, that agent's own; nobody, the prior."""
    observations = windows.structured.observations[:, :, -1].reshape(5, 6, 4, -1)
    everybody = jnp.ones((5, 6, 4), bool)
    belief = cf.exact_belief(PROBLEM, windows.structured, joint=True)
    expected = belief.probabilities @ belief.states
    np.testing.assert_allclose(exact_means(PROBLEM, observations, everybody).reshape(30, -1), expected, atol=2e-6)
    alone = cf.exact_belief(PROBLEM, windows.structured)
    third = everybody & (jnp.arange(4) == 2)[None, None]
    expected = (alone.probabilities @ alone.states)[:, 2]
    np.testing.assert_allclose(exact_means(PROBLEM, observations, third).reshape(30, -1), expected, atol=2e-6)
    nobody = exact_means(PROBLEM, observations, ~everybody).reshape(30, -1)
    start = PROBLEM.initial_probabilities() @ PROBLEM.states()
    np.testing.assert_allclose(nobody, jnp.broadcast_to(start, nobody.shape), atol=2e-6)


def test_what_says_nothing_is_as_far_from_the_exact_filter_as_the_prior(key):
    """An untrained product predicts the prior's mean in every step."""
    test = cf.HistoryDataset(cf.collect(PROBLEM, 5, key=key))
    states = np.asarray(test.windows.states)
    size, prior = test.layout.size, prior_of(states, find_types(states))
    team_filter = build_filter("product", (jnp.zeros(size), jnp.ones(size)), prior, 8, 1, key=key)
    train, validation, _ = test.split(key=key)
    settings = cf.TrainingConfig(width=8, depth=1, steps=1, learn="fusion", team_denoiser=False)
    answers = cf.fit(train, validation, settings, key=key, progress=False).answers
    found = judge(PROBLEM, team_filter, answers, test, 0.0, key)
    joint = cf.HistoryDataset(cf.collect(PROBLEM, 5, key=key), 6).joint(np.arange(30))
    belief = cf.exact_belief(PROBLEM, joint.structured, joint=True)
    exact = belief.probabilities @ belief.states
    assert found["excess"] == pytest.approx(float(jnp.mean((prior.mean[None] - exact) ** 2)), rel=1e-3)
    assert found["exact_error"] == pytest.approx(float(jnp.mean((exact - joint.states) ** 2)), rel=1e-3)
    assert found["episodes"] == 5 and 0 < found["excess_standard_error"] < found["excess"]


def test_a_matching_gives_each_sensor_one_area_at_most():
    """As many as are known: 7 of a ring of four, 131 of a 3×3 grid."""
    ring, grid = cf.SensorNetwork.two_by_two(), cf.SensorNetwork.grid(3, 3)
    for problem, count in ((ring, 7), (grid, 131)):
        plans = matchings(np.asarray(problem.coverage))
        assert len(np.unique(plans, axis=0)) == len(plans) == count
        assert (plans.astype(int) @ np.asarray(problem.coverage).T.astype(int)).max() == 1


def test_the_best_matching_is_the_best_of_all_joint_actions(key):
    """Of a belief over the states of a ring: expected rewards, by the world's own step, of all 3⁴ joint actions."""
    problem = cf.SensorNetwork.two_by_two(num_targets=2)
    plans = matchings(np.asarray(problem.coverage))
    planned = actions_of_plans(problem, plans)
    every = jnp.asarray(list(itertools.product(range(3), repeat=4)), jnp.int32)
    worlds = [SensorWorld(jnp.flatnonzero(state, size=2), jnp.int32(0)) for state in problem.states()]
    worlds = jax.tree.map(lambda *leaves: jnp.stack(leaves), *worlds)

    def expected(belief, actions):
        return belief @ jax.vmap(lambda world: problem.step(key, world, actions)[1])(worlds)

    for draw in jax.random.split(key, 20):
        belief = jax.random.dirichlet(draw, jnp.full(problem.num_states, 0.3))
        gains = belief @ problem.states() - 0.2
        best = jnp.asarray(planned[int(np.argmax(plans @ np.asarray(gains)))], jnp.int32)
        most = jnp.max(jax.vmap(lambda actions, belief=belief: expected(belief, actions))(every))
        assert float(expected(belief, best)) == pytest.approx(float(most), abs=1e-5)


def test_who_knows_the_state_earns_all_that_there_is(key):
    """Sensors that miss nothing, one target: 0.8 a step. Where nothing reaches others, two still see the target."""
    problem = cf.SensorNetwork.two_by_two(num_steps=6)
    for lost in (0.0, 1.0):
        np.testing.assert_allclose(exact_acting(problem, lost, key, 8), 6 * 0.8, atol=1e-5)


def test_what_is_lost_costs(key):
    problem = cf.problem_from_text("sensor:2x2,targets=2,miss=0.5")
    means = [exact_acting(problem, lost, key, 400).mean() for lost in (0.0, 0.5, 1.0)]
    assert means[0] > means[1] + 0.3 > means[2] + 0.6


def test_seeds_are_averaged_and_kept():
    numbers = {"error": 0.2, "exact_error": 0.1, "fusion_error": 0.3, "fusion_excess": 0.2}
    cells = [
        {"losses": [{"lost": 0.0, "excess": excess, **numbers}], "message_bytes": 48, "filter_seconds": 3.0}
        for excess in (0.01, 0.03)
    ]
    (found,) = summarise_way(cells)["losses"]
    assert found["excess"] == pytest.approx(0.02) and found["excess_of_seeds"] == [0.01, 0.03]


def test_every_way_to_act_has_a_name_and_a_row_of_its_own():
    ways = {way.group: way for way in ActingSettings().ways}
    assert len(ways) == len(ActingSettings().ways)
    found = {"last_tenth": 12.0, "return": 12.5, "psnr": 16.0, "messages": 16.0, "seconds": 50.0}
    told = {name: {**told_of(way), **summarise_acting([found])} for name, way in ways.items()}
    assert way_in_words(told["acting-gated-discount0"]) == "gated chain, discount 0"
    assert way_in_words(told["acting-gated_alone-discount0"]) == "each agent's own gated chain, discount 0"
    _, _, rows = acting_table([*told.values()])
    assert len({row[0] for row in rows}) == len(ways) and {row[1] for row in rows} == {"12.00"}


@pytest.mark.slow
def test_a_small_battle_is_followed_and_fused(tmp_path, permissive):
    """Learning to carry changes nothing else, so that fusion of as long histories is the same beside it."""
    training = replace(TRAINING, width=8, depth=1, steps=20, warmup=5, record_every=10, evaluate_every=20)
    settings = BattleSettings(OF_TABLE_1["smoke"].worlds, "gated", training, history=1, num_episodes=40, num_test=6)
    found = compute_battles(settings, 0, Workspace(tmp_path, tmp_path / "scratch", False, lambda text: None))
    errors = found["errors"]
    assert sum(errors["counts"]) == found["test_steps"] and len(errors["counts"]) == 6
    means = {name: np.asarray(each) for name, each in errors["means"].items()}
    np.testing.assert_allclose(means["one_step"], means["more_steps"], rtol=1e-5)  # of float32
    assert not np.allclose(means["carried"], means["one_step"])
    assert (tmp_path / settings.policy.name).is_dir()
    assert summarise_battles([found])["ways"]["one_step"]["carried_above"] is not None


def test_battles_are_compared_by_episodes():
    """Errors a tenth of others are ten decibels less; a way is above another by what their errors are apart."""
    errors = {"carried": [0.01, 0.01], "one_step": [0.1, 0.1], "more_steps": [0.01, 0.03]}
    cell = {
        "agents": 5,
        "train_steps": 90,
        "test_steps": 8,
        "errors": {"counts": [4, 4], "means": errors},
        "message_bytes": dict.fromkeys(errors, 280),
    }
    found = summarise_battles([cell, cell])
    assert found["ways"]["one_step"]["psnr"] == pytest.approx(10.0)
    above = {name: found["ways"][name]["carried_above"] for name in ("one_step", "more_steps")}
    assert above["one_step"]["decibels"] == pytest.approx(10.0) and above["one_step"]["shown"] == "higher"
    assert above["more_steps"]["decibels"] == pytest.approx(10 * np.log10(2)) and found["seeds"] == 2
    _, header, rows = battles_table(found)
    assert all(len(row) == len(header) for row in rows) and rows[1][2] == "+10.00" and rows[0][2] == ""


def test_the_interval_is_students():
    """Of five values with mean 2 and standard deviation 1: 2 ± 2.776/√5."""
    values = 2 + np.array([-1.0, -1.0, 0.0, 1.0, 1.0])
    half = 2.776445 * np.std(values, ddof=1) / np.sqrt(5)
    assert t_interval(values.tolist()) == pytest.approx((2 - half, 2 + half), abs=1e-5) and t_interval([3.0]) is None


@pytest.mark.slow
def test_a_small_filter_is_learned_judged_and_drawn(tmp_path):
    smoke = EXPERIMENT.preset("smoke")
    filters = replace(smoke.filters, training=replace(smoke.filters.training, steps=60), num_episodes=60)
    settings = replace(smoke, filters=filters)
    result = run(EXPERIMENT, settings, tmp_path, progress=lambda sentence: None)
    (world,) = result.summary["worlds"].values()
    losses = world["ways"]["residual"]["losses"]
    assert [each["lost"] for each in losses] == [0.0, 0.1, 0.5]
    assert losses[0]["exact_error"] < losses[1]["exact_error"] < losses[2]["exact_error"]
    table = (tmp_path / "over_time.md").read_text()
    assert "fusion of one step" in table and "residual chain, discount 0 |" in table
    acted, lossy = result.summary["acting"]
    assert acted["interval"] is None and acted["messages"] == 17 and -40 < acted["last_tenth"] < 20
    assert lossy["messages"] == 9 * 8 and lossy["lost"] == 0.5 and 10 < lossy["exact_return"] < 20
    assert "gated chain, discount 0, 50% lost |" in table
    assert (tmp_path / "over_time.png").stat().st_size > 10_000
