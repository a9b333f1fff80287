"""Estimates of a team's states on disk: one HDF5 file, a row for each joint history."""

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from composite_flow.errors import FileError
from composite_flow.files.hdf5 import reading_hdf5, writing_hdf5

ESTIMATES_FILE = "estimates.h5"

_FORMAT = "composite-flow estimates"
_ROWS = 256  # that are compressed together


@dataclasses.dataclass(frozen=True, eq=False)
class Estimates:
    """The states that a team inferred at some steps of its data, in the state's own units.

    Attributes:
        estimates: the candidate that most samples reached.
        candidates: the distinct end points, most frequent first.
        shares: each candidate's share of the samples.
        filled: which rows of `candidates` are filled.
        accepted: whether every sample that ended nearest to the estimate passed the checks.
        accepted_share: share of all samples that passed them.
        steps: of the data, which the joint histories end at.
        episodes: that these steps belong to.
        state_names: a name for each feature of the state.
        about: what they were made from and how; JSON-able.
    """

    estimates: Float[np.ndarray, "joint state"]
    candidates: Float[np.ndarray, "joint candidates state"]
    shares: Float[np.ndarray, "joint candidates"]
    filled: Bool[np.ndarray, "joint candidates"]
    accepted: Bool[np.ndarray, " joint"]
    accepted_share: Float[np.ndarray, " joint"]
    steps: Int[np.ndarray, " joint"]
    episodes: Int[np.ndarray, " joint"]
    state_names: tuple[str, ...]
    about: dict[str, Any]

    def __len__(self) -> int:
        return len(self.estimates)

    def save(self, path: str | os.PathLike, overwrite: bool = False) -> None:
        """Write them into a folder, as `estimates.h5`, or into a file whose name ends with .h5.

        Raises:
            FileError: the file is in the way or cannot be written.
        """
        path = estimates_path(path)
        if path.exists() and not overwrite:
            raise FileError(f"{path} exists already; choose another path or allow overwriting.")
        with writing_estimates(path, len(self)) as add:
            add(self)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Estimates":
        """Read what `save` or the command `reconstruct` wrote.

        Args:
            path: the folder that holds `estimates.h5`, or the file.

        Raises:
            FileError: the file is missing, damaged, or holds no estimates.
        """
        path = estimates_path(path)
        with reading_hdf5(path) as file:
            if file.attrs.get("format") != _FORMAT:
                raise FileError(f"{path} is an HDF5 file, but holds no estimates of composite-flow.")
            missing = [name for name in _ARRAYS if name not in file]
            if missing:
                raise FileError(f"{path} lacks the array {missing[0]!r}.")
            arrays = {name: file[name][()] for name in _ARRAYS}
            state_names = tuple(json.loads(file.attrs["state_names"]))
            about = json.loads(file.attrs["about"])
        _check_sizes(path, arrays, len(state_names))
        return cls(**arrays, state_names=state_names, about=about)


_ARRAYS = tuple(field.name for field in dataclasses.fields(Estimates) if field.name not in ("state_names", "about"))


def estimates_path(path: str | os.PathLike) -> Path:
    """The file that is meant by a folder or by the file itself."""
    path = Path(path)
    is_file = path.is_file() or (path.suffix == ".h5" and not path.is_dir())
    return path if is_file else path / ESTIMATES_FILE


@contextmanager
def writing_estimates(path: Path, total: int) -> Iterator[Callable[[Estimates], None]]:
    """Write estimates part by part, so that not all need be in memory; the file is there when it is whole.

    Args:
        path: of the file; what is there is replaced.
        total: joint histories of all parts.

    Yields:
        A function that adds a part, its joint histories next to those of the part before.

    Raises:
        FileError: it cannot be written, as on a full disk.
    """
    done, file, check = 0, None, None
    with ExitStack() as opened:

        def add(part: Estimates) -> None:
            nonlocal done, file, check
            if file is None or check is None:  # the first part: what cannot be computed leaves no folder
                file, check = opened.enter_context(writing_hdf5(path))
                _begin(file, part, total)
            for name in _ARRAYS:
                file[name][done : done + len(part)] = getattr(part, name)
            done += len(part)
            file.flush()
            check()  # a full disk ends the work now, not when all is computed

        yield add


def _begin(file: Any, part: Estimates, total: int) -> None:
    """Attributes, and arrays with room for all parts."""
    file.attrs["format"] = _FORMAT
    file.attrs["state_names"] = json.dumps(part.state_names)
    file.attrs["about"] = json.dumps(part.about)
    for name in _ARRAYS:
        array = getattr(part, name)
        shape, chunks = (total, *array.shape[1:]), (min(_ROWS, total), *array.shape[1:])
        file.create_dataset(name, shape, array.dtype, chunks=chunks, compression=1)


def _check_sizes(path: Path, arrays: dict[str, np.ndarray], num_features: int) -> None:
    """The arrays belong together.

    Raises:
        FileError: one has another number of rows, or of features, than the others.
    """
    rows = arrays["shares"].shape  # joint histories, candidates
    expected = {name: rows[:1] for name in ("accepted", "accepted_share", "steps", "episodes")}
    expected |= {"shares": rows[:2], "filled": rows}
    expected |= {"estimates": (*rows[:1], num_features), "candidates": (*rows, num_features)}
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise FileError(f"{path} is damaged: its array {name!r} is not of the size of the others.")
