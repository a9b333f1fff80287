"""Exact beliefs against an enumeration of all trajectories, written without the filter or the problems' tables."""

import itertools
from collections import defaultdict
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.belief import (
    BeliefModel,
    exact_belief,
    intersection,
    intersection_excess,
    start_distribution,
)
from composite_flow.errors import InputError, TooLargeError
from composite_flow.history import History, HistoryLayout
from composite_flow.problems import RandomPolicy, ReactivePolicy, SensorNetwork, TabularProblem

# float32 sums of a few dozen terms between 0 and 1.
ROUNDING = 2e-6


class Tilted(ReactivePolicy):
    """Prefers some actions, differently for each agent and observation; never scans some of them."""

    def probabilities(self, agent, observation, available):
        """Weights that grow with the action where the first feature is on, and fall where it is off."""
        actions = jnp.arange(available.shape[0]).astype(jnp.float32)
        slope = jnp.where(observation[0] > 0, 1.0, -0.5) * (1.0 + agent.astype(jnp.float32))
        weights = jnp.exp(slope * actions) * available.astype(jnp.float32)
        return weights / jnp.sum(weights)


def sensor_rules(coverage, miss, move):
    """(initial, transitions, observations) of a network with one target, from its definition, as plain Python."""
    num_agents, num_areas = coverage.shape
    nearby = [np.flatnonzero(row) for row in coverage]
    slots = max(len(areas) for areas in nearby)
    neighbours = [
        [b for b in range(num_areas) if b != a and (coverage[:, a] & coverage[:, b]).any()] for a in range(num_areas)
    ]
    weights = np.array([len(found) for found in neighbours], float)

    def transitions(area, actions):
        chances = {area: 1.0 - move}
        return chances | {goal: move / len(neighbours[area]) for goal in neighbours[area]}

    def observations(area):
        for seen in itertools.product([0, 1], repeat=num_agents):
            chance, views = 1.0, []
            for agent in range(num_agents):
                near = area in nearby[agent]
                sees = (1.0 - miss[area]) if near else 0.0
                chance *= sees if seen[agent] else 1.0 - sees
                views.append(tuple(float(seen[agent] and near and area == a) for a in nearby[agent]))
            if chance > 0:
                yield tuple(view + (0.0,) * (slots - len(view)) for view in views), chance

    return weights / weights.sum(), transitions, observations


def tabular_rules(problem):
    """The same of a tabular problem, read off its tables entry by entry."""
    observation, transition = np.asarray(problem.observation, float), np.asarray(problem.transition, float)

    def split(joint, base):
        return [(joint // base ** (problem.num_agents - 1 - agent)) % base for agent in range(problem.num_agents)]

    def transitions(state, actions):
        joint = 0
        for action in actions:
            joint = joint * problem.num_actions + action
        return {target: chance for target, chance in enumerate(transition[state, joint]) if chance > 0}

    def observations(state):
        for joint, chance in enumerate(observation[state]):
            if chance > 0:
                eye = np.eye(problem.num_observations)
                yield tuple(tuple(eye[part].tolist()) for part in split(joint, problem.num_observations)), chance

    return np.asarray(problem.initial, float), transitions, observations


def trajectories(problem, rules, start, length, policy):
    """Probability of every (joint observations, joint actions, last state)."""
    _, transitions, observations = rules
    available = problem.available(problem.reset(jax.random.key(0)))
    act = eqx.filter_jit(lambda agent, view: policy.probabilities(agent, view, available[agent]))
    chances_of = {}

    def act_on(views):
        each = []
        for agent, view in enumerate(views):
            if (agent, view) not in chances_of:
                chances_of[agent, view] = np.asarray(act(jnp.array(agent), jnp.array(view)), float)
            each.append([(a, p) for a, p in enumerate(chances_of[agent, view]) if p > 0])
        for choice in itertools.product(*each):
            yield tuple(a for a, _ in choice), np.prod([p for _, p in choice])

    table = {((views,), (), s): p * q for s, p in enumerate(start) if p > 0 for views, q in observations(s)}
    for _ in range(length - 1):
        longer = defaultdict(float)
        for (seen, acted, state), chance in table.items():
            for actions, p in act_on(seen[-1]):
                for target, q in transitions(state, actions).items():
                    for views, r in observations(target):
                        longer[(*seen, views), (*acted, actions), target] += chance * p * q * r
        table = longer
    return table


def posterior(table, key_of, num_states):
    """p(last state | what `key_of` keeps), for every value that it takes."""
    beliefs = defaultdict(lambda: np.zeros(num_states))
    for (seen, acted, state), chance in table.items():
        beliefs[key_of(seen, acted)][state] += chance
    return {kept: belief / belief.sum() for kept, belief in beliefs.items()}


def as_history(length, kept, agents):
    """Structured windows from (observations, actions) per window; `agents` gives its shape to the batch.

    Built by NumPy, since every operation of JAX outside of a compiled function compiles a program of its own.
    """
    batch = np.shape(agents)
    observations = np.array([views for views, _ in kept], np.float32).reshape(*batch, length, -1)
    actions = np.array([acted for _, acted in kept], np.int32).reshape(*batch, length - 1)
    mask, agents = np.ones((*batch, length), bool), np.array(agents, np.int32)
    return History(*map(jnp.asarray, (observations, actions, mask, agents)))


def own_of(agent, seen, acted):
    """The part of a joint history that one agent has."""
    return tuple(views[agent] for views in seen), tuple(actions[agent] for actions in acted)


def check_against_enumeration(problem, rules, length, policy, start=None):
    """Every agent's every history, and up to 200 joint ones."""
    initial = rules[0] if start is None else np.asarray(start, float)
    table = trajectories(problem, rules, initial, length, policy)
    layout = HistoryLayout(length, problem.observation_size, problem.num_actions, problem.num_agents)
    model = BeliefModel(problem, layout, policy, start)
    each, agents, expected = [], [], []
    for agent in range(problem.num_agents):
        for kept, belief in posterior(table, partial(own_of, agent), problem.num_states).items():
            each.append(kept), agents.append(agent), expected.append(belief)
    found = jax.jit(jax.vmap(model))(as_history(length, each, agents))
    compare(found, np.array(expected))

    joint = posterior(table, lambda seen, acted: (seen, acted), problem.num_states)
    chosen = list(joint)[:: max(1, len(joint) // 200)]
    team = list(range(problem.num_agents))

    kept_by_each = [own_of(agent, *kept) for kept in chosen for agent in team]
    windows = as_history(length, kept_by_each, [team] * len(chosen))
    found = jax.jit(jax.vmap(model.joint))(windows)
    compare(found, np.array([joint[kept] for kept in chosen]))


def compare(log_probabilities, expected):
    np.testing.assert_allclose(np.exp(log_probabilities), expected, atol=ROUNDING)
    np.testing.assert_array_equal(np.isneginf(log_probabilities), expected == 0)


LINE = np.array([[1, 1, 0], [0, 1, 1]], bool)
PAPER = np.array([[1, 1, 0, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 0, 1, 1]], bool)


@pytest.mark.parametrize(
    ("coverage", "miss", "length", "policy"),
    [
        (PAPER, [0.5, 0.5, 0.0, 0.0], 1, RandomPolicy()),
        (PAPER, [0.5, 0.5, 0.0, 0.0], 2, RandomPolicy()),
        (LINE, [0.3, 0.0, 1.0], 3, Tilted()),
    ],
)
def test_sensor_beliefs_are_the_enumerated_ones(coverage, miss, length, policy):
    problem = SensorNetwork(coverage, miss=miss, move_probability=0.4)
    check_against_enumeration(problem, sensor_rules(coverage, miss, 0.4), length, policy)


@pytest.mark.parametrize(("name", "length"), [("xor", 3), ("tiger", 1), ("tiger", 2), ("tiger", 3)])
def test_tabular_beliefs_are_the_enumerated_ones(name, length):
    problem = getattr(TabularProblem, name)()
    start = jnp.array([0.3, 0.7]) if name == "xor" else jnp.array([0.4, 0.1, 0.3, 0.2])
    check_against_enumeration(problem, tabular_rules(problem), length, Tilted(), start)


def test_correlated_observations_tell_what_the_other_does(key):
    """A random problem without any independence, under a policy that depends on what each agent sees."""
    sizes = {"initial": (3,), "transition": (3, 4, 3), "observation": (3, 4)}
    keys = dict(zip(sizes, jax.random.split(key, 3), strict=True))
    tables = {name: np.asarray(jax.random.uniform(keys[name], shape), float) for name, shape in sizes.items()}
    tables["observation"][0, 1] = tables["transition"][2, 1, 0] = 0.0
    tables = {name: table / table.sum(axis=-1, keepdims=True) for name, table in tables.items()}
    problem = TabularProblem(2, **tables, rewards=np.zeros((3, 4)), features=np.eye(3))
    check_against_enumeration(problem, tabular_rules(problem), 3, Tilted())


def test_masked_windows_start_from_the_initial_distribution(key):
    problem, start = TabularProblem.tiger(), jnp.array([0.0, 0.9, 0.0, 0.1])
    view, action = jnp.eye(2)[:1], jnp.zeros((0,), jnp.int32)
    junk = jnp.full((2, 2), 7.0)
    whole = History(jnp.concatenate([junk, view]), jnp.array([1, 2]), jnp.array([False, False, True]), jnp.array(1))
    short = History(view, action, jnp.array([True]), jnp.array(1))
    expected = exact_belief(problem, short).probabilities
    np.testing.assert_allclose(exact_belief(problem, whole, start=start).probabilities, expected, atol=ROUNDING)
    assert float(jnp.max(jnp.abs(exact_belief(problem, short, start=start).probabilities - expected))) > 0.05


def joint_windows(problem, key, count, length):
    """Joint histories of the first steps of episodes, and the state at the end of each; actions 0 and 1 at random."""

    def episode(key):
        key_world, key_observe, key_act, key_step = jax.random.split(key, 4)
        actions = jax.random.randint(key_act, (length, problem.num_agents), 0, 2)
        worlds = [problem.reset(key_world)]
        for step in range(length - 1):
            worlds.append(problem.step(jax.random.fold_in(key_step, step), worlds[-1], actions[step])[0])
        keys = jax.random.split(key_observe, length)
        observations = jnp.stack([problem.observe(k, world) for k, world in zip(keys, worlds, strict=True)], axis=1)
        return observations, actions[:-1].T, problem.state(worlds[-1])

    observations, actions, states = jax.jit(jax.vmap(episode))(jax.random.split(key, count))
    agents = jnp.broadcast_to(jnp.arange(problem.num_agents), (count, problem.num_agents))
    mask = jnp.ones((count, problem.num_agents, length), bool)
    return History(observations, actions, mask, agents), states


def test_xor_escapes_theorem_3(key):
    """Each agent alone allows both states, the joint history one: the intersection is larger, always."""
    problem = TabularProblem.xor()
    histories, states = joint_windows(problem, key, 20, 2)
    np.testing.assert_allclose(exact_belief(problem, histories).probabilities, 0.5, atol=ROUNDING)
    together = exact_belief(problem, histories, joint=True)
    np.testing.assert_array_equal(together.consistent, states == 1.0)
    assert intersection_excess(problem, histories) == 1.0


@pytest.mark.parametrize("size", [3, 5])
def test_collectively_observable_grids_leave_the_true_state(key, size):
    problem = SensorNetwork.grid(size, size, num_targets=2)
    histories, states = joint_windows(problem, key, 20, 1)
    each = exact_belief(problem, histories)
    together = exact_belief(problem, histories, joint=True)
    np.testing.assert_array_equal(jnp.sum(together.consistent, axis=1), 1)
    np.testing.assert_array_equal(together.states[jnp.argmax(together.consistent, axis=1)], states)
    np.testing.assert_array_equal(intersection(each.consistent), together.consistent)


def test_one_observation_leaves_no_gap_for_sensors_that_miss(key):
    """Theorem 4 for observations that are independent given the state: supports of products are intersections."""
    problem = SensorNetwork.grid(2, 3, num_targets=2, miss=0.5)
    histories, _ = joint_windows(problem, key, 50, 1)
    together = exact_belief(problem, histories, joint=True).consistent
    assert int(jnp.max(jnp.sum(together, axis=1))) > 1
    assert intersection_excess(problem, histories) == 0.0


def test_longer_histories_open_a_gap_for_sensors(key):
    problem = SensorNetwork.grid(2, 3, num_targets=2, miss=0.5)
    histories, _ = joint_windows(problem, key, 100, 2)
    assert 0.0 < intersection_excess(problem, histories) < 1.0


def test_supports_survive_weights_below_the_range_of_float32():
    """After 60 observations the odds are (0.15 / 0.85)^60 = 6e-46; both states stay possible, impossible ones go."""
    observation = np.array([[0.85, 0.15, 0.0], [0.15, 0.85, 0.0], [0.0, 0.15, 0.85]])
    problem = TabularProblem(1, np.full(3, 1 / 3), np.eye(3)[:, None], observation, np.zeros((3, 1)), np.eye(3))
    history = History(jnp.tile(jnp.eye(3)[:1], (60, 1)), jnp.zeros(59, jnp.int32), jnp.ones(60, bool), jnp.array(0))
    belief = exact_belief(problem, history)
    np.testing.assert_array_equal(belief.consistent, [True, True, False])
    np.testing.assert_allclose(belief.probabilities, [1.0, 0.0, 0.0], atol=ROUNDING)


def test_start_distribution_averages_the_chain():
    problem, policy = TabularProblem.tiger(), RandomPolicy()
    transition = np.asarray(problem.team_transition_probabilities(policy), float)
    # Both listen with probability 1/9; then the tiger stays and is heard, otherwise it is behind a random door.
    np.testing.assert_allclose(transition[0], [4 / 9, 1 / 9, 4 / 9, 0], atol=ROUNDING)
    initial = np.asarray(problem.initial, float)
    steps = [initial @ np.linalg.matrix_power(transition, t) for t in range(4)]
    np.testing.assert_allclose(start_distribution(problem, policy, 5, 2), np.mean(steps, axis=0), atol=ROUNDING)
    np.testing.assert_array_equal(start_distribution(problem, policy, 2, 2), problem.initial)
    network = SensorNetwork.grid(2, 3, num_targets=2)
    start = start_distribution(network, policy, 9, 3)
    np.testing.assert_allclose(start, network.initial_probabilities(), atol=ROUNDING)
    with pytest.raises(InputError, match="does not fit"):
        start_distribution(problem, policy, 2, 3)


def test_length_one_needs_no_transitions(key):
    """8 by 8 sensors with two targets have 6,216 states: too many for a matrix of transitions."""
    problem = SensorNetwork.grid(8, 8, num_targets=2)
    histories, states = joint_windows(problem, key, 2, 1)
    belief = exact_belief(problem, histories, joint=True)
    np.testing.assert_array_equal(belief.states[jnp.argmax(belief.probabilities, axis=1)], states)
    with pytest.raises(TooLargeError, match="6216 states"):
        exact_belief(problem, History(jnp.zeros((2, 4)), jnp.zeros(1, jnp.int32), jnp.ones(2, bool), jnp.array(0)))


def test_impossible_and_foreign_histories_are_named():
    problem = SensorNetwork.two_by_two()
    good = History(jnp.array([[[1.0, 0.0]]]), jnp.zeros((1, 0), jnp.int32), jnp.ones((1, 1), bool), jnp.array([0]))
    for view, message in (([1.0, 1.0], "impossible"), ([jnp.nan, 0.0], "impossible"), ([1.0, 0.0, 0.0], "2 features")):
        with pytest.raises(InputError, match=message):
            exact_belief(problem, eqx.tree_at(lambda h: h.observations, good, jnp.array([[view]])))
    with pytest.raises(InputError, match="indices 0 to 3"):
        exact_belief(problem, eqx.tree_at(lambda h: h.agent, good, jnp.array([4])))
    with pytest.raises(InputError, match="mask"):
        exact_belief(problem, eqx.tree_at(lambda h: h.mask, good, jnp.zeros((1, 1), bool)))
    with pytest.raises(InputError, match="each of the 4 agents"):
        exact_belief(problem, good, joint=True)
    with pytest.raises(InputError, match="no histories"):
        exact_belief(problem, jax.tree.map(lambda leaf: leaf[:0], good))
    with pytest.raises(InputError, match="start distribution"):
        exact_belief(problem, good, start=jnp.ones(3))
