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
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.errors import InputError


@dataclass(frozen=True)
class Coverage:
    """How many new episodes lay wholly inside a radius, compared with what the calibration promises.

    Attributes:
        level: the promised 1 − α.
        shares: covered share of the evaluation episodes in each split.
        p_value: probability of at most this many covered episodes if the promise holds; a small value speaks against
            it.
        radii: the radius of each split.
    """

    level: float
    shares: tuple[float, ...]
    p_value: float
    radii: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean coverage over the splits."""
        return float(np.mean(self.shares))


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
    return _tested([(np.asarray(calibration, np.float64), np.asarray(new, np.float64))], alpha)


def resplit_coverage(
    scores: Float[Array | np.ndarray, " episodes"],
    alpha: float,
    num_splits: int = 20,
    *,
    key: PRNGKeyArray,
    fraction: float = 0.5,
) -> Coverage:
    """Coverage over random re-splits of one pool into calibration and evaluation, with an exact one-sided test.

    All splits use the same pool but are drawn independently, and without ties the number that a split covers depends
    on the ranks of its scores alone. So for any pool these numbers are independent beta-binomials, and the p-value is
    that of their sum. For the same reason the outcome says nothing about the scores: the test finds mistakes in the
    rule, never a changed source; `coverage_of_new` can find that.

    Args:
        scores: one per episode.
        alpha: share of episodes that may exceed the radius.
        num_splits: number of re-splits.
        key: draws the splits.
        fraction: share of the episodes for calibration.

    Raises:
        InputError: a setting is out of range, or one side of a split would be empty.
    """
    pool = np.asarray(scores, np.float64)
    num_calibration = round(fraction * len(pool))
    if num_splits < 1 or not 0 < num_calibration < len(pool):
        raise InputError(f"{len(pool)} episodes cannot be split {num_splits} times at the fraction {fraction}.")
    orders = np.asarray(jax.vmap(lambda one: jax.random.permutation(one, len(pool)))(jax.random.split(key, num_splits)))
    return _tested([(pool[order[:num_calibration]], pool[order[num_calibration:]]) for order in orders], alpha)


def _tested(splits: Sequence[tuple[np.ndarray, np.ndarray]], alpha: float) -> Coverage:
    """Radius and coverage of each split (calibration, evaluation); all splits have the same sizes."""
    num_calibration, num_new = len(splits[0][0]), len(splits[0][1])
    if not num_new or any(np.any(np.isnan(new)) for _, new in splits):
        raise InputError("Coverage needs at least one new episode, and no score may be NaN.")
    radii = [conformal_radius(calibration, alpha) for calibration, _ in splits]
    covered = [int(np.sum(new <= radius)) for (_, new), radius in zip(splits, radii, strict=True)]
    return Coverage(
        level=1.0 - alpha,
        shares=tuple(count / num_new for count in covered),
        p_value=_probability_of_at_most(sum(covered), len(splits), num_new, num_calibration, alpha),
        radii=tuple(radii),
    )


def _probability_of_at_most(covered: int, num_splits: int, num_new: int, num_calibration: int, alpha: float) -> float:
    """P(X ≤ covered), X a sum of independent beta-binomials(num_new, k, n+1−k), by its characteristic function."""
    place = conformal_rank(num_calibration, alpha)
    if place > num_calibration:
        return 1.0  # an infinite radius covers all
    from scipy import stats  # more than a second to import, which nothing else here needs

    law = stats.betabinom.pmf(np.arange(num_new + 1), num_new, place, num_calibration + 1 - place)
    length = num_splits * num_new + 1
    total = np.fft.irfft(np.fft.rfft(law, length) ** num_splits, length)
    return float(np.clip(np.sum(total[: covered + 1]), 0.0, 1.0))


def conformal_rank(num_episodes: int, alpha: float) -> int:
    """k = ⌈(n+1)(1−α)⌉, with α as an exact fraction: the float 1 − 0.9 is a little below 0.1 and would raise k."""
    return math.ceil((num_episodes + 1) * (1 - _exact(alpha)))


def _exact(alpha: float) -> Fraction:
    share = Fraction(alpha).limit_denominator(10**6) if 0 < alpha < 1 else Fraction(0)
    if not 0 < share < 1:
        raise InputError(f"alpha must lie between 0 and 1, at least 1e-6 from both, not at {alpha}.")
    return share
