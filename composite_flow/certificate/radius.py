"""The radius D_φ of the checks: a number, or a conformal bound that says what it bounds and how surely.

Condition 2 of the paper (A.6) compares with 2 D_φ how far each agent's own flow leaves a sample. The two kinds of
bound mean different things there:

- "deviation": with probability at least `level`, *every* ‖D_φ(τ_i, s)‖ of a new episode is at most `value`. This is
  the D_φ that A.6 asks for, and Theorem 7's assumption that no check can see: on such an episode an accepted sample
  whose flows end in the true state's own fixed points is less than 3 · `value` wrong. Other shared fixed points
  remain possible, so it bounds no error by itself.
- "estimate": with probability at least `level`, *every* accepted sample of a new episode that has any
  lies within `value` of the true state. It bounds the error itself, hypotheses or not, but is no D_φ: condition 2
  goes on with `checked_with`, the D_φ by which the calibration samples were accepted, since another one would
  accept other samples and void the bound.

Both hold on average over draws of the calibration episodes, for new episodes from the same source.
"""

import dataclasses
import math
from typing import Literal

from composite_flow.errors import InputError


@dataclasses.dataclass(frozen=True)
class ConformalRadius:
    """A radius that holds for a whole new episode with at least a stated probability (split conformal prediction).

    Attributes:
        kind: what it bounds: "deviation" of fixed points, or error of an accepted "estimate".
        level: the probability 1 − α.
        value: in units of the scaled state; infinite where there were too few calibration episodes.
        num_episodes: that it was calibrated on; they were used for nothing else.
        checked_with: D_φ of the checks that accepted the calibration samples; kind "estimate" only.
    """

    kind: Literal["deviation", "estimate"]
    level: float
    value: float
    num_episodes: int
    checked_with: float | None = None

    def __post_init__(self):
        if self.kind not in ("deviation", "estimate"):
            raise InputError(f'A conformal radius bounds a "deviation" or an "estimate", not "{self.kind}".')
        if (self.kind == "estimate") != (self.checked_with is not None):
            raise InputError('checked_with belongs to kind "estimate", which needs it, and to no other.')


def check_radius(radius: float | ConformalRadius) -> float:
    """The D_φ that condition 2 compares with (see the module for what each kind means there).

    Args:
        radius: D_φ itself, or a conformal radius.

    Raises:
        InputError: it is negative, not a number, or infinite for want of calibration episodes.
    """
    if not isinstance(radius, ConformalRadius):
        value = float(radius)
    elif radius.checked_with is not None:
        value = radius.checked_with
    elif math.isinf(radius.value):
        raise InputError(
            f"No finite radius holds at level {radius.level:g} with {radius.num_episodes} calibration episodes; "
            "calibrate on more or ask for a lower level."
        )
    else:
        value = radius.value
    if not math.isfinite(value) or value < 0:
        raise InputError(f"radius must be a finite number that is not negative, not {value}.")
    return value
