"""The flows of Figure 2: without errors the fixed points are the states and intersect in the true one; shifted by
another vector for each agent, they deviate by its length and intersect in nothing."""

import json
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from composite_flow.belief import exact_belief
from composite_flow.denoiser import IdealDenoiser
from composite_flow.errors import InputError
from composite_flow.files.plain_json import jsonable
from composite_flow.problems.sensor import SensorNetwork
from composite_flow_paper.figure2.flows import (
    attractors,
    choose_agents,
    compute_flows,
    intersections,
)
from composite_flow_paper.shared.sensor_runs import SensorSettings, collect_sensors

SHIFT = 0.02


class Shifted(eqx.Module):
    """An ideal denoiser whose picture of the world each agent has moved: f(τ, y) = f*(τ, y − c_i) + c_i.

    Its fixed points are those of f*, moved by c_i.
    """

    ideal: IdealDenoiser
    shifts: Float[Array, "agents state"]

    @property
    def state_size(self) -> int:
        return self.ideal.state_size

    def condition(self, history):
        # The history ends with the agent's identity, one-hot.
        return self.ideal.condition(history), history[-len(self.shifts) :] @ self.shifts

    def denoise(self, context, y):
        belief, shift = context
        return self.ideal.denoise(belief, y - shift) + shift


@pytest.fixture(scope="module")
def data():
    settings = SensorSettings(num_episodes=64)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        return collect_sensors(SensorNetwork.grid(3, 3, num_targets=2), settings, key=jax.random.key(0))


@pytest.fixture(scope="module")
def shifted(data):
    directions = jax.random.normal(jax.random.key(1), (9, 12))
    return Shifted(data.ideal, SHIFT * directions / jnp.linalg.norm(directions, axis=1, keepdims=True))


@pytest.fixture(scope="module")
def flows(data):
    return json.loads(json.dumps(jsonable(compute_flows(data, data.ideal, key=jax.random.key(2), num_starts=64))))


def first_attractors(data, denoiser):
    """The attractors of the first joint history's agents, with the true state and the states."""
    joint = data.test.joint(data.test.steps[:1])
    belief = exact_belief(data.problem, jax.tree.map(lambda leaf: leaf[0], joint.structured))
    states = np.asarray(belief.states)
    return attractors(denoiser, joint.histories[0], states, np.asarray(belief.consistent)), joint.states[0], states


def test_ideal_attractors_are_the_states_and_intersect_in_the_true_one(data):
    found, true, states = first_attractors(data, data.ideal)
    np.testing.assert_array_equal(found.points, states[found.indices])
    assert np.all(found.norms == 0) and np.all(found.converged)
    shared = intersections(found, np.asarray(true), 9)
    for name in ("exact", "1e-3", "merge_radius"):
        assert shared[name]["count"] == 1 and shared[name]["is_true_state"]
    assert shared["smallest_radius"]["radius"] == 0


def test_shifted_attractors_deviate_by_the_shift_and_share_no_point(data, shifted):
    found, true, states = first_attractors(data, shifted)
    moved = states[found.indices] + np.asarray(shifted.shifts)[found.agents]
    # A flow rests where a step is below 1e-5, and the ideal denoiser's steps shrink at once near a state.
    np.testing.assert_allclose(found.points, moved, atol=1e-4)
    np.testing.assert_allclose(found.norms, SHIFT, atol=1e-4)
    shared = intersections(found, np.asarray(true), 9)
    assert shared["exact"]["count"] == 0 == shared["1e-3"]["count"]
    assert not shared["exact"]["is_true_state"] and not shared["1e-3"]["is_true_state"]
    # Two shifts are at most 0.04 apart, within the merge radius.
    assert shared["merge_radius"]["count"] == 1 and shared["merge_radius"]["is_true_state"]
    gaps = np.linalg.norm(np.asarray(shifted.shifts)[:, None] - np.asarray(shifted.shifts)[None], axis=-1).max(axis=1)
    assert gaps.min() - 1e-4 <= shared["smallest_radius"]["radius"] <= gaps.max() + 1e-4


def test_three_agents_see_the_first_target_the_second_and_none(data, flows):
    first, second = flows["areas"]
    assert [one["sees"] for one in flows["agents"]] == [[first], [second], []]
    slots = np.asarray(flows["coverage"]).sum(axis=1)
    for one in flows["agents"]:
        hidden = 12 - slots[one["agent"]]
        assert one["num_consistent"] == (hidden if one["sees"] else math.comb(hidden, 2)) == sum(one["states_at_place"])
    # What an agent sees is certain in the projection: one place more for each target that it does not see.
    assert [len(one["places"]) for one in flows["agents"]] == [2, 2, 4]


def test_the_stable_fixed_points_of_the_three_are_states_that_they_allow(flows):
    for one in flows["agents"]:
        places = np.asarray(one["places"])
        assert 0 < one["num_found"] <= one["num_consistent"]
        # Newton's steps end within the residual of 1e-5.
        assert max(one["distances"]) < 1e-4 and max(one["radii"]) < 1
        gaps = np.abs(np.asarray(one["points"])[:, None] - places[None]).max(axis=-1)
        assert gaps.min(axis=1).max() < 1e-4
        assert sum(one["is_true"]) <= 1
        assert sum(one["masses"]) + one["mass_elsewhere"] == pytest.approx(1, abs=1e-4)
        ends = np.asarray(one["trajectory"])[:, -1]
        assert np.mean(np.abs(ends[:, None] - places[None]).max(axis=-1).min(axis=1) < 0.05) > 0.9


def test_without_errors_the_pooled_points_are_their_states(flows):
    pooled = flows["pooled"]
    np.testing.assert_array_equal(pooled["points"], pooled["places"])
    assert sum(pooled["is_true"]) == 9  # every agent allows the true state
    assert flows["deviations"]["all"] == {
        "count": flows["deviations"]["all"]["count"],
        "median": 0.0,
        "largest": 0.0,
    }
    assert flows["deviations"]["true"]["count"] == 9 and flows["converged"] == 1.0


def test_a_team_in_which_everybody_sees_a_target_has_no_such_three():
    coverage = np.ones((3, 4), bool)
    with pytest.raises(InputError, match="No joint history"):
        choose_agents(coverage, np.array([[1.0, 1.0, 0.0, 0.0]]))
