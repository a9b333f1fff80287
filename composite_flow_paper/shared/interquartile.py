"""Interquartile means over training runs, with stratified bootstrap intervals, and contrasts of means.

    IQM = mean of the middle half of all scores: of n in order, without the ⌊n/4⌋ smallest and as many largest
    interval: quantiles of the IQM when each stratum's runs are drawn anew from its own

after Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice". A stratum is a world.

Of fewer than four scores the IQM is the mean. And three runs can be drawn anew in ten ways only: their interval is
hardly more than their range, which holds the truth less often than it says. Comparisons therefore use `contrast`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

_RESAMPLES = 2000
_LEVEL = 0.95


def interquartile_mean(scores: Float[np.ndarray, "*batch runs"]) -> Float[np.ndarray, "*batch"]:
    """Mean of the middle half of the scores along the last axis."""
    cut = scores.shape[-1] // 4
    return np.sort(scores, axis=-1)[..., cut : scores.shape[-1] - cut].mean(axis=-1)


def stratified_interval(
    scores: Float[np.ndarray, "*batch strata runs"], level: float = _LEVEL
) -> tuple[Float[np.ndarray, "*batch"], Float[np.ndarray, "*batch"]]:
    """Ends of the percentile bootstrap interval of the IQM over all strata and runs.

    Args:
        scores: of each run in each stratum; strata of different scales must have been normalised.
        level: of the interval.
    """
    strata, runs = scores.shape[-2:]
    rows = np.random.default_rng(0).integers(0, runs, (_RESAMPLES, strata, runs))
    drawn = scores[..., np.arange(strata)[:, None], rows]
    means = interquartile_mean(drawn.reshape(*drawn.shape[:-2], strata * runs))
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2), axis=-1)
    return low, high


@dataclass(frozen=True, eq=False)
class Runs:
    """What independent training runs reached.

    Attributes:
        values: of each run.
        standard_errors: of each value, from the scatter of its episodes; 0 where that is unknown.
    """

    values: Float[np.ndarray, " runs"]
    standard_errors: Float[np.ndarray, " runs"]


@dataclass(frozen=True)
class Contrast:
    """A sum of means with signs.

    Attributes:
        value: of the sum.
        interval: 95%, over runs and episodes; None where some mean is of one run, which tells nothing of others.
        p_value: two-sided, of a sum of 0; below 0.05 where the interval leaves 0 out.
    """

    value: float
    interval: tuple[float, float] | None
    p_value: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the claim that the sum is positive is confirmed, contradicted or undecided."""
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return "undecided"
        return "confirmed" if self.value > 0 else "contradicted"


def contrast(parts: Sequence[tuple[int, Runs]]) -> Contrast:
    """Σ_g ±_g mean_g, with the wider of two 95% intervals.

    One knows the scatter of runs, whose values episodes scatter too: ± t_ν √(Σ_g sd_g² / n_g) with Welch's ν. The
    other knows the scatter of episodes within the runs alone, ± 1.96 √(Σ_g Σ_k se_gk² / n_g²), for the case that few
    runs agree by chance.

    Args:
        parts: sign and runs of each mean.
    """
    value = float(sum(sign * np.mean(runs.values) for sign, runs in parts))
    sizes = np.array([len(runs.values) for _, runs in parts])
    if np.any(sizes < 2):
        return Contrast(value, None)
    within = sum(np.sum(runs.standard_errors**2) / len(runs.values) ** 2 for _, runs in parts)
    variances = np.array([np.var(runs.values, ddof=1) for _, runs in parts]) / sizes
    laws: list[tuple[Any, float]] = [(stats.norm, float(np.sqrt(within)))] if within > 0 else []
    if variances.sum() > 0:
        freedom = variances.sum() ** 2 / np.sum(variances**2 / (sizes - 1))
        laws.append((stats.t(freedom), float(np.sqrt(variances.sum()))))
    width = max((float(law.ppf(0.5 + _LEVEL / 2) * error) for law, error in laws), default=0.0)
    p_value = max((float(2 * law.sf(abs(value) / error)) for law, error in laws), default=float(value == 0))
    return Contrast(value, (value - width, value + width), p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: those below α are few enough that any wrong one among them has probability α at most.

    The k-th smallest of m becomes max over j ≤ k of (m + 1 − j) p_(j), at most 1, however they depend on each other
    (Holm 1979).
    """
    order, adjusted, largest = np.argsort(p_values), np.empty(len(p_values)), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted.tolist()
