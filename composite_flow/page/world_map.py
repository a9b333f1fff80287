"""The map of a world, where it has one: a sensor network, or positions that the state's features name.

A feature whose name ends in x, after a blank or a sign, is a position beside the one that ends in y and begins alike:
`ally_0_x` and `ally_0_y`, "robot 3 x" and "robot 3 y", or x and y alone. So are column and row.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from composite_flow.errors import CompositeFlowError
from composite_flow.problems import SensorNetwork, problem_from_description

_ACROSS = re.compile(r"^(?P<unit>.*?)(?P<sign>[\W_]?)(?P<axis>x|column)$", re.IGNORECASE)
_NUMBERED = re.compile(r"^(?P<kind>.*?)(?P<number>\d+)$")
_DOWN = {"x": "y", "X": "Y", "column": "row", "Column": "Row"}


def map_of(description: dict[str, Any] | None, features: Sequence[str]) -> dict[str, Any] | None:
    """The header's entry; None where the world has no map.

    Args:
        description: of the problem; None or empty where it is not known.
        features: names of the state's.
    """
    problem = _problem(description)
    if isinstance(problem, SensorNetwork) and problem.state_size == len(features):
        return sensor_map(problem)
    return position_map(features)


def sensor_map(problem: SensorNetwork) -> dict[str, Any]:
    """Places of sensors and of areas, a feature each, and who watches them.

    `slots` says of each agent and each entry of its observation which area it is about; the number of areas where none.
    """
    from composite_flow.plots.episode_sensors import area_places, sensor_places  # which loads matplotlib

    coverage = np.asarray(problem.coverage)
    sensors = sensor_places(coverage)
    return {
        "kind": "sensors",
        "sensors": np.round(sensors, 4).tolist(),
        "areas": np.round(area_places(coverage, sensors), 4).tolist(),
        "slots": np.asarray(problem.slots).tolist(),
    }


def position_map(features: Sequence[str]) -> dict[str, Any] | None:
    """Units whose positions are features of the state; None where there is none.

    `alive` is the feature that says whether a unit is there, where one is named so; −1 where not. Rows count downwards.
    Units have numbers from 1, as people count.
    """
    place = {name: number for number, name in enumerate(features)}
    units = []
    for name, across in place.items():
        found = _ACROSS.match(name)
        if found is None or (found["unit"] and not found["sign"]):
            continue
        beginning = found["unit"] + found["sign"]
        down = place.get(beginning + _DOWN.get(found["axis"], ""))
        if down is not None:
            named = found["unit"].replace("_", " ").strip() or "position"
            units.append({"name": named, "x": across, "y": down, "alive": place.get(f"{beginning}alive", -1)})
    rows = any(name.lower().endswith("column") for name in features)
    return {"kind": "positions", "units": _counted_from_one(units), "down": rows} if units else None


def _counted_from_one(units: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Units of one kind whose numbers begin at 0, in code, with numbers that begin at 1, for people."""
    numbered = [_NUMBERED.match(unit["name"]) for unit in units]
    from_zero = {found["kind"] for found in numbered if found and int(found["number"]) == 0}
    return [
        {**unit, "name": f"{found['kind']}{int(found['number']) + 1}"} if found and found["kind"] in from_zero else unit
        for unit, found in zip(units, numbered, strict=True)
    ]


def _problem(description: dict[str, Any] | None) -> Any:
    """The problem of a description, where its kind is known here."""
    if not description or description.get("kind") != "sensor":
        return None
    try:
        return problem_from_description(description)
    except CompositeFlowError:
        return None
