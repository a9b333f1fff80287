"""Episodes from a table: chunk by chunk, so that only a folder of shards need hold more than memory does."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np

from composite_flow.data.columns import Columns
from composite_flow.data.description import shard_description
from composite_flow.data.features import all_declared, all_names
from composite_flow.data.folder import FolderWriter, new_folder
from composite_flow.data.progress import CountProgress
from composite_flow.data.scaling import ScaledBy, Scaling
from composite_flow.data.shards import SHARD_BYTES
from composite_flow.data.state_limits import StateLimits
from composite_flow.data.table.arrays import Met, arrays_of
from composite_flow.data.table.chunks import NewNames, chunks
from composite_flow.data.table.meaning import Meaning, meaning_of
from composite_flow.data.table.source import OpenedTable, open_source


class LogOptions(TypedDict, total=False):
    """Options of all ways in, as keywords of a function."""

    types: Mapping[str, str] | None
    units: Mapping[str, str] | None
    scaling: ScaledBy | None
    description: dict[str, Any] | None


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
    limits: StateLimits = field(init=False)

    def parts(self, chunk_bytes: int) -> Iterator[dict[str, np.ndarray]]:
        """The arrays of all episodes, in parts of about this size; NewNames where reading must start again."""
        self.met, self.limits = Met.nothing(self.meaning), StateLimits(self.scaled_by)
        row_bytes = 8 * max(1, len(self.meaning.all_columns))
        for chunk in chunks(self.source, self.meaning, max(1, chunk_bytes // row_bytes)):
            arrays = arrays_of(chunk, self.meaning, self.met)
            self.limits.add(arrays["states"][arrays["known"]], self.state_names)
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
        with new_folder(folder, required, overwrite) as writer:
            self._write_all(writer)

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
        writer.write_stream(self.parts(SHARD_BYTES), lambda last: self._described(self.scaling() if last else None))

    def _described(self, scaling: Scaling | None) -> dict[str, Any]:
        scaling = Scaling.identity(len(self.state_names)) if scaling is None else scaling
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

    def scaling(self) -> Scaling:
        """Of the states that were read so far; InputError where none is known."""
        return self.limits.scaling(self.source.name, all_declared(self.meaning.state))


def table_reader(
    table: Any, columns: Mapping[str, Any], progress: CountProgress | None, **options: Unpack[LogOptions]
) -> Reader:
    """What reads a table; arguments and errors as in `Episodes.from_table`."""
    meaning = meaning_of(types=options.get("types"), units=options.get("units"), **columns)
    source = open_source(table)
    source.check_has(meaning.all_columns)
    scaled_by, description = options.get("scaling") or "range", dict(options.get("description") or {})
    return Reader(source, meaning, options.get("units") or {}, scaled_by, description, progress)
