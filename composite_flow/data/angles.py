"""Angles: inside, two features, the sine and the cosine; outside, the angle itself.

An angle NAME is stored as the neighbours "sin NAME" and "cos NAME", so that whoever knows the names of the features can
give the angle back. The names of an angle in degrees end in " (degrees)". Angles outside lie in (−π, π].
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from composite_flow.errors import InputError

ANGLE, DEGREES = "angle", "angle in degrees"
"""What can be declared of a column."""
_IN_DEGREES = " (degrees)"


def angle_names(name: str, degrees: bool) -> tuple[str, str]:
    """The names of the two features of an angle."""
    ending = _IN_DEGREES if degrees else ""
    return f"sin {name}{ending}", f"cos {name}{ending}"


def angle_features(angle: Float[np.ndarray, "*batch"], degrees: bool) -> Float[np.ndarray, "*batch 2"]:
    """Sine and cosine of an angle, computed in float64."""
    radians = np.asarray(angle, np.float64) * (np.pi / 180 if degrees else 1.0)
    return np.stack([np.sin(radians), np.cos(radians)], axis=-1)


def angles_among(names: Sequence[str]) -> Iterator[tuple[str, int, float]]:
    """Each angle among features of these names: its name, the place of its sine, and its units in a radian."""
    for place, (sine, cosine) in enumerate(zip(names[:-1], names[1:], strict=True)):
        if sine.startswith("sin ") and cosine == f"cos {sine[4:]}":
            degrees = sine.endswith(_IN_DEGREES)
            yield sine[4:].removesuffix(_IN_DEGREES), place, 180 / np.pi if degrees else 1.0


def as_called(names: Sequence[str]) -> tuple[str, ...]:
    """The features as sentences call them: the sine and the cosine of an angle by the angle's name."""
    called = list(names)
    for name, place, _ in angles_among(names):
        called[place : place + 2] = [name, name]
    return tuple(called)


def units_of_angles(names: Sequence[str]) -> dict[str, str]:
    """By the name of each angle its unit."""
    return {name: "radians" if units == 1.0 else "degrees" for name, _, units in angles_among(names)}


def named_values(names: Sequence[str], values: Any) -> dict[str, Any]:
    """Features by their names, angles in place of their sines and cosines: a number each, or a list of them.

    Args:
        names: of the features.
        values: along the last axis.
    """
    columns = np.moveaxis(np.asarray(values), -1, 0)
    found: dict[str, Any] = dict(zip(names, columns.tolist(), strict=True))
    for name, place, units in angles_among(names):
        angle = units * np.arctan2(*columns[place : place + 2].astype(np.float64))
        found = {name if k == names[place] else k: angle.tolist() if k == names[place] else v for k, v in found.items()}
        del found[names[place + 1]]
    return found


def find_angle(names: Sequence[str], name: str) -> tuple[int, float] | None:
    """The place of an angle's sine, and its units in a radian; None where there is no angle of this name."""
    return next(((place, units) for found, place, units in angles_among(names) if found == name), None)


def angle_bounds(sine: tuple[Any, Any], cosine: tuple[Any, Any], units: float) -> tuple[Any, Any]:
    """The angles of all points of the box between bounds of the sine and of the cosine.

    Arrays of NumPy, around the angle of the box's middle; the full circle where the origin lies within. The upper bound
    may lie beyond half a circle, so that lower ≤ upper.

    Raises:
        InputError: a lower bound is above its upper one.
    """
    low, high = (np.stack([np.asarray(pair[end], np.float64) for pair in (sine, cosine)]) for end in (0, 1))
    if np.any(low > high):
        raise InputError("The lower bounds of a sine and a cosine must not be above the upper ones.")
    middle = np.arctan2(*((low + high) / 2))
    corners = np.stack([np.arctan2(s, c) for s in (low[0], high[0]) for c in (low[1], high[1])])
    away = (corners - middle + np.pi) % (2 * np.pi) - np.pi
    around = np.all((low <= 0) & (high >= 0), axis=0)
    lower, upper = np.where(around, -np.pi, away.min(axis=0)), np.where(around, np.pi, away.max(axis=0))
    return np.asarray(units * (middle + lower)), np.asarray(units * (middle + upper))
