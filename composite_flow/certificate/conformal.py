"""Radii with a guarantee: split conformal prediction, one score per episode (Vovk et al. 2005; Lei et al. 2018).

Steps of one episode depend on each other, episodes do not. So each calibration episode gives one score, the largest
over all its pairs, and the radius is the k-th smallest of these scores, k = ⌈(n+1)(1−α)⌉. A new episode that is
exchangeable with the n lies wholly inside with probability at least 1 − α, whatever the network and the distribution:

    P(score ≤ radius) = k/(n+1) without ties,   between 1 − α and 1 − α + 1/(n+1)

averaged over draws of the calibration episodes; for given ones the coverage is a draw from Beta(k, n+1−k). With fewer
episodes than n = 1/α − 1 (99 at 99%) there is no finite radius. Calibration episodes must be used for nothing else: not
to train, to stop, to select, or to measure the D_φ by which estimates are accepted. Validation episodes do not qualify,
since D_φ and the learning curve come from them. So split the test part (`calibration.split_for_calibration`).
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Array, Float, Int

from composite_flow.errors import InputError


@dataclass(frozen=True)
class Coverage:
    """How many new episodes lay wholly inside a radius, compared with what the calibration promises.

    Attributes:
        level: the promised 1 − α.
        share: of the new episodes that is covered.
        p_value: probability of at most this many covered episodes if the promise holds; a small value speaks against
            it.
        radius: of the calibration episodes.
    """

    level: float
    share: float
    p_value: float
    radius: float


def episode_scores(
    scores: Float[Array | np.ndarray, " pairs"], episode_ids: Int[Array | np.ndarray, " pairs"]
) -> Float[np.ndarray, " episodes"]:
    """One score per episode, the largest over its pairs, in the order of `np.unique(episode_ids)`.

    Args:
        scores: the quantity that the radius is to bound, for each pair.
        episode_ids: the episode that each pair belongs to.

    Raises:
        InputError: there is no pair, or a score is NaN.
    """
    values = np.asarray(scores, np.float64)
    if not values.size or np.any(np.isnan(values)):
        raise InputError("Scores must be one or more numbers without NaN; let a failed pair score infinity.")
    found, place = np.unique(np.asarray(episode_ids), return_inverse=True)
    largest = np.full(len(found), -np.inf)
    np.maximum.at(largest, place, values)
    return largest


def conformal_radius(scores: Float[Array | np.ndarray, " episodes"], alpha: float) -> float:
    """The k-th smallest score, k = ⌈(n+1)(1−α)⌉; infinite where k > n.

    Args:
        scores: one per calibration episode.
        alpha: share of new episodes that may exceed the radius.

    Raises:
        InputError: α is not between 0 and 1, or a score is NaN.
    """
    values = np.asarray(scores, np.float64)
    if np.any(np.isnan(values)):
        raise InputError("Scores hold NaN; let a failed episode score infinity.")
    place = conformal_rank(len(values), alpha)
    return math.inf if place > len(values) else float(np.sort(values)[place - 1])


def calibration_episodes_needed(alpha: float) -> int:
    """Fewest calibration episodes with a finite radius: the smallest n with (n+1) α ≥ 1."""
    return math.ceil(1 / _exact(alpha)) - 1


def coverage_of_new(
    calibration: Float[Array | np.ndarray, " episodes"], new: Float[Array | np.ndarray, " new"], alpha: float
) -> Coverage:
    """Coverage of new episodes by the radius of given calibration episodes, with an exact one-sided test.

    For exchangeable scores without ties, the number of covered episodes out of m is beta-binomial(m, k, n+1−k); ties
    can only increase it. This test can find a source that has changed, or calibration episodes that were used before.

    Args:
        calibration: one score per calibration episode.
        new: one score per new episode.
        alpha: share of the new episodes that may exceed the radius.

    Raises:
        InputError: α is out of range, a score is NaN, or there is no new episode.
    """
    scores, radius = np.asarray(new, np.float64), conformal_radius(calibration, alpha)
    if not scores.size or np.any(np.isnan(scores)):
        raise InputError("Coverage needs at least one new episode, and no score may be NaN.")
    covered = int(np.sum(scores <= radius))
    return Coverage(
        level=1.0 - alpha,
        share=covered / len(scores),
        p_value=_probability_of_at_most(covered, len(scores), len(calibration), alpha),
        radius=radius,
    )


def _probability_of_at_most(covered: int, num_new: int, num_calibration: int, alpha: float) -> float:
    """P(X ≤ covered), X beta-binomial(num_new, k, n+1−k)."""
    place = conformal_rank(num_calibration, alpha)
    if place > num_calibration:
        return 1.0  # an infinite radius covers all
    from scipy import stats  # more than a second to import, which nothing else here needs

    return float(stats.betabinom.cdf(covered, num_new, place, num_calibration + 1 - place))


def conformal_rank(num_episodes: int, alpha: float) -> int:
    """k = ⌈(n+1)(1−α)⌉, with α as an exact fraction: the float 1 − 0.9 is a little below 0.1 and would raise k."""
    return math.ceil((num_episodes + 1) * (1 - _exact(alpha)))


def _exact(alpha: float) -> Fraction:
    share = Fraction(alpha).limit_denominator(10**6) if 0 < alpha < 1 else Fraction(0)
    if not 0 < share < 1:
        raise InputError(f"alpha must lie between 0 and 1, at least 1e-6 from both, not at {alpha}.")
    return share
