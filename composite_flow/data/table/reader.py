"""Episodes from a table: chunk by chunk, so that only a folder of shards need hold more than memory does."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np

from composite_flow.data.columns import Columns
from composite_flow.data.description import shard_description
from composite_flow.data.features import all_declared, all_names
from composite_flow.data.folder import FolderWriter
from composite_flow.data.precision import check_scaled
from composite_flow.data.progress import CountProgress
from composite_flow.data.scaling import ScaledBy, Scaling
from composite_flow.data.shards import SHARD_BYTES
from composite_flow.data.table.arrays import Met, arrays_of
from composite_flow.data.table.chunks import NewNames, chunks
from composite_flow.data.table.meaning import Meaning, meaning_of
from composite_flow.data.table.source import OpenedTable, open_source
from composite_flow.errors import InputError


class LogOptions(TypedDict, total=False):
    """Options of all ways in, as keywords of a function."""

    types: Mapping[str, str] | None
    units: Mapping[str, str] | None
    scaling: ScaledBy | None
    description: dict[str, Any] | None


_SAMPLED = 4096  # states of a chunk that quantiles are taken from


@dataclass
class Reader:
    """A table that is read as episodes.

    Attributes:
        source: the table.
        meaning: of its columns.
        units: of features, by their names.
        scaled_by: what the scaling of states comes from.
        description: of the problem.
        progress: called with the rows that are read so far.
    """

    source: OpenedTable
    meaning: Meaning
    units: Mapping[str, str]
    scaled_by: ScaledBy
    description: dict[str, Any]
    progress: CountProgress | None = None
    met: Met = field(init=False)
    limits: list[np.ndarray] = field(init=False)
    sample: list[np.ndarray] = field(init=False)
    are_bits: bool = field(init=False)

    def parts(self, chunk_bytes: int) -> Iterator[dict[str, np.ndarray]]:
        """The arrays of all episodes, in parts of about this size; NewNames where reading must start again."""
        self.met, self.limits, self.sample = Met.nothing(self.meaning), [], []
        self.are_bits = True
        row_bytes = 8 * max(1, len(self.meaning.all_columns))
        for chunk in chunks(self.source, self.meaning, max(1, chunk_bytes // row_bytes)):
            arrays = arrays_of(chunk, self.meaning, self.met)
            self._measure(arrays["states"][arrays["known"]])
            if self.progress is not None:
                self.progress(int(chunk.row[-1]) + 1, int(chunk.row[-1]) + 1)
            if self.meaning.truncated is None:
                del arrays["truncations"]
            yield arrays

    def in_memory(self) -> dict[str, Any]:
        """The fields of `Episodes`."""
        while True:
            try:
                parts = list(self.parts(4 * SHARD_BYTES))
                break
            except NewNames as new:
                self.meaning = new.meaning
        arrays: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for name in ("alive", "known"):
            arrays[name] = None if arrays[name].all() else arrays[name]
        found = {"state_names": self.state_names, "scaling": self.scaling(), "columns": self.columns()}
        return {**arrays, **found, "description": self.description}

    def to_folder(self, folder: Path, overwrite: bool, required: tuple[str, ...]) -> None:
        """Write a folder of shards, each of about 64 MiB.

        Raises:
            FileError: the folder is in the way, or cannot be written.
        """
        with FolderWriter(folder, uuid.uuid4().hex, required, overwrite) as writer:
            try:
                self._write_all(writer)
                writer.finish()
            except BaseException:
                writer.abandon()
                raise

    def _write_all(self, writer: FolderWriter) -> None:
        """All shards, from the start again where names are met that were not known."""
        while True:
            try:
                self._write(writer)
                return
            except NewNames as new:
                self.meaning = new.meaning
                writer.clear()

    def _write(self, writer: FolderWriter) -> None:
        """All shards; the last one tells what only all of them have shown."""
        held, number = None, 0
        for arrays in self.parts(SHARD_BYTES):
            if held is not None:
                writer.write(number, None, held, self._described(Scaling.identity(held["states"].shape[1])))
                number += 1
            held = arrays
        assert held is not None, "chunks refuse tables without rows"
        writer.write(number, number + 1, held, self._described(self.scaling()))

    def _described(self, scaling: Scaling) -> dict[str, Any]:
        return shard_description(self.state_names, scaling, self.description, {}, columns=self.columns())

    @property
    def state_names(self) -> tuple[str, ...]:
        """Of the features of the state."""
        return all_names(self.meaning.state)

    def columns(self) -> Columns:
        """What the columns mean, as far as they were read."""
        wide, observed = self.meaning.wide is not None, self.met.observed
        per_agent = self.met.components
        return Columns(
            agents=tuple(self.meaning.agents) if self.meaning.agents != ("",) else (),
            observations=() if wide else all_names(self.meaning.seen),
            observed=() if observed.all() else tuple(tuple(row) for row in observed.tolist()),
            actions=() if wide else tuple(f.name for f in self.meaning.acted),
            choices=per_agent,
            types=all_declared(self.meaning.state),
            units=dict(self.units),
        )

    def _measure(self, states: np.ndarray) -> None:
        if not len(states):
            return
        ends = [states.min(axis=0), states.max(axis=0)]
        if self.limits:
            ends = [np.minimum(self.limits[0], ends[0]), np.maximum(self.limits[1], ends[1])]
        self.limits, self.are_bits = ends, self.are_bits and bool(np.all((states == 0) | (states == 1)))
        check_scaled(states, Scaling.of_limits(ends[0], ends[1]).scale, self.state_names)
        if self.scaled_by == "quantiles":
            self.sample.append(states[:: max(1, len(states) // _SAMPLED)])

    def scaling(self) -> Scaling:
        """Of the states that were read so far.

        Raises:
            InputError: none of them is known.
        """
        if not self.limits:
            raise InputError(f"{self.source.name}: no row tells a whole state, so that there is nothing to learn from.")
        if self.are_bits:
            found = Scaling.identity(len(self.limits[0]))
        elif self.scaled_by == "quantiles":
            found = Scaling.from_quantiles(np.concatenate(self.sample))
        else:
            found = Scaling.of_limits(self.limits[0], self.limits[1], "range")
        return found.with_types(all_declared(self.meaning.state))


def table_reader(
    table: Any, columns: Mapping[str, Any], progress: CountProgress | None, **options: Unpack[LogOptions]
) -> Reader:
    """What reads a table; arguments and errors as in `Episodes.from_table`."""
    meaning = meaning_of(types=options.get("types"), units=options.get("units"), **columns)
    source = open_source(table)
    source.check_has(meaning.all_columns)
    scaled_by, description = options.get("scaling") or "range", dict(options.get("description") or {})
    return Reader(source, meaning, options.get("units") or {}, scaled_by, description, progress)
