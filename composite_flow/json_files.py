"""Plain values of settings and results, and JSON files that are whole or not there."""

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from composite_flow.errors import FileError

LATER = {"later": True}
"""Metadata of a dataclass's field that came after results were committed; see `jsonable`."""


def jsonable(value: Any) -> Any:
    """Turn dataclasses, arrays, and numbers that JSON lacks (nan and infinity become null) into plain values.

    A field marked `LATER` is left out at its default, for the sake of results that were committed before it.
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
