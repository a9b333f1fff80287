"""One agent's window is the one of the joint array, whatever its observations and actions are made of."""

import numpy as np
import pytest

import composite_flow as cf
from composite_flow.errors import InputError
from composite_flow.runtime.memory import Memory
from composite_flow.runtime.names import agent_number

STEPS, AGENTS = 24, 3
OBSERVED = [[True, True], [True, False], [False, True]]


def logged(actions, **options):
    random = np.random.default_rng(0)
    return cf.Episodes.from_arrays(
        observations=random.random((STEPS, AGENTS, 2), np.float32) * np.asarray(OBSERVED)[None],
        actions=actions(random),
        states=random.random((STEPS, 2), np.float32),
        ends=np.arange(STEPS) % 8 == 7,
        observed=OBSERVED,
        agent_names=["left", "right", "2nd"],
        **options,
    )


KINDS = {
    "choices": (lambda random: random.integers(0, 4, (STEPS, AGENTS)), {}),
    "components": (
        lambda random: np.stack(
            [random.integers(0, 3, (STEPS, AGENTS)).astype(float), random.normal(size=(STEPS, AGENTS))], axis=-1
        ),
        {"choices": (3, 0)},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 3])
def test_the_window_is_the_history_of_the_joint_array(kind, length):
    make, options = KINDS[kind]
    episodes = logged(make, **options)
    dataset = cf.HistoryDataset(episodes, length)
    histories = np.asarray(dataset.joint(np.arange(STEPS)).histories)
    windows = [Memory(dataset.layout.settings, agent) for agent in range(AGENTS)]
    for step in range(STEPS):
        for agent, window in enumerate(windows):
            seen = episodes.observations[step, agent] + np.where(OBSERVED[agent], 0.0, 9.0)  # which it does not observe
            window.observe(seen, episodes.actions[step - 1, agent], step, begins=step % 8 == 0)
            np.testing.assert_array_equal(window.history, histories[step, agent])


@pytest.mark.parametrize("action", [None, 1, [1, 0.5, 2], [3, 0.5], [0.5, 0.5], [1, np.nan], [1, None], "right"])
def test_an_action_of_other_components_is_refused(action):
    make, options = KINDS["components"]
    window = Memory(cf.HistoryDataset(logged(make, **options), 2).layout.settings, 0)
    window.observe(np.zeros(2), None, 0)
    before = window.history
    with pytest.raises(InputError, match="a number from 0 to 2 and any number, not"):
        window.observe(np.zeros(2), action, 1)
    np.testing.assert_array_equal(window.history, before)
    window.observe(np.zeros(2), [2, -1.5], 1)
    np.testing.assert_array_equal(window.actions, [[2.0, -1.5]])


def test_who_does_nothing_has_no_action_to_tell():
    for settings in ({"num_actions": 1}, {"num_actions": 0, "choices": ()}):
        window = Memory({"length": 2, "observation_size": 1, "num_agents": 2, **settings}, 0)
        for step in range(2):
            window.observe(np.ones(1), None, step)
        assert len(window.history) == 2 + settings["num_actions"] + 2 + 2


def test_agents_have_names():
    layout = cf.HistoryDataset(logged(KINDS["choices"][0])).layout.settings
    assert [agent_number(name, layout) for name in ("left", "right", "2nd", "2", 2, " 1 ")] == [0, 1, 2, 2, 2, 1]
    for name in ("up", "3", -1, 3, "-1", ""):
        with pytest.raises(InputError, match="the agents are 0 to 2, named left, right, 2nd"):
            agent_number(name, layout)
