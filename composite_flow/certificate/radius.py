"""The radius D_φ of the checks: a number, or a conformal bound with what it bounds and at which level.

Condition 2 of the paper (A.6) compares the distance by which each agent's own flow leaves a sample with 2 D_φ. The two
kinds of conformal bound mean different things there:

- "deviation": with probability at least `level`, *every* ‖D_φ(τ_i, s)‖ of a new episode is at most `value`. This is
  the D_φ that A.6 asks for, and the assumption of Theorem 7 that no check can verify. In such an episode, an accepted
  sample whose flows end in the true state's own fixed points has an error below 3 · `value`. The flows can end in
  other shared fixed points, so this radius alone does not bound the error.
- "estimate": with probability at least `level`, *every* accepted sample of a new episode (if there is one) lies within
  `value` of the true state. It bounds the error itself, without hypotheses, but it is not a D_φ. Condition 2 still uses
  `checked_with`, the D_φ by which the calibration samples were accepted: another one would accept other samples, for
  which the bound does not hold.

Both hold on average over draws of the calibration episodes, for new episodes from the same source.
"""

import dataclasses
import math
from typing import Literal

from composite_flow.denoiser import Denoiser, NoDenoiser
from composite_flow.errors import InputError


@dataclasses.dataclass(frozen=True)
class ConformalRadius:
    """A radius that holds for a whole new episode with at least a stated probability (split conformal prediction).

    Attributes:
        kind: what it bounds: "deviation" of fixed points, or error of an accepted "estimate".
        level: the probability 1 − α.
        value: in units of the scaled state; infinite where there were too few calibration episodes.
        num_episodes: number of calibration episodes, which were used for nothing else.
        checked_with: D_φ of the checks that accepted the calibration samples; only for kind "estimate".
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


Radius = float | ConformalRadius


def usable_radius(denoiser: Denoiser, given: Radius | None, own: Radius | None) -> Radius:
    """The radius that was given, else a model's own.

    Raises:
        InputError: there is neither, it cannot be used, or no denoiser was learned.
    """
    if isinstance(denoiser, NoDenoiser):
        denoiser.refuse()
    radius = own if given is None else given
    if radius is None:
        raise InputError("This model's radius was not measured; give one to check the answer with.")
    check_radius(radius)
    return radius


def check_radius(radius: float | ConformalRadius) -> float:
    """The D_φ that condition 2 uses (the module's text says what each kind of radius means there).

    Args:
        radius: D_φ itself, or a conformal radius.

    Raises:
        InputError: it is negative, not a number, or infinite because there were too few calibration episodes.
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
