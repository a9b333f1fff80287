"""In what two nested plain values differ, told in a sentence: settings of results, descriptions of problems."""

from typing import Any

_LONGEST = 24  # characters of a value that a sentence can hold
_MOST = 3  # differences that it tells
_ABSENT = "–"  # for what one of the two lacks


def told_differences(first: Any, second: Any) -> str:
    """Where the first differs from the second, as "training.steps (8000, not 300)"; empty where nowhere.

    Args:
        first, second: of dictionaries, lists and plain values.
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
