"""Cells: the parts of an experiment that are computed once, kept as small JSON files and read ever after.

A sweep that is killed, or goes on elsewhere from the files already there, computes only the cells that are missing.
A cell remembers the settings that it was computed with, and is refused under others.
"""

import dataclasses
import json
import math
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from composite_flow.errors import FileError, MismatchError

Progress = Callable[[str], None]


def jsonable(value: Any) -> Any:
    """Turn dataclasses, arrays, and numbers that JSON lacks (nan and infinity become null) into plain values.

    A field whose metadata say `later` came after results were committed; it is left out at its default, for their sake.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {
            field.name: jsonable(part)
            for field, part in fields
            if not (field.metadata.get("later") and part == field.default)
        }
    if isinstance(value, dict):
        return {str(name): jsonable(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(part) for part in value]
    if isinstance(value, np.generic) or hasattr(value, "__array__"):
        return jsonable(np.asarray(value).tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def rounded(values: Any, digits: int = 3) -> np.ndarray:
    """What a picture needs of an array, in few characters of JSON."""
    return np.round(np.asarray(values, np.float64), digits)


def write_json(path: Path, value: Any) -> None:
    """Write JSON to a partial file and rename it into place when it is whole.

    Raises:
        FileError: the file cannot be written, as on a full disk.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(jsonable(value), indent=1) + "\n")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise FileError(f"{path} cannot be written: {error.strerror}.") from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FileError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise FileError(f"{path} does not exist.") from error
    except (OSError, ValueError) as error:
        raise FileError(f"{path} is not a readable JSON file ({error}); remove it to compute it again.") from error


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
    found = read_json(path)
    if not isinstance(found, dict) or found.get("settings") != json.loads(json.dumps(jsonable(settings))):
        raise MismatchError(f"{path} was computed with other settings; choose another --out or add --overwrite.")
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
