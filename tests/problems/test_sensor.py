"""The geometry, motion, observations and rewards of sensor networks."""

from fractions import Fraction
from itertools import combinations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.errors import InputError, TooLargeError
from composite_flow.problems import SensorNetwork
from composite_flow.problems.subsets import list_subsets, log_tail_weights, subset_index


def test_grid_has_an_area_on_every_edge():
    grid = SensorNetwork.grid(5, 5)
    assert (grid.num_agents, grid.num_areas, grid.num_states, grid.observation_size, grid.num_actions) == (
        25,
        40,
        40,
        4,
        5,
    )
    near = np.asarray(grid.coverage).sum(axis=1).reshape(5, 5)
    assert (near[[0, 0, -1, -1], [0, -1, 0, -1]] == 2).all() and (near[1:-1, 1:-1] == 4).all()
    assert (near[0, 1:-1] == 3).all() and (near[1:-1, -1] == 3).all()
    np.testing.assert_array_equal(np.asarray(grid.coverage).sum(axis=0), 2)
    # An edge touches d(u) − 1 + d(v) − 1 others.
    ends = np.asarray(grid.coverage).T
    np.testing.assert_array_equal(grid.degree, [near.ravel()[pair].sum() - 2 for pair in ends])
    assert SensorNetwork.grid(5, 5, num_targets=2).num_states == 780
    large = SensorNetwork.grid(32, 32)
    assert (large.num_agents, large.num_areas, large.slots.shape) == (1024, 1984, (1024, 4))


def test_two_by_two_has_the_papers_numbers():
    network = SensorNetwork.two_by_two()
    np.testing.assert_array_equal(network.coverage, [[1, 1, 0, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 0, 1, 1]])
    in_area_1 = network.reset(jax.random.key(0)).__class__(jnp.array([0], jnp.int32), jnp.int32(0))
    seen = network.observe(jax.random.key(0), in_area_1)
    np.testing.assert_array_equal(seen, [[1, 0], [1, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(network.initial_probabilities(), 0.25)
    # §3.1: agent 3 cannot tell area 1 from area 4.
    np.testing.assert_array_equal(jnp.exp(network.log_likelihood(jnp.array(2), seen[2])), [1, 0, 0, 1])


@pytest.mark.parametrize(
    ("miss", "targets", "expected"),
    [(0.0, 1, True), ([0.5, 0.5, 0, 0], 1, False), ([0.5, 0, 0, 0], 1, True), (0.5, 4, True), (0.5, 3, False)],
)
def test_collective_observability_is_what_the_likelihoods_say(miss, targets, expected):
    """No joint observation is possible in two states."""
    network = SensorNetwork.two_by_two(miss=miss, num_targets=targets)
    views = jnp.array(np.stack(np.meshgrid(*[[0.0, 1.0]] * 8), axis=-1).reshape(-1, 4, 2), jnp.float32)
    possible = jnp.sum(jax.jit(jax.vmap(network.joint_log_likelihood))(views) > -jnp.inf, axis=1)
    assert network.is_collectively_observable == (int(possible.max()) == 1) == expected


def test_an_area_that_nobody_covers_is_found_by_counting():
    lonely = np.array([[1, 1, 0, 0], [0, 1, 1, 0]], bool)
    assert SensorNetwork(lonely).is_collectively_observable
    assert not SensorNetwork(np.pad(lonely, ((0, 0), (0, 1)))).is_collectively_observable


@pytest.mark.parametrize("num_targets", [1, 2, 3])
def test_motion_is_reversible(num_targets):
    """π_s P(s' | s) is symmetric, so π is stationary; also where targets are stuck or always try."""
    coverage = np.array([[1, 1, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 1, 0]], bool)
    network = SensorNetwork(coverage, num_targets, move_probability=1.0)
    stationary = np.asarray(network.initial_probabilities(), float)
    transition = np.asarray(network.motion_probabilities(), float)
    # Sums of a few float32 numbers below one.
    np.testing.assert_allclose(transition.sum(axis=1), 1.0, atol=1e-6)
    flow = stationary[:, None] * transition
    np.testing.assert_allclose(flow, flow.T, atol=1e-7)
    weights = [
        np.prod([max(1, int(network.degree[a])) for a in areas]) for areas in combinations(range(5), num_targets)
    ]
    np.testing.assert_allclose(stationary, np.array(weights) / np.sum(weights), atol=1e-6)


def test_tail_weights_are_elementary_symmetric_polynomials():
    weights = [2, 3, 5, 7]
    tails = log_tail_weights(np.log(np.array(weights, float)), 3)
    for size in range(4):
        for first in range(5):
            exact = sum(Fraction(int(np.prod(chosen))) for chosen in combinations(weights[first:], size))
            assert np.exp(tails[size, first]) == pytest.approx(float(exact), rel=1e-12)


def test_subsets_are_numbered_in_their_order():
    subsets = list_subsets(7, 3)
    np.testing.assert_array_equal(subset_index(jnp.asarray(subsets), 7), np.arange(35))


def test_episodes_start_from_the_stationary_distribution(key):
    network = SensorNetwork.grid(2, 3, num_targets=3)
    count = 20_000
    worlds = jax.jit(jax.vmap(network.reset))(jax.random.split(key, count))
    shares = np.bincount(subset_index(jnp.sort(worlds.targets, axis=1), 7), minlength=35) / count
    expected = np.asarray(network.initial_probabilities())
    # Five standard deviations of a binomial share, for 35 of them.
    assert (np.abs(shares - expected) <= 5 * np.sqrt(expected * (1 - expected) / count)).all()
    assert expected.max() > 2 * expected.min()


def test_two_scans_earn_and_every_scan_costs():
    network = SensorNetwork.two_by_two(num_targets=2, reward=3.0, scan_cost=0.25)
    world = network.reset(jax.random.key(0)).__class__(jnp.array([0, 2], jnp.int32), jnp.int32(0))
    step = eqx.filter_jit(network.step)
    # Agents 1 and 2 reach area 1 in their first slots; agent 3 area 3 in its second, agent 4 in its first.
    for actions, reward in (
        ([0, 0, 0, 0], 0),
        ([1, 0, 0, 0], -0.25),
        ([1, 1, 0, 0], 2.5),
        ([1, 1, 2, 1], 5),
        ([2, 0, 1, 0], -0.5),
    ):
        assert float(step(jax.random.key(1), world, jnp.array(actions))[1]) == reward


def test_a_thousand_sensors_step(key):
    network = SensorNetwork.grid(32, 32, num_targets=5)
    key_reset, key_step, key_observe = jax.random.split(key, 3)
    worlds = jax.jit(jax.vmap(network.reset))(jax.random.split(key_reset, 8))
    actions = jnp.zeros((8, 1024), jnp.int32)
    worlds, rewards, over = jax.jit(jax.vmap(network.step))(jax.random.split(key_step, 8), worlds, actions)
    observations = jax.jit(jax.vmap(network.observe))(jax.random.split(key_observe, 8), worlds)
    # Every area lies between two sensors, and each target is in an area of its own.
    np.testing.assert_array_equal(observations.sum(axis=(1, 2)), 10)
    np.testing.assert_array_equal(jax.vmap(network.state)(worlds).sum(axis=1), 5)
    with pytest.raises(TooLargeError, match="too many to list"):
        network.states()
    with pytest.raises(TooLargeError, match="too many for a matrix"):
        SensorNetwork.grid(8, 8, num_targets=2).motion_probabilities()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_targets": 0}, "at least one target"),
        ({"num_targets": 5}, "5 targets do not fit into 4 areas"),
        ({"miss": 1.5}, r"\[0, 1\]"),
        ({"miss": float("nan")}, r"\[0, 1\]"),
        ({"miss": [0.1, 0.2]}, "one for each of the 4 areas"),
        ({"move_probability": -0.1}, "moving"),
        ({"num_steps": 0}, "at least one step"),
    ],
)
def test_bad_numbers_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        SensorNetwork.two_by_two(**arguments)


@pytest.mark.parametrize(
    "coverage", [np.ones((2, 2)), np.ones(2, bool), np.zeros((2, 2), bool), np.zeros((0, 3), bool)]
)
def test_bad_coverage_is_refused(coverage):
    with pytest.raises(InputError, match="Coverage"):
        SensorNetwork(coverage)


def test_a_grid_needs_two_sensors():
    with pytest.raises(InputError, match="at least two sensors"):
        SensorNetwork.grid(1, 1)
