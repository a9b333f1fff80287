"""Cells: the parts of an experiment that are computed once, kept as small JSON files and read ever after.

A sweep that is killed, or goes on elsewhere from the files already there, computes only the cells that are missing.
A cell remembers the settings that it was computed with, and is refused under others.
"""

import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from composite_flow.errors import MismatchError
from composite_flow.files.plain_json import describe_differences, jsonable, read_json, write_json

Progress = Callable[[str], None]


def rounded(values: Any, digits: int = 3) -> np.ndarray:
    """What a picture needs of an array, in few characters of JSON."""
    return np.round(np.asarray(values, np.float64), digits)


def cell(path: Path, settings: Any, compute: Callable[[], dict[str, Any]], overwrite: bool = False) -> dict[str, Any]:
    """The result at `path`, computed if it is not there yet.

    Args:
        path: the cell's own JSON file.
        settings: what the result depends on; stored beside it and compared when it is read again.
        compute: gives the result as a JSON-able dictionary.
        overwrite: compute it again even if it is there.

    Raises:
        MismatchError: the file was computed with other settings.
    """
    result = None if overwrite else kept(path, settings)
    if result is None:
        result = json.loads(json.dumps(jsonable(compute())))
        write_json(path, {"settings": settings, "machine": machine(), "result": result})
    return result


def kept(path: Path, settings: Any) -> dict[str, Any] | None:
    """The result at `path`, None where there is none yet.

    Raises:
        MismatchError: the file was computed with other settings.
    """
    if not path.exists():
        return None
    found, asked = read_json(path), json.loads(json.dumps(jsonable(settings)))
    stored = found.get("settings") if isinstance(found, dict) else None
    if stored != asked:
        raise MismatchError(
            f"{path} was computed with other settings: {describe_differences(stored, asked)}; choose another --out or "
            "add --overwrite."
        )
    return found["result"]


def machine() -> dict[str, Any]:
    """What the numbers were computed on and with."""
    import jax

    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "versions": {name: version(name) for name in ("jax", "equinox", "optax", "numpy")},
        "python": platform.python_version(),
    }
