"""What agents act on that remember a few observations: the state beside the latest joint observations.

    x = (s_t, o_{t−k+1}, …, o_t)

is a Markov chain under joint actions, and what agent i acts on is a function of x: its own part of these observations.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from composite_flow.problems.decision_tables import DecisionTables

_MOST_ENTRIES = 2**21  # of the transitions between windows


@dataclass(frozen=True, eq=False)
class Windows:
    """A team whose actors see what they remember.

    Attributes:
        initial: P(x) at the first step.
        transition: P(x' | x, a).
        rewards: R(x, a).
        seen: what each actor sees in x, numbered from 0.
        actions: each actor's part of every joint action, the last actor's changing fastest.
        num_steps: length of an episode.
    """

    initial: Float[np.ndarray, " windows"]
    transition: Float[np.ndarray, "joint_actions windows next_windows"]
    rewards: Float[np.ndarray, "windows joint_actions"]
    seen: Int[np.ndarray, "actors windows"]
    actions: Int[np.ndarray, "joint_actions actors"]
    num_steps: int


def windows_of(tables: DecisionTables, length: int, *, together: bool = False) -> Windows | None:
    """The windows of this many observations; None where they are too many.

    Args:
        tables: of the problem.
        length: observations that an actor remembers.
        together: one actor for the whole team, which sees all observations; otherwise one for each agent.
    """
    views = np.arange(len(tables.views))[:, None] if together else tables.views
    actions = np.arange(len(tables.actions))[:, None] if together else tables.actions
    most = int(np.sqrt(_MOST_ENTRIES / len(actions)))
    places = _reached(tables, length, most)
    if places is None:
        return None
    transition = np.zeros((len(actions), len(places), len(places)))
    for (state, window), row in places.items():
        for follower, heard in _followers(tables, state):
            chances = tables.transition[:, state, follower] * tables.observation[follower, heard]
            transition[:, row, places[follower, (*window[1:], heard)]] = chances
    states = np.array([state for state, _ in places])
    parts = np.concatenate([views, np.full((1, views.shape[1]), -1)])  # -1: before the episode began
    remembered = parts[np.array([window for _, window in places])]
    seen = [np.unique(remembered[:, :, actor], axis=0, return_inverse=True)[1] for actor in range(views.shape[1])]
    initial = np.zeros(len(places))
    for state, heard in _starts(tables):
        initial[places[state, _first(heard, length)]] = tables.initial[state] * tables.observation[state, heard]
    return Windows(initial, transition, tables.rewards[states], np.stack(seen), actions, tables.num_steps)


def _first(heard: int, length: int) -> tuple[int, ...]:
    """The window of an episode's first step."""
    return (*(-1,) * (length - 1), heard)


def _reached(tables: DecisionTables, length: int, most: int) -> dict[tuple[int, tuple[int, ...]], int] | None:
    """All windows that an episode can reach, numbered; None where they are more than this."""
    found = {(state, _first(heard, length)): place for place, (state, heard) in enumerate(_starts(tables))}
    followers = [_followers(tables, state) for state in range(len(tables.initial))]
    waiting = list(found)
    while waiting and len(found) <= most:
        state, window = waiting.pop()
        for follower, heard in followers[state]:
            reached = follower, (*window[1:], heard)
            if reached not in found:
                found[reached] = len(found)
                waiting.append(reached)
    return found if len(found) <= most else None


def _starts(tables: DecisionTables) -> list[tuple[int, int]]:
    """The states in which an episode can begin, and what can be observed there."""
    return _pairs((tables.initial[:, None] > 0) & (tables.observation > 0))


def _followers(tables: DecisionTables, state: int) -> list[tuple[int, int]]:
    """The states that can follow this one, and what can be observed there."""
    reached = np.any(tables.transition[:, state] > 0, axis=0, keepdims=True)
    return _pairs(reached.T & (tables.observation > 0))


def _pairs(possible: np.ndarray) -> list[tuple[int, int]]:
    return [(int(row), int(column)) for row, column in np.argwhere(possible)]
