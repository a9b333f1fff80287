"""Rewards R(s, a, s', o) by the lines that give them, and their mean R(s, a), which is what a team can plan with.

    R(s, a) = Σ_{s'} P(s' | s, a) Σ_o P(o | a, s') R(s, a, s', o)

A table of all four would be far larger than the problem itself, while lines leave most of them open with *. So lines
are kept by which of a, s, s', o they fix; the latest that fits counts, and only s' and o that can happen are ever
looked up. What no line gives is 0.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from composite_flow.errors import TooLargeError
from composite_flow.problems.dpomdp.table import MOST_ENTRIES, Sparse

_AT_ONCE = 2**20  # outcomes that are looked up at the same time

Fixed = tuple[bool, bool, bool, bool]
"""Which of a, s, s', o a line fixes; the others are open."""

Outcomes = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Their a, s, s' and o, each of one length; those that are open may stand for any."""


class Rewards:
    """What lines have said so far."""

    def __init__(self, num_actions: int, num_states: int, num_observations: int):
        self.sizes = (num_actions, num_states, num_states, num_observations)
        self._lines: dict[Fixed, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
        self._held = 0

    def set(self, places: Sequence[Int[np.ndarray, " places"]], values: Float[np.ndarray, "*places"], line: int):
        """Say the reward for all a, s, s' and o of these lists.

        Args:
            places: of a, s, s' and o; a list of all leaves them open, if the values are the same for all of them.
            values: one, or an array whose last axes belong to the last lists.
            line: of the statement.

        Raises:
            TooLargeError: they and what stands before are too many.
        """
        # What a matrix says differs by s' and o, which are then fixed however many there are.
        varies = 4 - np.ndim(values)
        fixed: Fixed = tuple(
            place >= varies or len(found) < size
            for place, (found, size) in enumerate(zip(places, self.sizes, strict=True))
        )  # pyright: ignore[reportAssignmentType]
        chosen = [found if is_fixed else None for found, is_fixed in zip(places, fixed, strict=True)]
        count = math.prod(len(found) for found in chosen if found is not None)
        self._room_for(count, line)
        key = np.zeros(1, np.int64)
        for found, size in zip(chosen, self.sizes, strict=True):
            key = key if found is None else (key[:, None] * size + found[None]).ravel()
        spread = np.tile(np.ravel(values), count // np.size(values))
        self._lines.setdefault(fixed, []).append((key, spread, np.full(count, line)))

    def mean(self, transition: Sparse, observation: Sparse) -> Float[np.ndarray, " rows"]:
        """R(s, a), a row for each joint action and state, action * states + state.

        Args:
            transition: P(s' | s, a), by row.
            observation: P(o | a, s'), rows by joint action and next state.
        """
        levels = [(fixed, *_latest(parts)) for fixed, parts in self._lines.items()]
        num_rows = self.sizes[0] * self.sizes[1]
        rows = np.arange(num_rows)
        action, state = rows // self.sizes[1], rows % self.sizes[1]
        # Where no line looks at what comes after, it need not be listed.
        found = self._look_up((action, state, np.zeros_like(rows), np.zeros_like(rows)), levels)
        outcomes = _outcomes_by_row(transition, observation, self.sizes[1])
        for some in _in_parts(np.flatnonzero(self._finer(levels)), outcomes):
            found[some] = self._means(some, transition, observation, levels)
        return found

    def _keys(self, fixed: Fixed, outcomes: Outcomes) -> np.ndarray:
        """One number for what a line fixes of each outcome."""
        key = np.zeros(1, np.int64)
        for is_fixed, part, size in zip(fixed, outcomes, self.sizes, strict=True):
            key = key * size + part if is_fixed else key
        return key

    def _look_up(self, outcomes: Outcomes, levels: list) -> np.ndarray:
        """The reward of each outcome: of the latest line that fits."""
        value, latest = np.zeros(len(outcomes[0])), np.zeros(len(outcomes[0]), np.int64)
        for fixed, keys, values, lines in levels:
            key = np.broadcast_to(self._keys(fixed, outcomes), value.shape)
            place = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
            is_later = (keys[place] == key) & (lines[place] > latest)
            value, latest = np.where(is_later, values[place], value), np.where(is_later, lines[place], latest)
        return value

    def _finer(self, levels: list) -> np.ndarray:
        """Rows of which some line looks at what comes after."""
        is_finer = np.zeros((self.sizes[0], self.sizes[1]), bool)
        for (by_action, by_state, by_next, by_seen), keys, _, _ in levels:
            if not (by_next or by_seen):
                continue
            row = keys // ((self.sizes[2] if by_next else 1) * (self.sizes[3] if by_seen else 1))
            state = row % self.sizes[1] if by_state else slice(None)
            action = row // (self.sizes[1] if by_state else 1) if by_action else slice(None)
            is_finer[action, state] = True
        return is_finer.ravel()

    def _means(self, rows, transition: Sparse, observation: Sparse, levels) -> Float[np.ndarray, " rows"]:
        """R(s, a) of some rows: every outcome is looked up."""
        size = self.sizes[1]
        entries, of_row = transition.entries_of(rows)
        moved = transition.columns[entries]
        action = rows[of_row] // size
        seen, of_entry = observation.entries_of(action * size + moved)
        place = of_row[of_entry]
        chances = transition.values[entries][of_entry] * observation.values[seen]
        outcomes = (action[of_entry], rows[place] % size, moved[of_entry], observation.columns[seen])
        return np.bincount(place, chances * self._look_up(outcomes, levels), len(rows))

    def _room_for(self, count: int, line: int) -> None:
        """Refuse more entries than can be held, before they are made."""
        self._held += count
        if self._held > MOST_ENTRIES:
            raise TooLargeError(
                f"line {line}: the rewards have {self._held:,} entries with this line, and {MOST_ENTRIES:,} at most "
                "can be held; use * where the reward does not depend on what comes after."
            )


def _latest(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each key once, ascending, with the value of its latest line, and this line."""
    keys, values, lines = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.lexsort((lines, keys))
    keys, values, lines = keys[order], values[order], lines[order]
    is_last = np.append(keys[1:] != keys[:-1], True)
    return keys[is_last], values[is_last], lines[is_last]


def _outcomes_by_row(transition: Sparse, observation: Sparse, num_states: int) -> Int[np.ndarray, " rows"]:
    """How many outcomes (s', o) each row has."""
    rows = transition.rows
    seen = rows // num_states * num_states + transition.columns
    counts = np.diff(observation.starts)[seen]
    return np.bincount(rows, counts, len(transition.starts) - 1).astype(np.int64)


def _in_parts(rows: np.ndarray, outcomes: np.ndarray) -> list[np.ndarray]:
    """The rows in parts that have few outcomes together; a row stays whole."""
    part = np.cumsum(outcomes[rows]) // _AT_ONCE
    return np.split(rows, np.flatnonzero(np.diff(part)) + 1) if len(rows) else []
