"""Own logs of every kind: agents that differ, appear and die; actions of every kind; angles; missing states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.data import Episodes, HistoryDataset
from composite_flow.data.angles import angle_bounds, named_values
from composite_flow.data.feature_types import find_types
from composite_flow.errors import InputError
from composite_flow.fusion.answers import prior_of
from composite_flow.fusion.loss import losses_of_teams
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.history import History, HistoryLayout


def arrays(**changes):
    """Four episodes of three steps, two agents that see two features each."""
    random = np.random.default_rng(0)
    given = {"observations": random.normal(size=(12, 2, 2)), "states": random.normal(size=(12, 2))}
    return given | {"actions": None, "ends": np.arange(12) % 3 == 2} | changes


# --- dictionaries


def test_dictionaries_of_agents_of_any_size():
    random = np.random.default_rng(0)
    first = {
        "observations": {"a": random.normal(size=(3, 2)), "b": random.normal(size=(2, 2, 2))},
        "actions": {"a": [0, 1, 2], "b": [1, 0]},
        "rewards": {"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0]},
        "states": {"x": np.arange(3.0), "heading": np.array([3.1, -3.1, 0.0])},
        "truncated": True,
    }
    second = {
        "observations": {"b": random.normal(size=(1, 2, 2))},
        "actions": {"b": [1]},
        "states": {"x": [9.0], "heading": [1.0]},
    }
    found = Episodes.from_episodes([first, second], types={"heading": "angle"})
    assert found.observations.shape == (4, 2, 4) and found.alive.tolist() == [[1, 1], [1, 1], [1, 0], [0, 1]]
    assert np.array_equal(found.observations[:2, 1], first["observations"]["b"].reshape(2, 4).astype(np.float32))
    assert not found.observations[:, 0, 2:].any() and found.columns.observed == (
        (True,) * 2 + (False,) * 2,
        (True,) * 4,
    )
    assert found.actions.tolist() == [[0, 1], [1, 0], [2, 0], [0, 1]] and found.columns.choices is None
    assert found.rewards.tolist() == [[1, 4], [2, 5], [3, 0], [0, 0]]
    assert found.truncations.tolist() == [False, False, True, False]
    assert found.columns.agents == ("a", "b") and found.state_names == ("x", "sin heading", "cos heading")


def test_arrays_episode_by_episode():
    found = Episodes.from_episodes(
        [{"observations": np.ones((2, 3, 4)), "states": np.zeros((2, 1)), "actions": np.full((2, 3, 2), 0.5)}] * 2
    )
    assert found.num_episodes == 2 and found.alive is None and found.columns.choices == (0, 0)


FAULTS_OF_DICTIONARIES = {
    "states": ({"observations": {"a": [[1.0]]}}, "Episode 1 must be a dictionary"),
    "part": ({"obs": 1, "observations": {"a": [[1.0]]}, "states": [[0.0]]}, "has the part 'obs'"),
    "longer": ({"observations": {"a": [[1.0], [2.0]]}, "states": [[0.0]]}, "agent 'a' observes 2 steps of 1 states"),
    "size": ({"observations": {"a": [[1.0, 2.0]]}, "states": [[0.0]]}, "of agent 'a' have 1 columns in one episode, 2"),
    "text": ({"observations": {"a": [["x"]]}, "states": [[0.0]]}, "Episode 1: observations must hold numbers"),
    "nobody": ({"observations": {}, "states": [[0.0]]}, "Episode 1 has no agents"),
    "a dream": ({"observations": {"a": [[1.0]]}, "states": [[0.0]], "actions": {"z": [1]}}, "who observes nothing"),
    "ragged": (
        {"observations": {"a": [[1.0], [1.0, 2.0]]}, "states": [[0.0]]},
        "Episode 1: observations must be arrays",
    ),
}


@pytest.mark.parametrize("fault", FAULTS_OF_DICTIONARIES)
def test_faults_of_dictionaries(fault):
    episode, sentence = FAULTS_OF_DICTIONARIES[fault]
    with pytest.raises(InputError, match=sentence):
        Episodes.from_episodes([{"observations": {"a": [[1.0]]}, "states": [[0.0]]}, episode])
    with pytest.raises(InputError, match="at least one episode"):
        Episodes.from_episodes([])


# --- what histories hold


def test_components_of_actions_are_encoded_as_what_they_are(key):
    layout = HistoryLayout(2, 1, 5, 2, choices=(3, 0, 1))
    history = History(jnp.ones((2, 1)), jnp.array([[2.0, -0.5, 0.0]]), jnp.array([True, True]), jnp.array(1))
    encoded = layout.encode(history)
    assert encoded.tolist() == [1, 1, 0, 0, 1, -0.5, 1, 1, 1, 0, 1] and len(layout.column_names) == layout.size
    assert layout.decode(encoded).actions.tolist() == history.actions.tolist()
    with pytest.raises(InputError, match="do not have 4 columns"):
        HistoryLayout(2, 1, 4, 2, choices=(3, 0, 1))


def test_the_dead_leave_no_trace_and_are_not_drawn(key):
    alive = np.ones((12, 2), bool)
    alive[1::3, 1] = alive[2::3, 1] = False
    alive[2::3, 0] = False
    episodes = Episodes.from_arrays(**arrays(alive=alive))
    dataset = HistoryDataset(episodes, length=2)
    assert not np.any(np.asarray(dataset.steps) % 3 == 2)  # nobody is there
    joint = dataset.joint(np.array([1]))
    assert joint.structured.mask.tolist() == [[[True, True], [True, False]]]
    assert not np.any(joint.histories[0, 1, 2:4]) and np.any(joint.histories[0, 1, :2])
    histories, _ = dataset.sample(key, 200)
    assert np.all(histories[:, dataset.layout.parts["mask"]][:, -1] == 1)


def test_the_dead_do_not_answer(key):
    alive = np.ones((12, 2), bool)
    alive[1::3, 1] = alive[2::3, 1] = False
    dataset = HistoryDataset(Episodes.from_arrays(**arrays(alive=alive)))
    joint = dataset.joint(np.array([1]))
    prior = prior_of(np.asarray(joint.states), find_types(np.asarray(joint.states)))
    limits = jnp.zeros(dataset.layout.size), jnp.ones(dataset.layout.size)
    answers = AnswerNetwork(jnp.zeros((2, dataset.layout.size)), limits, prior, 8, 1, 0, "relu", key=key)
    answers = jax.tree.map(lambda leaf: leaf + 0.1, answers)
    alone, both = (
        losses_of_teams(answers, joint.histories, joint.states, jnp.array([[team]]))
        for team in ([True, False], [True, True])
    )
    assert alone == both
    alone, both = (
        losses_of_teams(answers, joint.histories + 1.0, joint.states, jnp.array([[team]]))
        for team in ([True, False], [True, True])
    )
    assert alone != both


def test_the_living_stand_in_for_the_dead():
    layout = HistoryLayout(1, 1, 0, 3)
    histories = layout.encode(
        History(
            jnp.array([[[1.0]], [[2.0]], [[3.0]]]),
            jnp.zeros((3, 0), jnp.int32),
            jnp.array([[False], [True], [True]]),
            jnp.arange(3),
        )
    )
    found = layout.in_place_of_absent(histories)
    assert np.array_equal(found, histories[np.array([1, 1, 2])])
    assert layout.agents_there(histories) == (1, 2) and layout.agents_there(found) is None


def test_images_are_flattened_and_named_agents_are_found():
    images = np.arange(12 * 2 * 2 * 3.0).reshape(12, 2, 2, 3)
    episodes = Episodes.from_arrays(**arrays(observations=images, agent_names=["a", "b"]))
    assert np.array_equal(episodes.observations[5, 1], images[5, 1].reshape(-1).astype(np.float32))
    layout = HistoryDataset(episodes).layout
    assert layout.agent("b") == layout.agent(1) == 1
    with pytest.raises(InputError, match="no agent 'c'; the agents are 0 to 1, named a, b"):
        layout.agent("c")


def test_everything_comes_back_from_disk(tmp_path):
    alive = np.ones((12, 2), bool)
    alive[2::3, 1] = False
    given = arrays(
        alive=alive,
        actions=np.random.default_rng(1).integers(0, 3, (12, 2, 2)),
        states=np.where(np.arange(12)[:, None] == 4, np.nan, 1.6e9 + np.arange(24.0).reshape(12, 2)),
        truncations=np.arange(12) == 11,
        rewards=np.ones((12, 2)),
        types={"t": "number", "u": "number"},
        state_names=["t", "u"],
        units={"t": "s"},
        observed=[[True, True], [True, False]],
    )
    episodes = Episodes.from_arrays(**given)
    episodes.save(tmp_path / "a", shard_bytes=300)
    for in_memory in (True, False):
        found = Episodes.load(tmp_path / "a", in_memory)
        for name in episodes.arrays:
            assert np.array_equal(getattr(found, name)[:], getattr(episodes, name)), name
        assert found.columns == episodes.columns and found.scaling.by == "range" and found.scaling.is_double
        ours, theirs = (HistoryDataset(e, 2).joint(np.array([3, 7])) for e in (episodes, found))
        assert np.array_equal(ours.histories, theirs.histories) and np.array_equal(ours.states, theirs.states)


FAULTS = {
    "from the dead": (
        {"alive": np.tile(np.arange(12)[:, None] % 3 != 1, 2)},
        "agent 0 returns from the dead at step 2",
    ),
    "alive": ({"alive": np.ones((12, 3))}, "2 agents and alive of 3"),
    "truncations": ({"truncations": np.ones(12)}, "step 0 is none"),
    "known": ({"known": np.zeros(12)}, "at every step, or known says so"),
    "half a state": (
        {"states": np.where(np.eye(12, 2) == 1, np.nan, 1.0)},
        "'state 0' at step 0; where a state is not known",
    ),
    "ragged rewards": ({"rewards": [[1.0], [1.0, 2.0]]}, "rewards must be one array, but its rows differ"),
    "ragged actions": ({"actions": [[1], [1, 2]]}, "actions must be one array, but its rows differ"),
    "ragged observed": ({"observed": [[1], [1, 0]]}, "observed must be one array, but its rows differ"),
    "choices": ({"actions": np.full((12, 2, 1), 3), "choices": [3]}, "whole numbers from 0 to 2 in component 0"),
    "binary": ({"types": {"state 0": "binary"}}, "'state 0' is said to be binary"),
    "type": ({"types": {"state 9": "angle"}}, "types names 'state 9'"),
    "units": ({"units": {"state 9": "m"}}, "units names 'state 9'"),
    "names": ({"agent_names": ["a", "a"]}, "'a' is given twice"),
    "masked": ({"observations": np.ma.masked_greater(np.ones((12, 2, 2)), 0)}, "observations hold values that are NaN"),
    "objects": ({"observations": np.ones((12, 2, 2), object)}, "observations must hold numbers, not object"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_own_logs(fault):
    changes, sentence = FAULTS[fault]
    with pytest.raises(InputError, match=sentence):
        Episodes.from_arrays(**arrays(**changes))


# --- types


def test_declared_types_go_before_those_that_are_found():
    states = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 1, 1, 0]], np.float32)
    assert find_types(states).groups == ((0, 2), (2, 4))
    types = find_types(states, ("number", "", "one of k: m", "one of k: m"))
    assert (
        types.binary == (1,) and types.groups == ((2, 4),) and types.is_number.tolist() == [True, False, False, False]
    )


def test_angles_are_right_across_the_cut():
    angles = np.array([np.pi - 0.01, -np.pi + 0.01, 0.5])
    episodes = Episodes.from_arrays(
        **arrays(states=np.tile(angles, 4)[:, None], state_names=["h"], types={"h": "angle"})
    )
    np.testing.assert_allclose(named_values(episodes.state_names, episodes.states[:3])["h"], angles, atol=1e-6)
    mean = episodes.states[:2].mean(axis=0)
    assert abs(abs(named_values(episodes.state_names, mean)["h"]) - np.pi) < 1e-6
    degrees = named_values(("x", "sin h (degrees)", "cos h (degrees)"), [7.0, 1.0, 0.0])
    assert list(degrees) == ["x", "h"] and degrees["h"] == pytest.approx(90.0)


def test_bounds_of_angles_hold_every_point_of_the_box():
    random = np.random.default_rng(0)
    for _ in range(200):
        middle, reach = random.uniform(-1, 1, 2), random.uniform(0, 0.6, 2)
        low, high = angle_bounds(*zip(middle - reach, middle + reach, strict=True), units=1.0)
        inside = np.arctan2(*(middle[:, None] + random.uniform(-1, 1, (2, 50)) * reach[:, None]))
        assert np.all((inside - low + 1e-9) % (2 * np.pi) <= high - low + 2e-9)
        assert high - low <= 2 * np.pi + 1e-9
