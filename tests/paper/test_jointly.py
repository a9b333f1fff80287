"""Worlds that teams alone learn of: their exact posteriors in closed form, chance, and the smallest preset."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.belief import exact_belief
from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow_paper.experiment import run
from composite_flow_paper.jointly.cell import all_but_one, chance, judged
from composite_flow_paper.jointly.experiment import EXPERIMENT
from composite_flow_paper.jointly.problems import PROBLEMS, build_problem, team_posterior_each
from composite_flow_paper.jointly.report import summarise_world

pytestmark = pytest.mark.usefixtures("permissive")

POSTERIORS = {"xor": [1, 0], "parity": [1, 0], "sum": [1, 0, 0, 0], "partly": [0.4, 0.4, 0.1, 0.1, 0, 0, 0, 0]}


def joint_of(problem, count=40):
    """Joint histories of one step, and each agent's observation there as a number."""
    dataset = HistoryDataset(collect(problem, 4, key=jax.random.key(0)), length=1)
    joint = dataset.joint(dataset.steps[:count])
    return joint, np.asarray(jnp.argmax(joint.structured.observations[:, :, 0], axis=-1))


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_team_knows_the_stated_mix_and_all_but_one_know_nothing(name):
    problem = build_problem(name)
    joint, _ = joint_of(problem)
    observations = joint.structured.observations[:, :, 0]
    whole = team_posterior_each(problem, observations, jnp.ones(observations.shape[:2], bool))
    np.testing.assert_allclose(np.sort(whole, axis=1)[:, ::-1], [POSTERIORS[name]] * len(whole), atol=1e-6)
    belief = exact_belief(problem, joint.structured, joint=True)
    np.testing.assert_allclose(belief.probabilities, whole, atol=1e-6)
    np.testing.assert_array_equal(belief.states, problem.states())  # in the same order
    part = team_posterior_each(problem, observations, all_but_one(*observations.shape[:2]))
    np.testing.assert_allclose(part, 1 / problem.num_states, atol=1e-6)
    np.testing.assert_allclose(exact_belief(problem, joint.structured).probabilities, 1 / problem.num_states, atol=1e-6)


@pytest.mark.parametrize("name, base", [("parity", 2), ("sum", 4)])
def test_the_state_is_the_sum_of_the_observations(name, base):
    joint, seen = joint_of(build_problem(name))
    np.testing.assert_array_equal(np.argmax(joint.states, axis=1), seen.sum(axis=1) % base)


def test_what_is_told_partly_is_which_half_and_how_it_goes_with_a():
    """Observations are 2 b + c: b tells a + h for certain, c tells h in 0.8."""
    problem = build_problem("partly")
    joint, seen = joint_of(problem)
    posterior = np.asarray(exact_belief(problem, joint.structured, joint=True).probabilities).reshape(-1, 2, 2, 2)
    told = (seen[:, 0] ^ seen[:, 1]) & 1
    certain = (seen[:, 0] ^ seen[:, 1]) >> 1
    for each, half, relation in zip(posterior, told, certain, strict=True):  # by a, h, the state in the half
        np.testing.assert_allclose(each[relation ^ half, half], 0.4, atol=1e-6)
        np.testing.assert_allclose(each[1 - (relation ^ half), 1 - half], 0.1, atol=1e-6)


@pytest.mark.parametrize("name, expected", [("xor", 0.5), ("parity", 0.5), ("sum", 0.75), ("partly", 0.55)])
def test_chance_is_what_uniform_guesses_come_to(name, expected):
    """By its formula, and by many guesses."""
    problem = build_problem(name)
    joint, _ = joint_of(problem, 8)
    assert chance(exact_belief(problem, joint.structured, joint=True).probabilities) == pytest.approx(expected)
    guesses = problem.states()[jax.random.randint(jax.random.key(0), (8, 4000), 0, problem.num_states)]
    found = judged(problem, joint, {"guesses": guesses})
    assert found["chance"] == pytest.approx(expected)
    assert found["ways"]["guesses"]["total_variation"] == pytest.approx(expected, abs=0.02)
    assert found["states_allowed"] == sum(p > 0 for p in POSTERIORS[name])


def test_a_sample_counts_as_the_nearest_state():
    problem = build_problem("sum")
    joint, seen = joint_of(problem, 8)
    undecided = 0.1 + 0.3 * jnp.asarray(joint.states)[:, None]  # of no feature above 0.5
    found = judged(problem, joint, {"team_denoiser": undecided})["ways"]["team_denoiser"]
    assert found["total_variation"] == 0.0 and found["inside"] == 1.0 and found["undecided"] == 1.0


def test_samples_without_one_agent_are_held_against_the_prior():
    problem = build_problem("xor")
    joint, _ = joint_of(problem, 8)
    halves = jnp.tile(jnp.eye(2), (8, 50, 1))
    found = judged(problem, joint, {"without_one_agent": halves, "composite": halves})["ways"]
    assert found["without_one_agent"]["total_variation"] == 0.0
    assert found["composite"]["total_variation"] == 0.5


def test_the_largest_seed_decides():
    score = {"total_variation": 0.1, "floor": 0.04, "inside": 0.9, "undecided": 0.0, "states_allowed": 1.0}
    ways = {name: score for name in ("without_one_agent", "no_free_numbers", "summed_answers", "composite")}
    sizes = {"agents": 2, "states": 2, "states_allowed": 1.0, "chance": 0.5, "seconds": 1.0}
    world = summarise_world(
        [{**sizes, "ways": {**ways, "team_denoiser": {**score, "total_variation": tv}}} for tv in (0.04, 0.08)]
    )
    assert world["ways"]["team_denoiser"]["above"] == pytest.approx([0.0, 0.04])
    assert world["ways"]["team_denoiser"]["total_variation"] == pytest.approx(0.06)


@pytest.mark.slow
def test_xor_is_learned_by_the_team_alone(tmp_path):
    settings, told = EXPERIMENT.presets["smoke"], []
    result = run(EXPERIMENT, settings, tmp_path, progress=told.append)
    world = result.summary["worlds"]["xor"]
    assert [*result.cells] == ["xor"] and world["chance"] == pytest.approx(0.5)
    above = {name: way["above"][0] for name, way in world["ways"].items()}
    assert above["team_denoiser"] <= 0.05 and result.summary["reached"]
    assert above["without_one_agent"] <= 0.1
    assert above["summed_answers"] == pytest.approx(0.5, abs=0.15)
    assert above["composite"] == pytest.approx(0.5, abs=0.25)  # 16 joint histories, whose flows may all end alike
    table = (tmp_path / "jointly.md").read_text()
    assert "| uniform guesses (exactly) | 0.500 |" in table
    told.clear()
    assert run(EXPERIMENT, settings, tmp_path, progress=told.append).summary == result.summary and not told
    assert all((tmp_path / f"jointly.{kind}").stat().st_size > 10_000 for kind in ("svg", "png"))
