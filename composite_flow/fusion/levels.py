"""Levels at which promises are measured, and what they are promised for."""

from typing import Literal

import numpy as np

from composite_flow.errors import InputError

LEVELS = tuple(np.round([*np.arange(0.05, 0.95, 0.05), 0.95, 0.975, 0.99, 0.995], 3).tolist())
"""Levels at which errors are measured."""

Over = Literal["step", "episode"]
"""What a bound holds for: one step of a new episode, or all of its steps."""

OVERS: tuple[Over, ...] = ("step", "episode")
"""Both of them."""


def next_level(level: float) -> float:
    """The next level that is measured.

    Raises:
        InputError: there is none.
    """
    if not 0 < level <= LEVELS[-1]:
        raise InputError(f"Levels from above 0 to {LEVELS[-1]} were measured, not {level}.")
    return next(measured for measured in LEVELS if measured >= level - 1e-9)
