"""Rows as a grid of steps and agents: which row holds which agent's step, and what is missing or there twice."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from composite_flow.data.table.chunks import Chunk
from composite_flow.data.table.meaning import Meaning
from composite_flow.errors import InputError


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the rows of a chunk stand.

    Attributes:
        step: of each row, the place of its step among all steps.
        row: of each step and agent, the row; the row before, in the same episode, where it is missing and filled in;
            −1 where the agent is not there.
        filled: at which steps an agent's row is filled in.
        first: of each step, its first row.
        ends: the last step of each episode.
        number: of each row, its number in the table.
        episode: of each row, rising.
    """

    step: Int[np.ndarray, " rows"]
    row: Int[np.ndarray, "steps agents"]
    filled: Bool[np.ndarray, "steps agents"]
    first: Int[np.ndarray, " steps"]
    ends: Bool[np.ndarray, " steps"]
    number: Int[np.ndarray, " rows"]
    episode: Int[np.ndarray, " rows"]

    @property
    def alive(self) -> Bool[np.ndarray, "steps agents"]:
        """Which agents are there."""
        return self.row >= 0


def grid_of(chunk: Chunk, meaning: Meaning) -> tuple[Grid, Int[np.ndarray, " rows"] | None]:
    """The grid, and the order in which the chunk's rows stand in it; None where they are in order.

    Raises:
        InputError: an agent has two rows at a step, or rows are missing and nothing is said to fill them in.
    """
    if np.any(chunk.agent < 0):
        raise InputError(f"Row {chunk.row[np.argmax(chunk.agent < 0)]} names no agent.")
    _check_steps(chunk, meaning)
    same = chunk.episode[1:] == chunk.episode[:-1]
    order = None
    if np.any(same & (chunk.step[1:] < chunk.step[:-1])):
        order = np.lexsort((chunk.step, chunk.episode))
    parts = chunk.episode, chunk.step, chunk.agent, chunk.row
    episode, step, agent, number = (part if order is None else part[order] for part in parts)
    new_episode = np.concatenate([[True], episode[1:] != episode[:-1]])
    new = new_episode | np.concatenate([[True], step[1:] != step[:-1]])
    place, first = np.cumsum(new) - 1, np.flatnonzero(new)
    row = _rows(place, agent, number, len(meaning.agents), step, meaning)
    starts = np.flatnonzero(new_episode[first])
    ends = np.zeros(len(first), bool)
    ends[np.append(starts[1:], len(first)) - 1] = True
    _check_counted(step[first], ends, number[first], meaning)
    filled = _gaps(row, starts, meaning, number, first)
    row = np.where(filled, _before(row, starts), row) if filled.any() else row
    return Grid(place, row, filled, first, ends, number, episode), order


def _check_steps(chunk: Chunk, meaning: Meaning) -> None:
    if chunk.step.dtype == object or chunk.step.dtype.kind not in "iuf" or np.any(chunk.step != chunk.step):
        raise InputError(
            f"The column {meaning.step!r} must hold a number or a time in each row, by which steps are ordered."
        )


def _rows(place, agent, number, num_agents: int, step, meaning: Meaning) -> Int[np.ndarray, "steps agents"]:
    """The row of each step and agent, −1 where there is none."""
    cells = place * num_agents + agent
    rows = np.full((int(place[-1]) + 1) * num_agents, -1)
    rows[cells] = np.arange(len(cells))
    twice = np.flatnonzero(rows[cells] != np.arange(len(cells)))
    if len(twice):
        one, other = int(number[twice[0]]), int(number[rows[cells[twice[0]]]])
        whose = meaning.whose(int(agent[twice[0]]))
        raise InputError(f"Rows {one} and {other} are of the same episode and the same step{whose}, {step[twice[0]]}.")
    return rows.reshape(-1, num_agents)


def _check_counted(steps, ends, number, meaning: Meaning) -> None:
    """Refuse steps that are counted, 0, 1, 2, …, of which some are missing."""
    if meaning.fill is not None or steps.dtype.kind not in "iu" or meaning.step is None or len(steps) < 2:
        return
    away = np.where(ends[:-1], 0, np.diff(steps))
    gaps = np.flatnonzero(away > 1)
    if len(gaps) and 2 * np.sum(away == 1) > np.sum(away > 0):
        last = int(gaps[0])
        raise InputError(
            f"Steps {steps[last] + 1} to {steps[last + 1] - 1} are missing between rows {number[last]} and "
            f"{number[last + 1]}; give fill= to go on without them, or number steps by time."
        )


def _gaps(row, starts, meaning: Meaning, number, first) -> Bool[np.ndarray, "steps agents"]:
    """Where an agent has no row, but has one before and one after in the same episode."""
    there = row >= 0
    if there.all():
        return ~there
    inside = ~there & (_before(row, starts) >= 0) & (_before(row[::-1], _starts_reversed(starts, len(row)))[::-1] >= 0)
    if inside.any() and meaning.fill is None:
        step, agent = np.argwhere(inside)[0]
        lacks = "has no row" if meaning.alive is None else f"has no row, or is not there by {meaning.alive!r},"
        raise InputError(
            f"Agent {meaning.agents[agent]!r} {lacks} at the step of row {number[first[step]]}, but has some before "
            'and after it in the same episode; give fill="previous" or a number.'
        )
    return inside


def _before(row, starts) -> Int[np.ndarray, "steps agents"]:
    """Each agent's last row up to each step of the same episode, −1 where there is none."""
    steps = np.arange(len(row))[:, None]
    last = np.maximum.accumulate(np.where(row >= 0, steps, -1), axis=0)
    begin = np.repeat(starts, np.diff(np.append(starts, len(row))))[:, None]
    return np.where(last >= begin, np.take_along_axis(row, np.maximum(last, 0), axis=0), -1)


def _starts_reversed(starts, count: int) -> np.ndarray:
    """The first steps of episodes when all steps stand in the opposite order."""
    return (count - np.append(starts[1:], count))[::-1]
