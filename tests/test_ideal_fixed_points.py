"""Theorems 1 to 4 on ideal denoisers: end points of the flow, stable points and basin masses against exact beliefs."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from composite_flow.denoiser import IdealDenoiser, Uniform
from composite_flow.fixed_points import find_fixed_points, shared_fixed_points
from composite_flow.problems.sensor import SensorNetwork


class Identity(eqx.Module):
    """Histories that need no decoding."""

    def decode(self, history):
        return history


class Known(eqx.Module):
    """The history is the belief itself: p(s) for every state."""

    states: Float[Array, "states state"]
    layout: Identity = Identity()

    def __call__(self, history):
        return jnp.log(history)


def ideal(states, minimum=0.0) -> IdealDenoiser:
    return IdealDenoiser(Known(jnp.asarray(states, jnp.float32)), Uniform(minimum))


def beliefs(problem: SensorNetwork, observations: Float[Array, "agents slots"]) -> Float[Array, "agents states"]:
    """p(s | o_i) of every agent after one look, every state equally likely before."""
    likelihood = jnp.exp(jax.vmap(problem.log_likelihood)(jnp.arange(problem.num_agents), observations))
    return likelihood / jnp.sum(likelihood, axis=1, keepdims=True)


def seen(problem: SensorNetwork, state: int) -> Float[Array, "agents slots"]:
    """What the agents see of a state when they overlook nothing."""
    return jnp.append(problem.states()[state], 0.0)[problem.slots]


def nearest(points, states):
    """The nearest state of each point, and its distance."""
    distances = np.linalg.norm(np.asarray(points)[:, None] - np.asarray(states)[None], axis=-1)
    return distances.argmin(axis=1), distances.min(axis=1)


def masses_by_state(found, index, states):
    """Basin mass of every state for one of the histories."""
    mask = np.asarray(found.mask[index])
    labels, _ = nearest(found.points[index][mask], states)
    return np.bincount(labels, np.asarray(found.masses[index])[mask], minlength=len(states))


def team(problem: SensorNetwork, belief, key):
    """The agents' fixed points. States of probability zero fill up to two targets, so that a grid compiles once."""
    states, missing = problem.states(), math.comb(problem.num_areas, 2) - problem.num_states
    padded = jnp.pad(belief, ((0, 0), (0, missing)))
    denoiser = ideal(jnp.pad(states, ((0, missing), (0, 0))))
    return find_fixed_points(denoiser, padded, key=key, num_starts=10_000)


@pytest.mark.parametrize(
    "rows, targets, agents", [(2, 1, [0, 1, 2, 3]), (2, 2, [0, 1, 2, 3]), (3, 1, [0, 2]), (3, 2, [0, 2])]
)
def test_end_points_are_the_consistent_states_and_all_of_these_are_stable(rows, targets, agents, key):
    """One-hot states and fixed numbers of targets span an affine space of rank below d (Theorems 1 and 2)."""
    problem = SensorNetwork.grid(rows, rows, targets)
    belief = beliefs(problem, seen(problem, 0))[jnp.array(agents)]
    found = team(problem, belief, key)
    assert not found.unassigned.any()
    np.testing.assert_array_equal(found.stable, found.mask)
    for index in range(len(agents)):
        labels, distances = nearest(found.points[index][found.mask[index]], problem.states())
        assert distances.max() < 1e-6
        assert sorted(labels) == list(np.flatnonzero(belief[index] > 0))


def test_centre_of_the_hypercube_is_a_spurious_stable_point(key):
    """With states of full rank there is a stable point that is no state: the mean of all sixteen corners."""
    corners = np.stack(np.meshgrid(*[[0.0, 1.0]] * 4), axis=-1).reshape(-1, 4)
    found = find_fixed_points(ideal(corners), jnp.full(16, 1 / 16), key=key, num_starts=10_000, max_points=32)
    assert found.num_stable == 17
    centre = nearest(np.full((1, 4), 0.5), found.points)[0][0]
    np.testing.assert_allclose(found.points[centre], 0.5, atol=1e-4)
    np.testing.assert_allclose(found.radii[centre], 0.90, atol=0.01)
    np.testing.assert_allclose(found.masses[centre], 0.11, atol=0.015)
    assert jnp.sum(found.radii[found.mask] < 1e-3) == 16


def test_a_rare_state_has_no_attractor_in_two_dimensions(key):
    """Probability 0.1 and σ ~ U[0.01, 1]: the flow leaves the state for the other one."""
    denoiser = ideal(np.eye(2), minimum=0.01)
    alone = find_fixed_points(denoiser, jnp.array([0.9, 0.1]), key=key, num_starts=1000, max_points=8)
    assert alone.num_stable == 1 and nearest(alone.points[:1], np.eye(2))[0] == 0
    even = find_fixed_points(denoiser, jnp.array([0.5, 0.5]), key=key, num_starts=1000, max_points=8)
    assert even.num_stable == 2


@pytest.mark.parametrize("miss, bound", [((0.5, 0.0, 0.5, 0.0), 0.02), ((0.5, 0.5, 0.0, 0.0), 0.05)])
def test_basin_masses_come_near_the_belief(miss, bound, key):
    """All agents see nothing: within 0.02 where the missing areas are opposite, 0.043 where one agent sees both."""
    problem = SensorNetwork.two_by_two(miss)
    belief = beliefs(problem, jnp.zeros((4, 2)))
    found = team(problem, belief, key)
    masses = np.stack([masses_by_state(found, index, problem.states()) for index in range(4)])
    variation = 0.5 * np.abs(masses - np.asarray(belief)).sum(axis=1)
    # The sampling error of 10,000 starts is 0.005.
    assert variation.max() < bound
    if bound == 0.05:
        assert variation.max() > 0.03


def test_shared_points_are_the_states_that_the_team_allows(key):
    """Figure 1: the true state where nothing is overlooked, the first two areas where nobody saw anything."""
    for problem, observations, states in (
        (SensorNetwork.two_by_two(), seen(SensorNetwork.two_by_two(), 0), [0]),
        (SensorNetwork.two_by_two((0.5, 0.5, 0.0, 0.0)), jnp.zeros((4, 2)), [0, 1]),
    ):
        belief = beliefs(problem, observations)
        found = team(problem, belief, key)
        shared = shared_fixed_points(found, radius=0.05)
        labels, distances = nearest(shared.points[shared.mask], problem.states())
        assert sorted(labels) == states and distances.max() < 1e-6
