"""Bounds that hold for new episodes, from calibration episodes that were used for nothing else.

one new step        q = inf { v : Σ_e 1/(n + 1) · (share of the steps of episode e with score ≤ v) ≥ level }
a whole episode     the ⌈(n + 1) level⌉-th smallest of the episodes' largest scores

of n episodes. A random step of a new episode lies below the first with probability at least `level`, and all steps of a
new episode below the second, whatever the distribution, if episodes are exchangeable. Both are infinite where
n < level / (1 − level).

The first is of Lee, Barber and Willett, "Distribution-free inference with hierarchical data", 2023, the second split
conformal prediction (`certificate/conformal.py`).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from composite_flow.certificate.conformal import conformal_rank
from composite_flow.fusion.levels import Over


def bounds(
    scores: Float[np.ndarray, "steps columns"], episodes: Int[np.ndarray, " steps"], levels: Sequence[float], over: Over
) -> Float[np.ndarray, "levels columns"]:
    """The bound of each column at each level; infinite where there are too few episodes.

    Args:
        scores: of each calibration step; NaN where it does not count for a column.
        episodes: of which episode each step is.
        levels: such as 0.9.
        over: what the bounds are to hold for.
    """
    ids, place = np.unique(episodes, return_inverse=True)
    counts = np.zeros((len(ids), scores.shape[1]))
    np.add.at(counts, place, ~np.isnan(scores))
    if over == "episode":
        return _of_episodes(scores, place, counts, levels)
    with np.errstate(divide="ignore"):
        weights = 1.0 / ((np.sum(counts > 0, axis=0) + 1) * counts[place])
    return _of_steps(scores, np.where(np.isnan(scores), 0.0, weights), levels)


def _of_steps(scores: np.ndarray, weights: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    order = np.argsort(scores, axis=0)  # NaN, of no weight, comes last
    reached = np.cumsum(np.take_along_axis(weights, order, axis=0), axis=0)
    ranked = np.concatenate([np.take_along_axis(scores, order, axis=0), np.full((1, scores.shape[1]), np.inf)])
    found = []
    for level in levels:
        first = np.sum(reached < level - 1e-9, axis=0)  # sums of weights are rounded
        found.append(np.take_along_axis(ranked, first[None], axis=0)[0])
    return np.stack(found)


def _of_episodes(scores: np.ndarray, place: np.ndarray, counts: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    largest = np.full(counts.shape, -np.inf)
    np.maximum.at(largest, place, np.where(np.isnan(scores), -np.inf, scores))
    largest = np.where(counts > 0, largest, np.inf)  # last, beyond those that count
    ranked = np.concatenate([np.sort(largest, axis=0), np.full((1, scores.shape[1]), np.inf)])
    numbers = np.sum(counts > 0, axis=0).tolist()
    ranks = [[min(conformal_rank(number, 1.0 - level) - 1, number) for number in numbers] for level in levels]
    return np.take_along_axis(ranked, np.asarray(ranks, int), axis=0)
