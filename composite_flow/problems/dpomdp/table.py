"""Tables of probabilities that are written line by line, later lines over earlier ones, and never held densely.

A line either sets entries, which leaves the rest of their rows as it is, or whole rows. Both are kept as triples
(row, column, value) with the line that wrote them; a row also remembers by which line it was last set as a whole. At
the end, an entry counts if its row was not set as a whole after it and no later line wrote the same one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from composite_flow.errors import TooLargeError
from composite_flow.problems.dpomdp.lines import LineError
from composite_flow.problems.dpomdp.numbers import SLACK

MOST_ENTRIES = 2**23
"""Entries above zero that a table may hold: 200 MB while a file is read."""

_KINDS = (np.int64, np.int64, np.float64, np.int64)


@dataclass(frozen=True)
class Sparse:
    """A table by its entries above zero, row by row, columns ascending.

    Attributes:
        starts: of each row, its first entry; and the number of all at the end.
        columns, values: of each entry.
    """

    starts: Int[np.ndarray, " rows_plus_1"]
    columns: Int[np.ndarray, " entries"]
    values: Float[np.ndarray, " entries"]

    @property
    def rows(self) -> Int[np.ndarray, " entries"]:
        """The row of each entry."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def entries_of(self, rows: Int[np.ndarray, " some"]) -> tuple[np.ndarray, np.ndarray]:
        """Indices of all entries of these rows, and for each the place of its row among them."""
        counts = self.starts[rows + 1] - self.starts[rows]
        of_row = np.repeat(np.arange(len(rows)), counts)
        before = np.cumsum(counts) - counts
        return self.starts[rows][of_row] + np.arange(counts.sum()) - before[of_row], of_row


class Table:
    """What lines have written so far."""

    def __init__(self, num_rows: int, num_columns: int):
        self.shape = (num_rows, num_columns)
        self._whole = np.zeros(num_rows, np.int64)  # the line that last set the row as a whole
        self._last = np.zeros(num_rows, np.int64)  # the line that last wrote into it
        self._chunks: list[tuple[np.ndarray, ...]] = []
        self._single: list[tuple[int, int, float, int]] = []
        self._held = 0

    def set_entry(self, row: int, column: int, value: float, line: int) -> None:
        """Write one entry."""
        self._single.append((row, column, value, line))
        self._last[row] = line

    def set_entries(self, rows: np.ndarray, columns: np.ndarray, value: float, line: int) -> None:
        """Write the same value into all these columns of all these rows."""
        if len(rows) == len(columns) == 1:
            self.set_entry(int(rows[0]), int(columns[0]), value, line)
            return
        self._last[rows] = line
        self._add(np.repeat(rows, len(columns)), np.tile(columns, len(rows)), value, line, len(rows) * len(columns))

    def set_rows(self, rows: np.ndarray, values: Sparse, line: int) -> None:
        """Set rows as a whole, each of several blocks of rows to the same rows of values.

        Args:
            rows: (blocks, rows of `values`).
            values: of one block.
            line: of the statement.
        """
        self._whole[rows] = self._last[rows] = line
        self.room_for(rows.shape[0] * len(values.columns), line)
        where = rows[:, values.rows]
        count = len(rows)
        self._keep(where.ravel(), np.tile(values.columns, count), np.tile(values.values, count), line)

    def _add(self, rows: np.ndarray, columns: np.ndarray, value: float, line: int, count: int) -> None:
        self._keep(rows, columns, np.full(count, value), line)

    def _keep(self, rows: np.ndarray, columns: np.ndarray, values: np.ndarray, line: int) -> None:
        self._chunks.append((rows, columns, values, np.full(len(rows), line)))
        self._held += len(rows)

    def room_for(self, count: int, line: int) -> None:
        """Refuse more entries than can be held, before they are made.

        Raises:
            TooLargeError: they and what stands before are too many.
        """
        if self._held + count > MOST_ENTRIES and count <= MOST_ENTRIES:
            self._chunks, self._single = [self._resolved()], []
            self._held = len(self._chunks[0][0])
        if self._held + count > MOST_ENTRIES:
            raise TooLargeError(
                f"line {line}: the table has {self._held + count:,} entries with this line, and {MOST_ENTRIES:,} at "
                "most can be held; give only what is above zero, or use a simulator."
            )

    def _resolved(self) -> tuple[np.ndarray, ...]:
        """Rows, columns, values and lines of what counts, ordered by row and column; zeros are kept."""
        single = tuple(
            np.array(part, kind) for part, kind in zip(zip(*self._single, strict=True), _KINDS, strict=False)
        )
        chunks = [*self._chunks, *([single] if single else [])]
        if not chunks:
            return tuple(np.zeros(0, kind) for kind in _KINDS)
        rows, columns, values, lines = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
        counts = lines >= self._whole[rows]
        key = rows[counts] * self.shape[1] + columns[counts]
        order = np.lexsort((lines[counts], key))
        key = key[order]
        is_last = np.append(key[1:] != key[:-1], True)[: len(key)]
        chosen = np.flatnonzero(counts)[order[is_last]]
        return rows[chosen], columns[chosen], values[chosen], lines[chosen]

    def distributions(self, shown: Callable[[int], str]) -> Sparse:
        """The table, each row made to add up to 1.

        Args:
            shown: what a row is called, for messages.

        Raises:
            LineError: a row does not add up to 1 but for rounding.
        """
        rows, columns, values, _ = self._resolved()
        above = values > 0
        rows, columns, values = rows[above], columns[above], values[above]
        totals = np.bincount(rows, values, self.shape[0])
        wrong = np.flatnonzero(np.abs(totals - 1) > SLACK)
        if len(wrong):
            raise self._refusal(int(wrong[0]), totals, shown)
        starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=self.shape[0]))])
        return Sparse(starts, columns, values / totals[rows])

    def _refusal(self, row: int, totals: np.ndarray, shown: Callable[[int], str]) -> LineError:
        """Of the first row that is wrong, by the line that last wrote into it."""
        if self._last[row] == 0:
            return LineError(None, f"no line gives {shown(row)}.")
        return LineError(
            int(self._last[row]), f"{shown(row)} adds up to {totals[row]:.6g} with this line, the last that gives it; "
            "probabilities add up to 1."
        )  # fmt: skip
