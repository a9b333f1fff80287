"""What the surrogate regression says of real deviations: Findings 3 and 4, Theorem 6, and rank against deviation.

    rank(J⁺) ≥ r(M_ε)  →  "over-parameterised": able to represent the mapping        (Eq. 16, Finding 3)
    ‖D_φ(τ, s)‖ < R̂(M_ε)                                                             (Theorem 6)

Theorem 6 compares a norm with a squared residual, and its proof gives no inequality. √R̂ is in the right units but a
root mean square. So for each sign the share of deviations that lie below it is measured, and by what factor.

Intervals take the anchors as independent; those of one training run share a network, so scatter between seeds
comes on top.
"""

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from scipy import stats

from composite_flow.analysis.surrogate import Surrogate
from composite_flow.errors import InputError
from composite_flow.metrics import clopper_pearson


@dataclass(frozen=True)
class Cover:
    """How far a bound covers deviations; None where nothing was compared.

    Attributes:
        count: deviations compared.
        share: of them strictly below the bound.
        interval: 95% Clopper–Pearson of the share.
        ratio_median: of bound over deviation, where the deviation is not zero; 1 is tight, below 1 is no bound.
        ratio_low: its 5% quantile.
        ratio_high: its 95% quantile.
    """

    count: int
    share: float | None
    interval: tuple[float, float] | None
    ratio_median: float | None
    ratio_low: float | None
    ratio_high: float | None


@dataclass(frozen=True)
class BoundWorth:
    """What one column of ε is worth as a bound (Theorem 6, Evidence 4.1), over its valid anchors.

    Attributes:
        epsilon: median over the anchors.
        num_invalid: anchors left out, for too few neighbours or histories that do not differ.
        bound: median of R̂, Eq. 17.
        root_bound: median of √R̂.
        residual: cover by R̂ of Eq. 17, as printed in Theorem 6.
        root: cover by √R̂, which has the deviation's units.
        anchored: cover by R̂_ε of Eq. 15, the sum.
    """

    epsilon: float
    num_invalid: int
    bound: float | None
    root_bound: float | None
    residual: Cover
    root: Cover
    anchored: Cover


@dataclass(frozen=True)
class CapacityWorth:
    """Deviations of over- and under-parameterised anchors for one column of ε (Finding 3); None for an empty group.

    Attributes:
        epsilon: median over the anchors.
        num_over: anchors with rank(J⁺) ≥ r(M_ε).
        num_under: the others.
        median_over: median deviation norm of the first group.
        median_under: of the second.
        under_deviates_more: probability that a random one of the second group deviates more than one of the first,
            ties counted half; the finding says above 0.5.
        p_value: one-sided, of the Mann–Whitney test that it is not.
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
        value: between −1 and 1, ties at their mean rank.
        interval: of the stated confidence.
        confidence: two-sided.
        count: pairs.
    """

    value: float | None
    interval: tuple[float, float] | None
    confidence: float
    count: int


def cover(bounds: Float[np.ndarray, "*#anchors"], deviation_norms: Float[np.ndarray, "*#anchors"]) -> Cover:
    """How far bounds, or one bound for all, cover deviation norms.

    Args:
        bounds: to be compared one by one with the norms.
        deviation_norms: ‖D_φ‖, finite.
    """
    bounds, norms = (np.ravel(array) for array in np.broadcast_arrays(bounds, deviation_norms))
    if not norms.size:
        return Cover(0, None, None, None, None, None)
    below = int(np.sum(norms < bounds))
    ratios = bounds[norms > 0] / norms[norms > 0]
    low, median, high = (float(q) for q in np.quantile(ratios, (0.05, 0.5, 0.95))) if ratios.size else (None,) * 3
    return Cover(norms.size, below / norms.size, clopper_pearson(below, norms.size), median, low, high)


def bound_worth(
    surrogates: Surrogate, deviation_norms: Float[Array | np.ndarray, " anchors"]
) -> tuple[BoundWorth, ...]:
    """What R̂ and √R̂ are worth as bounds on their anchors' own deviations, per column of ε.

    Args:
        surrogates: (anchors, epsilons), from `surrogates` or `surrogates_at_quantiles`.
        deviation_norms: ‖D_φ(τ, s)‖ of each anchor.

    Raises:
        InputError: the two do not fit, or a norm is not finite.

    Source: Theorem 6, Finding 4, Evidence 4.1; appendix A.5 proves no inequality.
    """
    norms = _checked(deviation_norms, surrogates.epsilon)
    return tuple(_bound_worth(_column(surrogates, k), norms) for k in range(surrogates.epsilon.shape[1]))


def over_parameterised(
    surrogates: Surrogate, ranks: Int[Array | np.ndarray, " anchors"]
) -> Bool[np.ndarray, "anchors epsilons"]:
    """Where rank(J⁺) ≥ r(M_ε), (anchors, epsilons) (Eq. 16)."""
    return np.asarray(ranks)[:, None] >= surrogates.num_independent_states


def capacity_worth(
    surrogates: Surrogate,
    ranks: Int[Array | np.ndarray, " anchors"],
    deviation_norms: Float[Array | np.ndarray, " anchors"],
) -> tuple[CapacityWorth, ...]:
    """Whether under-parameterised anchors deviate more, per column of ε (Finding 3), over its valid anchors.

    Args:
        surrogates: (anchors, epsilons).
        ranks: rank(J⁺) of each anchor, at a threshold of one's choice.
        deviation_norms: ‖D_φ(τ, s)‖ of each anchor.

    Raises:
        InputError: these do not fit, or a norm is not finite.
    """
    norms = _checked(deviation_norms, surrogates.epsilon)
    if len(ranks) != len(norms):
        raise InputError(f"{len(norms)} anchors need as many ranks, not {len(ranks)}.")
    over, columns = over_parameterised(surrogates, ranks), range(surrogates.epsilon.shape[1])
    return tuple(_capacity_worth(_column(surrogates, k), over[:, k], norms) for k in columns)


def rank_correlation(
    ranks: Float[Array | np.ndarray, " pairs"] | Int[Array | np.ndarray, " pairs"],
    deviation_norms: Float[Array | np.ndarray, " pairs"],
    *,
    key: PRNGKeyArray,
    num_resamples: int = 1000,
    confidence: float = 0.95,
) -> RankCorrelation:
    """Spearman's correlation of rank(J⁺) and deviation, which Figure 2(g) finds negative.

    Args:
        ranks: of each pair; many tie.
        deviation_norms: of each pair.
        key: draws the resamples.
        num_resamples: of pairs with replacement; those where one side does not vary are left out.
        confidence: of the percentile interval.

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
    if value is None:
        return RankCorrelation(None, None, confidence, count)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    draws = (generator.integers(0, count, count) for _ in range(num_resamples))
    found = [one for one in (_spearman(x[draw], y[draw]) for draw in draws) if one is not None]
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(found, (tail, 1.0 - tail)) if found else (value, value)
    return RankCorrelation(value, (float(low), float(high)), confidence, count)


def _spearman(x: np.ndarray, y: np.ndarray) -> float | None:
    """Of values given as places among the distinct ones, which makes ties exact and resampling fast."""
    x, y = _centred_ranks(x), _centred_ranks(y)
    size = np.sqrt((x @ x) * (y @ y))
    return float(np.clip(x @ y / size, -1.0, 1.0)) if size > 0 else None


def _centred_ranks(places: np.ndarray) -> np.ndarray:
    """Mean ranks, ties included, less their mean; in halves, so a constant gives exact zeros."""
    counts = np.bincount(places)
    ranks = np.cumsum(counts) - (counts - 1) / 2.0
    return ranks[places] - (len(places) + 1) / 2.0


def _column(surrogates: Surrogate, k: int) -> Surrogate:
    return jax.tree.map(lambda values: values[:, k], surrogates)


def _bound_worth(column: Surrogate, norms: np.ndarray) -> BoundWorth:
    used = column.valid
    residuals, roots, norms = column.centred_residual[used], column.root[used], norms[used]
    return BoundWorth(
        epsilon=float(np.median(column.epsilon)),
        num_invalid=int(np.sum(~used)),
        bound=_median(residuals),
        root_bound=_median(roots),
        residual=cover(residuals, norms),
        root=cover(roots, norms),
        anchored=cover(column.anchored_residual[used], norms),
    )


def _capacity_worth(column: Surrogate, over: np.ndarray, norms: np.ndarray) -> CapacityWorth:
    above, below = norms[column.valid & over], norms[column.valid & ~over]
    chance = p_value = None
    if above.size and below.size:
        test = stats.mannwhitneyu(below, above, alternative="greater")
        chance, p_value = float(test.statistic) / (above.size * below.size), float(test.pvalue)
        p_value = p_value if np.isfinite(p_value) else 1.0  # all deviations tie
    epsilon = float(np.median(column.epsilon))
    return CapacityWorth(epsilon, above.size, below.size, _median(above), _median(below), chance, p_value)


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if values.size else None


def _checked(deviation_norms, epsilon: np.ndarray) -> np.ndarray:
    norms = np.asarray(deviation_norms, np.float64)
    if epsilon.ndim != 2 or len(norms) != len(epsilon):
        raise InputError(
            f"The worth of surrogates needs the axes (anchors, epsilons) and a deviation per anchor; the shapes "
            f"{epsilon.shape} and {norms.shape} do not fit."
        )
    if not np.all(np.isfinite(norms)):
        raise InputError("A deviation is not finite; leave its anchor out.")
    return norms
