"""The surrogate regression compared with real deviations: Findings 3 and 4, Theorem 6, and rank against deviation.

    rank(J⁺) ≥ r(M_ε)  →  "over-parameterised": able to represent the mapping        (Eq. 16, Finding 3)
    ‖D_φ(τ, s)‖ < R̂(M_ε)                                                             (Theorem 6)

Theorem 6 compares a norm with a squared residual, and its proof gives no inequality. √R̂ has the right units but is a
root mean square. So for each of them it is measured how many deviations lie below it, and by what factor.

Intervals take the anchors as independent. The anchors of one training run share a network, so the scatter between
training seeds has to be added.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from scipy import stats

from composite_flow.analysis.surrogate import Surrogate
from composite_flow.errors import InputError
from composite_flow.metrics import clopper_pearson


@dataclass(frozen=True)
class BoundComparison:
    """A supposed bound beside the deviations that it should cover; None where nothing was compared.

    Attributes:
        count: number of deviations compared.
        share: share of the deviations that lie strictly below the bound.
        interval: 95% Clopper–Pearson interval of the share.
        ratio_median: median of bound/deviation over the deviations that are not zero; 1 is tight, below 1 is no bound.
        ratio_low: 5% quantile of that ratio.
        ratio_high: 95% quantile of that ratio.
    """

    count: int
    share: float | None
    interval: tuple[float, float] | None
    ratio_median: float | None
    ratio_low: float | None
    ratio_high: float | None


@dataclass(frozen=True)
class SurrogateBounds:
    """The residuals for one column of ε as bounds on deviations, over the valid anchors.

    Attributes:
        epsilon: median of ε over the anchors.
        num_invalid: anchors left out, because they have too few neighbours or these have equal histories.
        bound: median of R̂, Eq. 17.
        root_bound: median of √R̂.
        residual: comparison with R̂ of Eq. 17, as printed in Theorem 6.
        root: comparison with √R̂, which has the deviation's units.
        anchored: comparison with R̂_ε of Eq. 15, the sum.
    """

    epsilon: float
    num_invalid: int
    bound: float | None
    root_bound: float | None
    residual: BoundComparison
    root: BoundComparison
    anchored: BoundComparison


@dataclass(frozen=True)
class CapacityComparison:
    """Deviations of over- and under-parameterised anchors for one column of ε; None for an empty group.

    Attributes:
        epsilon: median of ε over the anchors.
        num_over: number of over-parameterised anchors, rank(J⁺) ≥ r(M_ε).
        num_under: number of under-parameterised anchors, all others.
        median_over: median deviation norm of the over-parameterised anchors.
        median_under: median deviation norm of the under-parameterised anchors.
        under_deviates_more: probability that a random under-parameterised anchor deviates more than a random
            over-parameterised one, ties counted half. Finding 3 expects more than 0.5.
        p_value: one-sided p-value of the Mann–Whitney test of "not more than 0.5".
    """

    epsilon: float
    num_over: int
    num_under: int
    median_over: float | None
    median_under: float | None
    under_deviates_more: float | None
    p_value: float | None


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's correlation with a percentile bootstrap interval; None where one side does not vary.

    Attributes:
        value: the correlation, between −1 and 1; ties have their mean rank.
        interval: interval of the value at this confidence.
        confidence: two-sided.
        count: number of pairs.
        num_groups: number of histories, or of whatever was drawn anew for the interval.
    """

    value: float | None
    interval: tuple[float, float] | None
    confidence: float
    count: int
    num_groups: int


def compare_bound(
    bounds: Float[np.ndarray, "*#anchors"], deviation_norms: Float[np.ndarray, "*#anchors"]
) -> BoundComparison:
    """Compare deviation norms with supposed bounds.

    Args:
        bounds: one for each norm, or one for all.
        deviation_norms: ‖D_φ‖, finite.
    """
    bounds, norms = (np.ravel(array) for array in np.broadcast_arrays(bounds, deviation_norms))
    if not norms.size:
        return BoundComparison(0, None, None, None, None, None)
    below = int(np.sum(norms < bounds))
    ratios = bounds[norms > 0] / norms[norms > 0]
    low, median, high = (float(q) for q in np.quantile(ratios, (0.05, 0.5, 0.95))) if ratios.size else (None,) * 3
    return BoundComparison(norms.size, below / norms.size, clopper_pearson(below, norms.size), median, low, high)


def compare_surrogate_bounds(
    surrogates: Surrogate, deviation_norms: Float[Array | np.ndarray, " anchors"]
) -> tuple[SurrogateBounds, ...]:
    """Compare R̂, √R̂ and R̂_ε with the deviations of their own anchors, for each column of ε.

    Args:
        surrogates: (anchors, epsilons), from `surrogates` or `surrogates_at_quantiles`.
        deviation_norms: ‖D_φ(τ, s)‖ of each anchor.

    Raises:
        InputError: the two do not fit, or a norm is not finite.

    Source: Theorem 6, Finding 4, Evidence 4.1, Eq. 17; appendix A.5, which gives no inequality.
    """
    norms = _checked(deviation_norms, surrogates.epsilon)
    return tuple(_compare_surrogate_bounds(_column(surrogates, k), norms) for k in range(surrogates.epsilon.shape[1]))


def over_parameterised(
    surrogates: Surrogate, ranks: Int[Array | np.ndarray, " anchors"]
) -> Bool[np.ndarray, "anchors epsilons"]:
    """Which anchors are over-parameterised, rank(J⁺) ≥ r(M_ε), for each column of ε.

    Source: Finding 3, Eq. 16.
    """
    return np.asarray(ranks)[:, None] >= surrogates.num_independent_states


def compare_capacity(
    surrogates: Surrogate,
    ranks: Int[Array | np.ndarray, " anchors"],
    deviation_norms: Float[Array | np.ndarray, " anchors"],
) -> tuple[CapacityComparison, ...]:
    """Whether under-parameterised anchors deviate more, for each column of ε and over its valid anchors.

    Args:
        surrogates: (anchors, epsilons).
        ranks: rank(J⁺) of each anchor, at a threshold of the caller's choice.
        deviation_norms: ‖D_φ(τ, s)‖ of each anchor.

    Raises:
        InputError: these do not fit, or a norm is not finite.

    Source: Finding 3, Eq. 16.
    """
    norms = _checked(deviation_norms, surrogates.epsilon)
    if len(ranks) != len(norms):
        raise InputError(f"{len(norms)} anchors need as many ranks, not {len(ranks)}.")
    over, columns = over_parameterised(surrogates, ranks), range(surrogates.epsilon.shape[1])
    return tuple(_compare_capacity(_column(surrogates, k), over[:, k], norms) for k in columns)


def rank_correlation(
    ranks: Float[Array | np.ndarray, " pairs"] | Int[Array | np.ndarray, " pairs"],
    deviation_norms: Float[Array | np.ndarray, " pairs"],
    *,
    key: PRNGKeyArray,
    groups: Int[np.ndarray, " pairs"] | None = None,
    num_resamples: int = 1000,
    confidence: float = 0.95,
) -> RankCorrelation:
    """Spearman's correlation of rank(J⁺) and deviation, which is negative in the paper's Figure 2(g).

    Args:
        ranks: rank of each pair; many are equal.
        deviation_norms: deviation norm of each pair.
        key: draws the resamples.
        groups: the number of each pair's history. Pairs of one history share its Jacobian's columns and the states
            around, so histories are drawn anew, each with all its pairs; every pair by itself where not given.
        num_resamples: bootstrap samples; those where one side does not vary are left out.
        confidence: confidence of the percentile interval.

    Raises:
        InputError: the two do not fit, or hold NaN.
    """
    if len(ranks) != len(deviation_norms) or not len(ranks):
        raise InputError(f"{len(ranks)} ranks and {len(deviation_norms)} deviations cannot be correlated.")
    sides = [np.asarray(side, np.float64) for side in (ranks, deviation_norms)]
    if any(np.any(np.isnan(side)) for side in sides):
        raise InputError("Ranks or deviations hold NaN; remove these pairs first.")
    x, y = (np.unique(side, return_inverse=True)[1] for side in sides)
    value, count = _spearman(x, y), len(x)
    num_groups = count if groups is None else len(np.unique(groups))
    if value is None:
        return RankCorrelation(None, None, confidence, count, num_groups)
    members = _members(np.arange(count) if groups is None else groups)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    draws = (members(generator) for _ in range(num_resamples))
    found = [one for one in (_spearman(x[draw], y[draw]) for draw in draws) if one is not None]
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(found, (tail, 1.0 - tail)) if found else (value, value)
    return RankCorrelation(value, (float(low), float(high)), confidence, count, num_groups)


def _members(groups: Int[np.ndarray, " pairs"]) -> Callable[[np.random.Generator], Int[np.ndarray, " drawn"]]:
    """Draws as many groups as there are, with replacement, and gives the rows of all their pairs."""
    order = np.argsort(groups, kind="stable")
    rows = np.split(order, np.flatnonzero(np.diff(np.asarray(groups)[order])) + 1)
    if len(rows) == len(order):
        return lambda generator: generator.integers(0, len(order), len(order))
    return lambda generator: np.concatenate([rows[group] for group in generator.integers(0, len(rows), len(rows))])


def _spearman(x: np.ndarray, y: np.ndarray) -> float | None:
    """Spearman's correlation of values that are given as places among the distinct values.

    Places make ties exact and resampling fast.
    """
    x, y = _centred_ranks(x), _centred_ranks(y)
    size = np.sqrt((x @ x) * (y @ y))
    return float(np.clip(x @ y / size, -1.0, 1.0)) if size > 0 else None


def _centred_ranks(places: np.ndarray) -> np.ndarray:
    """Ranks, with mean ranks for ties, minus their mean; all are multiples of ½, so a constant gives exact zeros."""
    counts = np.bincount(places)
    ranks = np.cumsum(counts) - (counts - 1) / 2.0
    return ranks[places] - (len(places) + 1) / 2.0


def _column(surrogates: Surrogate, k: int) -> Surrogate:
    return jax.tree.map(lambda values: values[:, k], surrogates)


def _compare_surrogate_bounds(column: Surrogate, norms: np.ndarray) -> SurrogateBounds:
    used = column.valid
    residuals, roots, norms = column.centred_residual[used], column.root[used], norms[used]
    return SurrogateBounds(
        epsilon=float(np.median(column.epsilon)),
        num_invalid=int(np.sum(~used)),
        bound=_median(residuals),
        root_bound=_median(roots),
        residual=compare_bound(residuals, norms),
        root=compare_bound(roots, norms),
        anchored=compare_bound(column.anchored_residual[used], norms),
    )


def _compare_capacity(column: Surrogate, over: np.ndarray, norms: np.ndarray) -> CapacityComparison:
    above, below = norms[column.valid & over], norms[column.valid & ~over]
    chance = p_value = None
    if above.size and below.size:
        test = stats.mannwhitneyu(below, above, alternative="greater")
        chance, p_value = float(test.statistic) / (above.size * below.size), float(test.pvalue)
        p_value = p_value if np.isfinite(p_value) else 1.0  # all deviations tie
    epsilon = float(np.median(column.epsilon))
    return CapacityComparison(epsilon, above.size, below.size, _median(above), _median(below), chance, p_value)


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if values.size else None


def _checked(deviation_norms, epsilon: np.ndarray) -> np.ndarray:
    norms = np.asarray(deviation_norms, np.float64)
    if epsilon.ndim != 2 or len(norms) != len(epsilon):
        raise InputError(
            f"Surrogates must have the axes (anchors, epsilons), with one deviation for each anchor; the shapes "
            f"{epsilon.shape} and {norms.shape} do not fit."
        )
    if not np.all(np.isfinite(norms)):
        raise InputError("A deviation is not finite; leave its anchor out.")
    return norms
