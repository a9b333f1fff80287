"""Rows of a table in chunks of whole episodes, as arrays; the rows of an episode stand together."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from composite_flow.data.table.meaning import Meaning
from composite_flow.data.table.source import OpenedTable, coded, key_numbers
from composite_flow.errors import InputError


class NewNames(Exception):  # noqa: N818 (no error: reading starts again with more names)
    """Agents or levels were met that are not known yet."""

    def __init__(self, meaning: Meaning):
        super().__init__()
        self.meaning = meaning


@dataclass(frozen=True, eq=False)
class Chunk:
    """Rows of whole episodes.

    Attributes:
        row: number of each row in the table, from 0.
        episode: a number that changes where the next episode begins.
        step: of each row.
        agent: the place of each row's agent.
        columns: all other columns, by name; levels as their places, −1 or NaN where a value is missing.
    """

    row: np.ndarray
    episode: np.ndarray
    step: np.ndarray
    agent: np.ndarray
    columns: dict[str, np.ndarray]


def chunks(source: OpenedTable, meaning: Meaning, rows_at_once: int) -> Iterator[Chunk]:
    """All rows, in chunks of whole episodes of about this many rows.

    Raises:
        NewNames: agents or levels were met that `meaning` does not have.
        InputError: the rows of an episode do not stand together.
        FileError: the file cannot be read.
    """
    kept: list[dict[str, np.ndarray]] = []
    first_row, held, read, ended = 0, 0, 0, set()
    for batch in source.batches(meaning.all_columns, meaning.numbers, meaning.texts):
        part = _part(batch, meaning, read)
        kept.append(part)
        held, read = held + len(part["episode"]), read + len(part["episode"])
        if held >= rows_at_once:
            rows = _joined(kept)
            cut = _last_start(rows["episode"])
            if cut:
                yield _chunk({name: column[:cut] for name, column in rows.items()}, first_row, ended)
                first_row += cut
            kept, held = [{name: column[cut:] for name, column in rows.items()}], held - cut
    if not held:
        raise InputError(f"{source.name} has no rows.")
    yield _chunk(_joined(kept), first_row, ended)


def _part(batch: dict, meaning: Meaning, first_row: int) -> dict[str, np.ndarray]:
    """A batch's columns as arrays of NumPy; where no column orders the steps, the rows do."""
    columns, agents, levels = {}, [], {}
    rows = len(next(iter(batch.values())))
    for feature in (*meaning.seen, *meaning.acted, *meaning.state):
        if feature.is_choice:
            places = {level: place for place, level in enumerate(feature.levels)}
            columns[feature.name], levels[feature.name] = coded(batch[feature.name], places)
            _check_text(feature.name, levels[feature.name])
    agent = np.zeros(rows, np.int64)
    if meaning.agent is not None:
        agent, agents = coded(batch[meaning.agent], {name: place for place, name in enumerate(meaning.agents)})
        _check_text(meaning.agent, agents)
    if agents or any(levels.values()):
        raise NewNames(meaning.with_new(agents, levels))
    columns |= {name: batch[name] for name in meaning.numbers}
    episode = np.zeros(rows, np.int64) if meaning.episode is None else key_numbers(batch[meaning.episode])
    step = first_row + np.arange(rows) if meaning.step is None else key_numbers(batch[meaning.step])
    return {"episode": episode, "step": step, "agent": agent, **{f"column {name}": c for name, c in columns.items()}}


def _check_text(column: str, values: list) -> None:
    """Refuse names and levels with NUL characters, which damaged files have."""
    if any(isinstance(value, str) and "\0" in value for value in values):
        raise InputError(f"The column {column!r} holds text with NUL characters; the table is damaged.")


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _last_start(episode: np.ndarray) -> int:
    """The first row of the last episode, which may go on in the next batch."""
    changes = np.flatnonzero(episode[1:] != episode[:-1])
    return int(changes[-1]) + 1 if len(changes) else 0


def _chunk(rows: dict[str, np.ndarray], first_row: int, ended: set) -> Chunk:
    """The chunk of these rows, once no episode in it has ended before."""
    episode = rows["episode"]
    begins = np.concatenate([[True], episode[1:] != episode[:-1]])
    for name, place in zip(episode[begins].tolist(), np.flatnonzero(begins).tolist(), strict=True):
        if name is None or name != name:
            raise InputError(f"Row {first_row + place} names no episode.")
        if name in ended:
            raise InputError(
                f"The rows of episode {name!r} do not stand together: it goes on at row {first_row + place}, after "
                "another one; sort the table by episode."
            )
        ended.add(name)
    columns = {name.removeprefix("column "): column for name, column in rows.items() if name.startswith("column ")}
    return Chunk(first_row + np.arange(len(episode)), np.cumsum(begins) - 1, rows["step"], rows["agent"], columns)
