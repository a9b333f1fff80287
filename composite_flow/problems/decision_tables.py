"""A Dec-POMDP as tables in double precision, for dynamic programming; and worlds that no action moves.

Problems of one's own take part by `decision_tables.register(Mine)` or `watched_world.register(Mine)`.
"""

from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from composite_flow.problems.dpomdp.arrays import joint_parts
from composite_flow.problems.dpomdp.problem import DecPOMDP
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.problems.tabular import TabularProblem

MOST_ENTRIES = 2**24
"""Entries of a table over joint actions, at most."""


@dataclass(frozen=True, eq=False)
class DecisionTables:
    """All that decides what a team can earn.

    Attributes:
        initial: P(s_0).
        transition: P(s' | s, a).
        observation: P(o | s), over joint observations.
        rewards: R(s, a).
        actions: each agent's part of every joint action, the last agent's changing fastest.
        views: each agent's part of every joint observation.
        num_steps: length of an episode.
    """

    initial: Float[np.ndarray, " states"]
    transition: Float[np.ndarray, "joint_actions states next_states"]
    observation: Float[np.ndarray, "states joint_observations"]
    rewards: Float[np.ndarray, "states joint_actions"]
    actions: Int[np.ndarray, "joint_actions agents"]
    views: Int[np.ndarray, "joint_observations agents"]
    num_steps: int


@dataclass(frozen=True, eq=False)
class WatchedWorld:
    """A world that no action moves: what a team earns in a step depends on what it knows of the state then.

    Attributes:
        states: in the order of the problem's.
        rewards: R(s, a) of joint actions, without those that another one with the same effect undercuts.
        num_steps: length of an episode.
    """

    states: Float[np.ndarray, "states state"]
    rewards: Float[np.ndarray, "states joint_actions"]
    num_steps: int


@singledispatch
def decision_tables(problem: Any) -> DecisionTables | None:
    """The tables of a problem; None where it has none, or they are too large."""
    return None


@singledispatch
def watched_world(problem: Any) -> WatchedWorld | None:
    """A problem as a world that no action moves; None where it is no such world, or has too many joint actions."""
    return None


@decision_tables.register
def _(problem: TabularProblem) -> DecisionTables | None:
    if problem.transition.size > MOST_ENTRIES:
        return None
    return DecisionTables(
        _distributions(problem.initial),
        _distributions(problem.transition).transpose(1, 0, 2),
        _distributions(problem.observation),
        np.asarray(problem.rewards, np.float64),
        joint_parts((problem.num_actions,) * problem.num_agents),
        joint_parts((problem.num_observations,) * problem.num_agents),
        problem.num_steps,
    )


@decision_tables.register
def _(problem: DecPOMDP) -> DecisionTables | None:
    """Over hidden states; before the first action there is one joint observation more, the last, which is none."""
    actions, size = joint_parts(problem.action_sizes), problem.num_states
    views = joint_parts(problem.observation_sizes)
    if len(actions) * size**2 > MOST_ENTRIES or size * len(views) > MOST_ENTRIES:
        return None
    observation = np.zeros((size, len(views) + 1))
    observation[: problem.state_size, -1] = 1.0
    entries = problem.observation
    rows = np.asarray(entries.rows) + problem.state_size
    np.add.at(observation, (rows, np.asarray(entries.columns)), np.asarray(entries.values, np.float64))
    rewards = np.asarray(problem.rewards, np.float64).reshape(len(actions), problem.state_size).T
    moved = [problem.transition_probabilities(jnp.asarray(joint)) for joint in actions]
    return DecisionTables(
        _distributions(problem.initial_probabilities()),
        _distributions(np.stack(moved)),
        _distributions(observation),
        np.tile(rewards, (problem.num_classes + 1, 1)),
        actions,
        np.concatenate([views, np.array([problem.observation_sizes], views.dtype)]),
        problem.num_steps,
    )


@watched_world.register
def _(problem: SensorNetwork) -> WatchedWorld | None:
    """Joint actions count by which areas two sensors or more scan; of those alike the one with the fewest scans."""
    slots, areas = np.asarray(problem.slots), problem.num_areas
    choices = 1 + np.sum(slots < areas, axis=1)
    if np.prod(choices.astype(float)) * areas > MOST_ENTRIES or problem.num_states > MOST_ENTRIES // areas:
        return None
    chosen = joint_parts(tuple(choices.tolist()))
    scans = np.zeros((len(chosen), areas), np.int8)
    for agent in range(len(slots)):
        rows = np.flatnonzero(chosen[:, agent])
        scans[rows, slots[agent, chosen[rows, agent] - 1]] += 1
    order = np.argsort(scans.sum(axis=1), kind="stable")
    tracked, first = np.unique(scans[order] >= 2, axis=0, return_index=True)
    cost = problem.scan_cost * scans[order][first].sum(axis=1)
    states = np.asarray(problem.states(), np.float64)
    return WatchedWorld(states, problem.reward * states @ tracked.T - cost, problem.num_steps)


def _distributions(table: Any) -> np.ndarray:
    """Rows that add up to one in double precision, which float32 gives to seven digits."""
    found = np.asarray(table, np.float64)
    return found / found.sum(axis=-1, keepdims=True)
