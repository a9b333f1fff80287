"""Estimates of a team's states on disk: one HDF5 file, a row for each joint history."""

import dataclasses
import itertools
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
        estimates: by composite diffusion the candidate that most samples reached, by fusion the mean, by the gated
            chain its last message, by joint samples their mean.
        steps: of the data, which the joint histories end at.
        episodes: that these steps belong to.
        state_names: a name for each feature of the state.
        about: what they were made from and how; JSON-able.
        candidates: the distinct end points, most frequent first; this and the next four of composite diffusion alone.
        shares: each candidate's share of the samples.
        filled: which rows of `candidates` are filled.
        accepted: whether every sample that ended nearest to the estimate passed the checks.
        accepted_share: share of all samples that passed them.
        variances: of each feature as fusion claims it; of fusion alone.
        samples: drawn of what the team knows together; of joint samples alone.
    """

    estimates: Float[np.ndarray, "joint state"]
    steps: Int[np.ndarray, " joint"]
    episodes: Int[np.ndarray, " joint"]
    state_names: tuple[str, ...]
    about: dict[str, Any]
    candidates: Float[np.ndarray, "joint candidates state"] | None = None
    shares: Float[np.ndarray, "joint candidates"] | None = None
    filled: Bool[np.ndarray, "joint candidates"] | None = None
    accepted: Bool[np.ndarray, " joint"] | None = None
    accepted_share: Float[np.ndarray, " joint"] | None = None
    variances: Float[np.ndarray, "joint state"] | None = None
    samples: Float[np.ndarray, "joint samples state"] | None = None

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
            kind = next((kind for kind in _KINDS if not set(kind).isdisjoint(file)), ())
            names = [*_ALWAYS, *kind]
            missing = [name for name in names if name not in file]
            if missing:
                raise FileError(f"{path} lacks the array {missing[0]!r}.")
            arrays = {name: file[name][()] for name in names}
            state_names = tuple(json.loads(file.attrs["state_names"]))
            about = json.loads(file.attrs["about"])
        _check_sizes(path, arrays, len(state_names))
        return cls(**arrays, state_names=state_names, about=about)


_ALWAYS = ("estimates", "steps", "episodes")
_CHECKED = ("candidates", "shares", "filled", "accepted", "accepted_share")
_KINDS = (
    _CHECKED,
    ("variances",),
    ("samples",),
)  # arrays by composite diffusion, fusion, joint samples; a chain has none


def _arrays(part: Estimates) -> dict[str, np.ndarray]:
    """The arrays that these estimates have."""
    found = {name: getattr(part, name) for name in (*_ALWAYS, *itertools.chain(*_KINDS))}
    return {name: array for name, array in found.items() if array is not None}


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
            for name, array in _arrays(part).items():
                file[name][done : done + len(part)] = array
            done += len(part)
            file.flush()
            check()  # a full disk ends the work now, not when all is computed

        yield add


def _begin(file: Any, part: Estimates, total: int) -> None:
    """Attributes, and arrays with room for all parts."""
    file.attrs["format"] = _FORMAT
    file.attrs["state_names"] = json.dumps(part.state_names)
    file.attrs["about"] = json.dumps(part.about)
    for name, array in _arrays(part).items():
        shape, chunks = (total, *array.shape[1:]), (min(_ROWS, total), *array.shape[1:])
        file.create_dataset(name, shape, array.dtype, chunks=chunks, compression=1)


def _check_sizes(path: Path, arrays: dict[str, np.ndarray], num_features: int) -> None:
    """The arrays belong together.

    Raises:
        FileError: one has another number of rows, or of features, than the others.
    """
    joint = arrays["steps"].shape
    expected = {"estimates": (*joint, num_features), "episodes": joint, "variances": (*joint, num_features)}
    if "shares" in arrays:
        rows = (*joint, *arrays["shares"].shape[1:])  # joint histories, candidates
        expected |= {"shares": rows, "filled": rows, "candidates": (*rows, num_features)}
        expected |= {name: joint for name in ("accepted", "accepted_share")}
    if "samples" in arrays:
        expected["samples"] = (*joint, *arrays["samples"].shape[1:2], num_features)
    for name, shape in expected.items():
        if name in arrays and arrays[name].shape != shape:
            raise FileError(f"{path} is damaged: its array {name!r} is not of the size of the others.")
