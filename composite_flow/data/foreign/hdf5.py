"""One's own HDF5 files, by a mapping of names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

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
    unknown = [part for part in names if part not in PARTS]
    lacking = [part for part in ("observations", "states", "ends") if part not in names]
    if unknown or lacking:
        said = f"{unknown[0]!r} is no part" if unknown else f"{lacking[0]!r} is missing"
        raise InputError(f"{said}; a file is mapped to {', '.join(PARTS)}.")
    arrays: dict[str, Any] = {"actions": None}
    with reading_hdf5(Path(path)) as file:
        for part, name in names.items():
            if name not in file or not hasattr(file[name], "shape"):
                raise FileError(f"{path} has no data set {name!r}; it has {', '.join(sorted(map(str, file))[:8])}.")
            arrays[part] = np.asarray(file[name])
    return {**arrays, "ends": _ends(arrays["ends"])}


def _ends(values: np.ndarray) -> np.ndarray:
    """Flags as they are; of numbers of episodes, where the next one is another."""
    are_flags = values.dtype == bool or (values.ndim == 1 and np.isin(values, (0, 1)).all() and values[-1:].all())
    return values if are_flags or values.ndim != 1 else np.append(values[1:] != values[:-1], True)
