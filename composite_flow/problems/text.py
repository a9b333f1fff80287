"""Problems by name, for the command line, and from the descriptions that data and models carry."""

import math
from collections.abc import Callable
from typing import Any

from composite_flow.errors import CompositeFlowError, InputError
from composite_flow.problems.base import Problem
from composite_flow.problems.host import AnyProblem
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.problems.smacv2 import SMACv2
from composite_flow.problems.smax import SMAX
from composite_flow.problems.tabular import TabularProblem

_TABULAR = {"tiger": TabularProblem.tiger, "xor": TabularProblem.xor}
ENUMERABLE_KINDS = ("sensor", "tabular")
"""Kinds of problems whose states may be few enough to list."""

_EXISTING = "sensor:ROWSxCOLUMNS, " + ", ".join(f"tabular:{name}" for name in _TABULAR) + ", smax:SCENARIO"
_ON_THE_HOST = "smacv2"
"""The kind of worlds that run outside of JAX."""
_ONLY_COLLECTED = (
    f"{_ON_THE_HOST} worlds run outside of JAX, so that episodes of them can be collected, but no policy be trained in "
    "them and no belief be computed: use smax:SCENARIO for that."
)
_SENSOR_OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "targets": ("num_targets", int),
    "miss": ("miss", lambda text: [float(part) for part in text.split("/")]),
    "move": ("move_probability", float),
    "reward": ("reward", float),
    "cost": ("scan_cost", float),
    "steps": ("num_steps", int),
}
_SMAX_OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {"sight": ("sight", float), "steps": ("num_steps", int)}


def problem_from_text(text: str) -> Problem:
    """The problem that a text names, such as `sensor:5x5,targets=2`.

    Args:
        text: a kind, a colon, what of it, and options after commas. `sensor:2x2` is the paper's network with the
            paper's numbering; any other `sensor:ROWSxCOLUMNS` is a grid. Its options: `targets`, `miss` (one
            probability, or one per area as `0.5/0.5/0/0`), `move`, `reward`, `cost`, `steps`. `tabular:xor`
            and `tabular:tiger` have the option `steps`. `smax:zerg_5_vs_5`, `smax:3m` and all
            other scenarios of `SMAX` have `sight`, the allies', and `steps`.

    Raises:
        InputError: nothing of that name exists, or an option cannot be used.
    """
    kind, _, rest = text.partition(":")
    name, *options = rest.split(",")
    if kind == "sensor":
        return _sensor(text, name, _read_options(text, options, _SENSOR_OPTIONS))
    if kind == "tabular" and name in _TABULAR:
        return _TABULAR[name](**_read_options(text, options, {"steps": ("num_steps", int)}))
    if kind == "smax":
        return SMAX(name, **_read_options(text, options, _SMAX_OPTIONS))
    if kind == _ON_THE_HOST:
        raise InputError(_ONLY_COLLECTED)
    raise InputError(f"There is no problem '{text}': there are {_EXISTING}.")


def world_from_text(text: str) -> AnyProblem:
    """What a team can act in: a problem, as `problem_from_text` reads it, or a world on the host.

    Args:
        text: as for `problem_from_text`; also `smacv2:zerg_5_vs_5` and the other scenarios of `SMACv2`, with `steps`.

    Raises:
        InputError: nothing of that name exists, an option cannot be used, or the world's library is missing.
    """
    kind, _, rest = text.partition(":")
    if kind != _ON_THE_HOST:
        return problem_from_text(text)
    name, *options = rest.split(",")
    return SMACv2(name, **_read_options(text, options, {"steps": ("num_steps", int)}))


def problem_from_description(description: dict[str, Any]) -> Problem:
    """Rebuild a problem from its `description`.

    Raises:
        InputError: the description is not one of ours.
    """
    kinds = {
        "sensor": SensorNetwork.from_description,
        "tabular": TabularProblem.from_description,
        "smax": SMAX.from_description,
    }
    kind = description.get("kind")
    if kind == _ON_THE_HOST:
        raise InputError(_ONLY_COLLECTED)
    if kind not in kinds:
        raise InputError(f"There is no kind of problem '{kind}' in this version: there are {', '.join(kinds)}.")
    try:
        return kinds[kind](description)
    except CompositeFlowError:
        raise
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"The description of this {kind} problem is damaged ({error}): write it again.") from error


def _read_options(text: str, options: list[str], known: dict[str, tuple[str, Callable[[str], Any]]]) -> dict[str, Any]:
    """Parse `name=value` pairs."""
    values = {}
    for option in options:
        name, _, value = option.partition("=")
        if name not in known:
            raise InputError(f"'{text}' has an unknown option '{name}': there are {', '.join(known) or 'none'}.")
        argument, parse = known[name]
        try:
            values[argument] = parse(value)
        except ValueError:
            raise InputError(f"'{text}' needs a number after '{name}=', not '{value}'.") from None
        if isinstance(values[argument], float) and not math.isfinite(values[argument]):
            raise InputError(f"'{text}' needs a finite number after '{name}='.")
    return values


def _sensor(text: str, name: str, options: dict[str, Any]) -> SensorNetwork:
    """A grid, or the paper's network where it is 2 by 2."""
    sizes = name.split("x")
    if len(sizes) != 2 or not all(size.isdecimal() for size in sizes):
        raise InputError(f"'{text}' names no sensor network: write sensor:ROWSxCOLUMNS, such as sensor:5x5,targets=2.")
    if "miss" in options and len(options["miss"]) == 1:
        options["miss"] = options["miss"][0]
    rows, columns = (int(size) for size in sizes)
    return SensorNetwork.two_by_two(**options) if rows == columns == 2 else SensorNetwork.grid(rows, columns, **options)
