"""One's own HDF5 files, by a mapping of names."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from composite_flow.data.folder import cuts_at_ends
from composite_flow.data.shards import SHARD_BYTES
from composite_flow.errors import FileError, InputError
from composite_flow.files.hdf5 import reading_hdf5

PARTS = ("observations", "actions", "states", "ends", "rewards", "availability", "alive", "known", "truncations")


def hdf5_arrays(path: str | Path, names: Mapping[str, str]) -> dict[str, Any]:
    """The arrays of a file, for `Episodes.from_arrays`.

    Args:
        path: of the file.
        names: of each part, such as "observations", the data set in the file, such as "log/obs". "ends" may name one
            that numbers the episode of each step.

    Raises:
        InputError: a part is not known, or observations, states or ends are missing.
        FileError: the file cannot be read, or lacks a data set.
    """
    with _sets(Path(path), names) as sets:
        arrays = {part: np.asarray(found) for part, found in sets.items()}
    return {"actions": None, **arrays, "ends": _ends(arrays["ends"])}


@dataclass(frozen=True, eq=False)
class Hdf5Parts:
    """A file part by part, each of whole episodes, for `write_in_parts`; errors are those of `hdf5_arrays`.

    Attributes:
        path: of the file.
        names: of each part of the log its data set.
        part_bytes: size of a part in the file's own types.
    """

    path: Path
    names: Mapping[str, str]
    part_bytes: int = SHARD_BYTES

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with _sets(self.path, self.names) as sets:
            ends = _ends(np.asarray(sets.pop("ends")))
            lengths = {name: len(found) for name, found in sets.items()}
            wrong = [name for name, length in lengths.items() if length != len(ends)]
            if wrong:
                raise FileError(f"{self.path}: {wrong[0]} have {lengths[wrong[0]]} steps, ends {len(ends)}.")
            if not ends[-1:].any():
                raise FileError(f"{self.path}: the last step must end an episode.")
            size = sum(found.size * found.dtype.itemsize for found in sets.values())
            for first, stop in pairwise(cuts_at_ends(np.flatnonzero(ends) + 1, size, self.part_bytes)):
                yield {name: found[first:stop] for name, found in sets.items()} | {"ends": ends[first:stop]}


@contextmanager
def _sets(path: Path, names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The data sets of the open file by the parts of a log."""
    unknown = [part for part in names if part not in PARTS]
    lacking = [part for part in ("observations", "states", "ends") if part not in names]
    if unknown or lacking:
        said = f"{unknown[0]!r} is no part" if unknown else f"{lacking[0]!r} is missing"
        raise InputError(f"{said}; a file is mapped to {', '.join(PARTS)}.")
    with reading_hdf5(path) as file:
        for name in names.values():
            if name not in file or not hasattr(file[name], "shape"):
                raise FileError(f"{path} has no data set {name!r}; it has {', '.join(sorted(map(str, file))[:8])}.")
        yield {part: file[name] for part, name in names.items()}


def _ends(values: np.ndarray) -> np.ndarray:
    """Flags as they are; of numbers of episodes, where the next one is another."""
    are_flags = values.dtype == bool or (values.ndim == 1 and np.isin(values, (0, 1)).all() and values[-1:].all())
    return values if are_flags or values.ndim != 1 else np.append(values[1:] != values[:-1], True)
