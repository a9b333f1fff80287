"""Conformal radii of a denoiser, and how many whole episodes they cover that calibrated nothing.

An episode's score is the largest ‖D_φ‖ of all its steps and agents, or the largest error of all its accepted samples.
One half of the episodes gives the radius of each level; the other half shows what it covers, with the probability of so
few if the promise holds (`certificate.conformal`).
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from composite_flow.certificate.calibration import deviation_scores, estimate_scores
from composite_flow.certificate.conformal import conformal_radius, coverage_of_new
from composite_flow.data.dataset import HistoryDataset
from composite_flow.denoiser import Denoiser


def conformal_radii(
    denoiser: Denoiser,
    dataset: HistoryDataset,
    *,
    radius: float,
    levels: Sequence[float],
    max_episodes: int,
    num_samples: int,
    num_sweeps: int,
    key: PRNGKeyArray,
) -> dict[str, Any]:
    """Radii of the deviations and of the accepted estimates, for JSON.

    Args:
        denoiser: f.
        dataset: episodes used for nothing else.
        radius: D_φ for the checks, measured on other data.
        levels: confidence levels.
        max_episodes: whole episodes, at most, in which estimates are made; deviations are of all.
        num_samples: noises for each joint history.
        num_sweeps: passes through the agents.
        key: draws episodes, halves and noises.

    Returns:
        For "deviation" and "estimate" the numbers of calibration and of other episodes, and by level the radius and,
        where there are other episodes, their covered share and its p-value.
    """
    key_some, key_estimates, key_halves = jax.random.split(key, 3)
    options = {"radius": radius, "num_samples": num_samples, "num_sweeps": num_sweeps}
    some = _some_episodes(dataset, max_episodes, key_some)
    estimates = estimate_scores(denoiser, some, key=key_estimates, **options)
    scores = {"deviation": deviation_scores(denoiser, dataset), "estimate": estimates[estimates > -np.inf]}
    return {kind: _of_halves(values, levels, key_halves) for kind, values in scores.items()}


def _some_episodes(dataset: HistoryDataset, most: int, key: PRNGKeyArray) -> HistoryDataset:
    episodes = np.asarray(dataset.episode_ids)
    if len(episodes) <= most:
        return dataset
    drawn = np.asarray(jax.random.permutation(key, len(episodes)))[:most]
    return dataset.part(episodes[drawn], withheld_states=dataset.withheld_states)


def _of_halves(scores: Float[np.ndarray, " episodes"], levels: Sequence[float], key: PRNGKeyArray) -> dict[str, Any]:
    drawn = scores[np.asarray(jax.random.permutation(key, len(scores)))]
    calibrating, others = np.split(drawn, [-(-len(drawn) // 2)])
    return {
        "episodes": len(calibrating),
        "other_episodes": len(others),
        "levels": {f"{level:g}": _at_level(calibrating, others, 1 - level) for level in levels},
    }


def _at_level(
    calibrating: Float[np.ndarray, " calibrating"], others: Float[np.ndarray, " others"], alpha: float
) -> dict[str, float]:
    if not others.size:
        return {"radius": conformal_radius(calibrating, alpha)}
    found = coverage_of_new(calibrating, others, alpha)
    return {"radius": found.radius, "coverage": found.share, "p_value": found.p_value}
