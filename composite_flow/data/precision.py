"""What 32 bits do not tell apart: found before it is lost, and refused by the feature's name.

States are scaled to [0, 1] in float64 where float32 would lose them, and only then become 32-bit. Observations are not
scaled before networks read them.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from composite_flow.errors import InputError

_ENOUGH = 2**16  # float32 numbers within the range of a feature; with fewer, its states are kept in float64
_TOO_FEW = 2**10  # with fewer, observations are refused
_WHOLE = 2**24  # float32 holds every whole number up to this
_LARGEST = 1e37  # beyond it, float32 overflows, or the difference of two does
_SAMPLE = 65_536  # rows by which the spread of a feature is judged
OUTLYING = 100.0
"""A range so many times that of the middle 99% is told."""


def as_32_bits(states: Float[np.ndarray, "steps state"]) -> Float[np.ndarray, "steps state"]:
    """The states in float32, where that loses nothing that counts, else as they are, in float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        return states if np.any(_lost(states, _ENOUGH)) else states.astype(np.float32)


def check_observations(observations: Float[np.ndarray, "rows observation"], names: Sequence[str]) -> None:
    """Refuse observations whose distinct values 32 bits merge.

    Raises:
        InputError: which feature, and what to do.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        lost = np.flatnonzero(_lost(observations, _TOO_FEW))
        merged = [
            place for place in lost.tolist() if _merges(observations[:, place], as_float32(observations[:, place]))
        ]
    for place in merged:
        if np.isfinite(as_float32(observations[:, place])).all():
            raise InputError(_merged(names[place], "subtract its smallest value, or the start of each episode, first"))


def check_scaled(
    states: Float[np.ndarray, "steps state"],
    scale: Callable[[Float[np.ndarray, "steps state"]], Float[np.ndarray, "steps state"]],
    names: Sequence[str],
) -> None:
    """Refuse states whose distinct values merge once they are scaled to [0, 1] in float64 and become 32-bit.

    Args:
        states: in their own units.
        scale: returns scaled states.
        names: of the features.

    Raises:
        InputError: which feature, and what to do.
    """
    suspects = np.flatnonzero(_may_merge(states)).tolist() if len(states) else []
    scaled = scale(states.astype(np.float64)) if suspects else states
    for place in suspects:
        if _merges(states[:, place], scaled[:, place]):
            raise InputError(_merged(names[place], "leave out its outliers, or divide it into coarse and fine parts"))


def outlying(values: Float[np.ndarray, "rows columns"]) -> Bool[np.ndarray, " columns"]:
    """Columns whose range is more than a hundred times that of the middle 99%.

    Columns that rest at one value in half of the rows and more, such as what is seldom in sight, are none: what else
    they hold is rare by nature.
    """
    if not len(values):
        return np.zeros(values.shape[1], bool)
    some = _some(values)
    low, high = middle_of(some)
    span = values.max(axis=0).astype(np.float64) - values.min(axis=0)
    usual = np.quantile(some, 0.5, axis=0, method="lower")
    rests = np.mean(some == usual[None], axis=0) >= 0.5
    return (high > low) & (span > OUTLYING * (high - low)) & ~rests


def as_float32(values: np.ndarray) -> np.ndarray:
    """The values in 32 bits, infinite where they are too large."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def middle_of(values: Float[np.ndarray, "rows columns"]) -> tuple[np.ndarray, np.ndarray]:
    """Between which values of each column the middle 99% lie: values that occur, so that no outlier is mixed in."""
    low = np.quantile(values, 0.005, axis=0, method="higher")
    high = np.quantile(values, 0.995, axis=0, method="lower")
    return np.minimum(low, high), np.maximum(low, high)


def _lost(values: np.ndarray, enough: int) -> Bool[np.ndarray, " columns"]:
    """Columns that vary, and of which float32 changes whole numbers, or has few numbers within the range."""
    if values.dtype == np.float32 or not len(values):
        return np.zeros(values.shape[1], bool)
    low, high = values.min(axis=0), values.max(axis=0)
    largest = np.maximum(np.abs(low), np.abs(high))
    cells = (high - low) / np.spacing(largest.astype(np.float32)).astype(np.float64)
    few, large = (high > low) & (cells < enough), (high > low) & (largest > _WHOLE)
    whole = [bool(large[place]) and _is_whole(values[:, place]) for place in range(len(low))]
    return few | np.array(whole, bool) | (largest > _LARGEST)


def _may_merge(states: np.ndarray) -> Bool[np.ndarray, " columns"]:
    """Columns worth a look: whole numbers in a range beyond 2^24, and all whose middle is narrow in their range."""
    low, high = middle_of(_some(states))
    span = states.max(axis=0).astype(np.float64) - states.min(axis=0)
    return (span > _WHOLE) | ((span > 0) & ((high - low) * _WHOLE < _TOO_FEW * span) & (high > low))


def _merges(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether distinct values merge: any of whole numbers, more than half of all others."""
    distinct, left = len(np.unique(before)), len(np.unique(after))
    return left < distinct if _is_whole(before) else 2 * left < distinct


def _is_whole(column: np.ndarray) -> bool:
    return bool(np.all(column == np.floor(column)))


def _some(values: np.ndarray) -> np.ndarray:
    return np.asarray(values[:: max(1, len(values) // _SAMPLE)], np.float64)


def _merged(name: str, remedy: str) -> str:
    return f"Distinct values of {name!r} become one and the same in 32 bits; {remedy}."
