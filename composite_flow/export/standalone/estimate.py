"""What a team says together, in the state's own units: as `TeamEstimate`, or where composite diffusion ended."""

from typing import Any, NamedTuple

import numpy as np

MERGE_RADIUS = 0.1  # of composite diffusion, as in `Sampling`


class Estimate(NamedTuple):
    """What a team says together, in the state's own units; attributes as in `TeamEstimate`, as far as was measured."""

    mean: np.ndarray
    variance: np.ndarray
    participants: np.ndarray
    uncertainty: float
    verdict: dict[str, Any] | None
    left_out: np.ndarray


def carried_estimate(
    about: dict[str, Any], mean: np.ndarray, precision: np.ndarray, participants: np.ndarray
) -> Estimate:
    """What is carried over time, given scaled; of numbers the variance is NaN where no precision is claimed."""
    low, unit = limits(about)
    claimed = np.where(precision > 0.0, 1.0 / np.where(precision > 0.0, precision, 1.0), np.nan)
    variance = np.where(about["is_number"], claimed, mean * (1.0 - mean))
    nobody, uncertainty = np.zeros_like(participants), float(np.sqrt(variance.sum()))
    return Estimate(low + unit * mean, unit**2 * variance, participants, uncertainty, None, nobody)


def limits(about: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Of a manifest the smallest value of each feature, and how far its values reach from there."""
    low, high = (np.asarray(about["scaling"][end]) for end in ("minimum", "maximum"))
    return low, high - low


def likeliest(about: dict[str, Any], ends: np.ndarray) -> tuple[np.ndarray, float]:
    """Where most of the samples of composite diffusion ended, in the state's own units, and their share."""
    free, found, most = np.isfinite(ends).all(axis=1), np.full(ends.shape[1], np.nan), 0
    while free.any():
        leader = ends[int(np.argmax(free))]
        near = free & (np.sum((ends - leader) ** 2, axis=1) <= MERGE_RADIUS**2)
        found, most = (leader, int(near.sum())) if near.sum() > most else (found, most)
        free &= ~near
    low, unit = limits(about)
    return low + unit * found, most / len(ends)


def intervals(
    about: dict[str, Any], reach: dict[str, np.ndarray], found: Estimate, level: float, team: int
) -> dict[str, list[float]] | None:
    """Bounds of each number at the next level that was measured; None where none was.

    Args:
        about: the manifest.
        reach: what was measured.
        found: the estimate.
        level: share of true values between the bounds.
        team: how many were to answer, where the calibration is of teams whose answers are lost now and then.
    """
    if not (reach.get("levels", np.zeros(0)) >= level - 1e-9).any():
        return None
    row, size = int(np.argmax(reach["levels"] >= level - 1e-9)), int(found.participants.sum())
    size = max(size, team) if reach.get("lost", 0.0) > 0 else size
    half = reach["step"][np.argmin(np.abs(reach["sizes"] - size)), row] * np.sqrt(found.variance)
    bounds = np.stack([found.mean - half, found.mean + half], axis=1).tolist()
    return {about["state_names"][place]: bounds[place] for place in np.flatnonzero(about["is_number"])}
