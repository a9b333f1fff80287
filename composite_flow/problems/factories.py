"""Factories of problems: calling one with what a text says, and those of this library.

A factory is a function or a class. Its signature says which options there are and how their values are read: as `int`,
`float`, `bool` or `str` where they are annotated so, each also with `| None`; otherwise as a number, True, False or
None where they are one, and as text where not.
"""

import ast
import inspect
import math
import typing
from collections.abc import Callable
from typing import Any

from composite_flow.errors import InputError
from composite_flow.problems.compiled.world import LibraryWorld, from_jaxmarl, from_jumanji
from composite_flow.problems.dpomdp.file import from_dpomdp
from composite_flow.problems.dpomdp.problem import DecPOMDP
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.problems.smacv2 import SMACv2
from composite_flow.problems.smax import SMAX
from composite_flow.problems.tabular import TabularProblem

_TABULAR = {"tiger": TabularProblem.tiger, "xor": TabularProblem.xor}
_TRUTHS = {"True": True, "False": False}


def sensor(
    shape: str = "",
    /,
    *,
    targets: int | None = None,
    miss: str | None = None,
    move: float | None = None,
    reward: float | None = None,
    cost: float | None = None,
    steps: int | None = None,
) -> SensorNetwork:
    """A grid of sensors by its ROWSxCOLUMNS, or the paper's network where it is 2x2; `miss` as 0.5 or 0.5/0.5/0/0."""
    sizes = shape.split("x")
    if len(sizes) != 2 or not all(size.isdecimal() for size in sizes):
        text = f"sensor:{shape}"
        raise InputError(f"'{text}' names no sensor network: write sensor:ROWSxCOLUMNS, such as sensor:5x5,targets=2.")
    options = _given(
        num_targets=targets,
        miss=None if miss is None else _misses(miss),
        move_probability=move,
        reward=reward,
        scan_cost=cost,
        num_steps=steps,
    )
    rows, columns = (int(size) for size in sizes)
    return SensorNetwork.two_by_two(**options) if rows == columns == 2 else SensorNetwork.grid(rows, columns, **options)


def tabular(name: str = "", /, *, steps: int | None = None) -> TabularProblem:
    """A classic by its name, tiger or xor."""
    if name not in _TABULAR:
        raise InputError(f"There is no tabular problem '{name}': there are {', '.join(_TABULAR)}.")
    return _TABULAR[name](**_given(num_steps=steps))


def smax(name: str = "", /, *, sight: float | None = None, steps: int | None = None) -> SMAX:
    """A battle by its scenario."""
    return SMAX(name, **_given(sight=sight, num_steps=steps))


def smacv2(name: str = "", /, *, steps: int | None = None) -> SMACv2:
    """A battle of StarCraft II by its scenario."""
    return SMACv2(name, **_given(num_steps=steps))


def dpomdp(path: str = "", /, *, steps: int | None = None) -> DecPOMDP:
    """The Dec-POMDP of a file."""
    return from_dpomdp(path, **_given(num_steps=steps))


def jaxmarl(name: str = "", /, *, steps: int | None = None, **options: Any) -> LibraryWorld:
    """A world of JaxMARL by its name; options are those of its constructor."""
    return from_jaxmarl(name, num_steps=steps, **options)


def jumanji(name: str = "", /, *, steps: int | None = None, **options: Any) -> LibraryWorld:
    """A world of Jumanji by its name; options are those of its constructor and its generator."""
    return from_jumanji(name, num_steps=steps, **options)


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given; the others keep the problem's own defaults."""
    return {name: value for name, value in options.items() if value is not None}


def _misses(text: str) -> float | list[float]:
    """One miss probability, or one per area."""
    try:
        values = [float(part) for part in text.split("/")]
    except ValueError:
        raise InputError(
            f"A sensor network needs a number after 'miss=', or one for each area, not '{text}'."
        ) from None
    return values[0] if len(values) == 1 else values


def returned_class(factory: Callable[..., Any]) -> type | None:
    """The class of what a factory returns: itself, or as it is annotated; None where it does not say."""
    found = factory if isinstance(factory, type) else _hints(factory).get("return")
    return found if isinstance(found, type) else None


def read_arguments(
    factory: Callable[..., Any], text: str, name: str, options: list[str]
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments with which a text calls a factory.

    Args:
        factory: is not called here.
        text: the whole, for messages.
        name: its NAME, or empty.
        options: its OPTION=VALUE.

    Returns:
        Arguments by position and by name.

    Raises:
        InputError: there is no such option, or its value cannot be read.
    """
    parameters = inspect.signature(factory).parameters.values()
    hints = _hints(factory.__init__ if isinstance(factory, type) else factory)
    by_place = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    by_name = [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    takes_all = any(one.kind == one.VAR_KEYWORD for one in parameters)
    if name and not by_place:
        raise InputError(f"'{text}' has the name '{name}', but its factory takes none: leave it out.")
    positional = [_read(text, f":{name}", name, hints.get(by_place[0]))] if name else []
    named = {}
    for option in options:
        key, _, value = option.partition("=")
        if key not in by_name and not takes_all:
            raise InputError(f"'{text}' has an unknown option '{key}': there are {', '.join(by_name) or 'none'}.")
        named[key] = _read(text, f"{key}=", value, hints.get(key))
    return positional, named


def _hints(function: Any) -> dict[str, Any]:
    """Annotations of a function; none where they cannot be resolved."""
    try:
        return typing.get_type_hints(function)
    except (TypeError, NameError, AttributeError):
        return {}


def _read(text: str, place: str, value: str, annotation: Any) -> Any:
    """A value as its annotation says."""
    wanted = set(typing.get_args(annotation)) or {annotation}
    if type(None) in wanted and value == "None":
        return None
    wanted -= {type(None)}
    if wanted == {str}:
        return value
    if wanted == {bool}:
        if value not in _TRUTHS:
            raise InputError(f"'{text}' needs True or False after '{place}', not '{value}'.")
        return _TRUTHS[value]
    try:
        found = int(value) if wanted == {int} else float(value) if wanted <= {int, float} else _literal(value)
    except ValueError:
        raise InputError(f"'{text}' needs a number after '{place}', not '{value}'.") from None
    if isinstance(found, float) and not math.isfinite(found):
        raise InputError(f"'{text}' needs a finite number after '{place}'.")
    return found


def _literal(value: str) -> Any:
    """A number, True, False or None; else the text."""
    try:
        found = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return found if isinstance(found, int | float | None) else value
