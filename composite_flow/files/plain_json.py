"""Settings and results as plain values: JSON files that are written completely or not at all, and differences."""

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from composite_flow.errors import FileError

LATER = {"later": True}
"""Metadata for a field that was added to a dataclass after results had been saved; see `jsonable`."""

_LONGEST = 24  # most characters of a value in a sentence
_MOST = 3  # most differences in a sentence
_ABSENT = "–"  # stands for a value that one of the two lacks


def jsonable(value: Any) -> Any:
    """Turn dataclasses, arrays, and numbers that JSON lacks (nan and infinity become null) into plain values.

    A field marked `LATER` is left out at its default, so that results saved before it was added still compare equal.
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
    """Write JSON to a partial file and rename it when it is complete.

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


def describe_differences(first: Any, second: Any) -> str:
    """The differences of two values in words, such as "training.steps (8000, not 300)"; empty where there are none.

    Args:
        first, second: nested dictionaries, lists and plain values.
    """
    found = [f"{path} ({_short(one)}, not {_short(other)})" for path, one, other in _differing("", first, second)]
    more = [f"{len(found) - _MOST} more"] if len(found) > _MOST else []
    return ", ".join([*found[:_MOST], *more])


def _differing(path: str, first: Any, second: Any) -> list[tuple[str, Any, Any]]:
    """Paths of all leaves that differ, with both values."""
    if isinstance(first, dict) and isinstance(second, dict):
        parts = {name: (first.get(name, _ABSENT), second.get(name, _ABSENT)) for name in {**first, **second}}
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        parts = dict(enumerate(zip(first, second, strict=True)))
    else:
        return [] if first == second else [(path, first, second)]
    return [found for name, pair in parts.items() for found in _differing(f"{path}.{name}".lstrip("."), *pair)]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} …"
