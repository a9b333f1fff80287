"""Exact beliefs of `.dpomdp` files against a filter written apart, and the problem's own contract."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import assert_contract
from problems.dpomdp import oracle

import composite_flow as cf
from composite_flow.belief import start_distribution
from composite_flow.errors import InputError, TooLargeError
from composite_flow.problems import problem_from_description

jit = eqx.filter_jit  # of whole methods: each operation by itself would be compiled as well
FILES = Path(__file__).parent / "files"
NAMES = ("tiger", "recycling", "xor", "relay", "corridor")
STEPS = 5


class Leaning(cf.ReactivePolicy):
    """Agent j prefers action (j + 2 o) mod its actions, three times as much as the others; before any o, action j."""

    def probabilities(self, agent, observation, available):
        count = jnp.sum(available)
        seen = jnp.where(jnp.any(observation != 0), 1 + jnp.argmax(observation), 0)
        favourite = (agent + 2 * seen) % count
        weights = jnp.where(jnp.arange(len(available)) == favourite, 3.0, 1.0) * available.astype(jnp.float32)
        return weights / jnp.sum(weights)


def leaning(sizes):
    """The same policy, in NumPy."""

    def probabilities(agent, seen):
        weights = np.ones(sizes[agent])
        weights[(agent + 2 * (0 if seen is None else 1 + seen)) % sizes[agent]] = 3.0
        return weights / weights.sum()

    return probabilities


def evenly(sizes):
    return lambda agent, seen: np.full(sizes[agent], 1 / sizes[agent])


def read(name):
    path = FILES / f"{name}.dpomdp"
    return cf.from_dpomdp(path, num_steps=STEPS + 1), oracle.Parsed(path.read_text())


def seen_by(history):
    """Observations as numbers, None before the first action."""
    return [int(np.argmax(row)) if row.any() else None for row in np.asarray(history)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("policy", [cf.RandomPolicy(), Leaning()], ids=["random", "reactive"])
def test_beliefs_are_those_of_a_filter_written_apart(name, policy, key):
    """Within 1e-6, and with the same support; for one agent and for all; each history longer than the one before.

    Windows are as long as the longest, and masked before their episode begins.
    """
    problem, parsed = read(name)
    sizes = problem.action_sizes
    acts = evenly(sizes) if isinstance(policy, cf.RandomPolicy) else leaning(sizes)
    episodes = cf.collect(problem, 6, key=key, policy=policy, num_steps=STEPS)
    windows = cf.HistoryDataset(episodes, length=STEPS)
    for last in range(STEPS):
        joint = windows.joint(episodes.starts + last).structured
        each = cf.exact_belief(problem, joint, policy=policy)
        together = cf.exact_belief(problem, joint, policy=policy, joint=True)
        for episode in range(6):
            views = [seen_by(joint.observations[episode, agent])[~last:] for agent in range(problem.num_agents)]
            actions = np.asarray(joint.actions[episode])[:, STEPS - 1 - last :]
            for agent in range(problem.num_agents):
                expected = oracle.filtered(parsed, agent, views[agent], actions[agent], acts)
                assert_same_belief(each.probabilities[episode, agent], expected)
            expected = oracle.filtered_jointly(parsed, list(zip(*views, strict=True)), actions.T)
            assert_same_belief(together.probabilities[episode], expected)


def assert_same_belief(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(found) > 0, expected > 0)


@pytest.mark.parametrize("name", NAMES)
def test_files_keep_the_contract_of_problems(name, key):
    problem, _ = read(name)
    cf.check_problem(problem, key)
    again = problem_from_description(problem.description)
    assert jax.tree.all(jax.tree.map(lambda one, other: bool(jnp.all(one == other)), problem, again))


def test_the_relay_keeps_the_whole_contract(key):
    assert_contract(read("relay")[0], key, 400)


@pytest.mark.parametrize("name", ["relay", "tiger"])
def test_predictions_are_products_with_the_matrices(name, key):
    problem, _ = read(name)
    weights = jax.random.uniform(key, (problem.num_states,))
    policy, actions = Leaning(), jnp.ones(problem.num_agents, jnp.int32)
    for view in (jnp.eye(problem.observation_size)[1], jnp.zeros(problem.observation_size)):
        agent, action = jnp.int32(1), jnp.int32(0)
        possible = weights * jnp.exp(jit(problem.log_likelihood)(agent, view))
        moved = jit(problem.local_prediction)(possible, agent, view, action, policy)
        matrix = jit(problem.local_transition_probabilities)(agent, view, action, policy)
        np.testing.assert_allclose(moved, possible @ matrix, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(matrix.sum(axis=1)[possible > 0], 1.0, rtol=1e-5)
    joint = jit(problem.transition_probabilities)(actions)
    np.testing.assert_allclose(jit(problem.joint_prediction)(weights, actions), weights @ joint, rtol=1e-5)
    team = jit(problem.team_transition_probabilities)(policy)
    np.testing.assert_allclose(jit(problem.team_prediction)(weights, policy), weights @ team, rtol=1e-5)
    np.testing.assert_allclose(team.sum(axis=1), 1.0, rtol=1e-5)


def test_the_start_of_later_windows_is_the_mean_over_the_chain():
    """p_0 Pᵗ averaged over t, by the matrix here and by predictions there."""
    problem, _ = read("corridor")
    chain = jit(problem.team_transition_probabilities)(Leaning())
    first = problem.initial_probabilities()
    expected = (first + first @ chain + first @ chain @ chain) / 3
    np.testing.assert_allclose(start_distribution(problem, Leaning(), 4, 2), expected, rtol=1e-5, atol=1e-7)


def test_draws_follow_the_tables(key):
    """Next states and joint observations of the recycling robots, 20,000 times, within four standard errors."""
    problem, parsed = read("recycling")
    world = problem.reset(key)
    actions, count = jnp.array([0, 1]), 20_000

    def draw(key):
        key_step, key_observe = jax.random.split(key)
        moved, reward, _ = problem.step(key_step, world, actions)
        return moved.state, problem.observe(key_observe, moved), reward

    states, seen, rewards = jax.vmap(draw)(jax.random.split(key, count))
    chances = parsed.T[1, 0]
    share = np.bincount(states, minlength=4) / count
    assert np.all(np.abs(share - chances) < 4 * np.sqrt(chances * (1 - chances) / count) + 1e-9)
    joint = 2 * np.argmax(seen[:, 0], axis=1) + np.argmax(seen[:, 1], axis=1)
    chances = chances @ parsed.O[1]
    share = np.bincount(joint, minlength=4) / count
    assert np.all(np.abs(share - chances) < 4 * np.sqrt(chances * (1 - chances) / count))
    np.testing.assert_allclose(rewards, parsed.mean_rewards[1, 0])
    assert not problem.observe(key, world).any()


def test_an_agent_has_its_own_actions_alone(key):
    problem, _ = read("relay")
    np.testing.assert_array_equal(problem.available(None), [[1, 1, 0], [1, 1, 0], [1, 1, 1]])
    episodes = cf.collect(problem, 32, key=key)
    np.testing.assert_array_equal(episodes.actions.max(axis=0), [1, 1, 2])


def test_texts_name_files_with_options(tmp_path, monkeypatch, key):
    monkeypatch.chdir(FILES)
    assert cf.problem_from_text("tiger.dpomdp,steps=3").num_steps == 3
    assert cf.problem_from_text("dpomdp:tiger.dpomdp").num_steps == 16
    with pytest.raises(InputError, match="unknown option 'colour'"):
        cf.problem_from_text("tiger.dpomdp,colour=3")
    with pytest.raises(InputError, match="at least one step"):
        cf.problem_from_text("tiger.dpomdp,steps=0")


def test_too_many_hidden_states_are_not_listed():
    text = (FILES / "xor.dpomdp").read_text()
    many = text.replace("alike different", "10000", 1).replace("0.5 0.5", "uniform", 1)
    many = many[: many.index("T:")] + "T: * :\nidentity\nO: * :\nuniform\n"
    from composite_flow.problems.dpomdp.grammar import read_tables
    from composite_flow.problems.dpomdp.problem import DecPOMDP

    problem = DecPOMDP(read_tables(many), num_steps=4, name="many", source=many)
    with pytest.raises(TooLargeError, match="20,000 hidden states of 10,000 features"):
        problem.states()
    with pytest.raises(TooLargeError, match="20,000 hidden states"):
        problem.team_transition_probabilities(cf.RandomPolicy())
