"""The surrogate regression: how well a linear model fits the pairs around a fixed point (§4.2, §4.3).

    M_ε = {(τ', s') : ‖J_f(τ, y*) − J_f(τ', y*')‖_F ≤ ε}                            (Definition 5)
    R̂_ε = min_W Σ_{M_ε} ‖W Δτ − Δs‖²,   Δτ = τ − τ', Δs = s − s'                    (Eq. 15, `anchored_residual`)
    R̂   = Tr Σ_s − Tr(Σ_sτ Σ_τ⁺ Σ_τs), moments over M_ε                             (Eq. 17, `centred_residual`)

The paper uses one symbol for both, but they differ: Eq. 15 is a *sum* over the neighbours, without an intercept,
through the anchor (τ, s); Eq. 17 is a *mean*, with an intercept. Both are squared, so only their roots are in the
units of a deviation, and √R̂ is a root mean square over M_ε. So neither bounds each pair; `surrogate_bounds` measures
how many pairs they bound. Σ_τ is singular wherever histories hold constant or one-hot columns; there the
pseudo-inverse is used.

All is computed on the host in float64 from second moments around the anchor, in which constant columns are exact
zeros. Cost: one matrix product for the distances, and pairs × (history + state)² per anchor, for any number of ε.
"""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from composite_flow.analysis.neighbourhood import (
    QUANTILES,
    distances_in_chunks,
    epsilon_with_ties,
    epsilons_at_quantiles,
)
from composite_flow.errors import InputError

CUTOFF = 1e-10
"""Eigenvalues of a moment matrix below this share of the largest count as zero: in these directions the data vary less
than 1e-5 times as much as in the widest. Float64 sums of 1e5 products are accurate to about 1e-14, and squares of
float32 data to 1e-14 too."""

_ROUNDING = 1e-11  # residuals below this share of Σ‖Δs‖² are rounding: 2 · 1e-16 · CUTOFF^(-1/2), with room


class Surrogate(eqx.Module):
    """The surrogate regression around anchors; leading axes, if any, are (anchors, epsilons).

    Attributes:
        epsilon: ε, in units of the Jacobian's Frobenius norm.
        num_neighbours: size of M_ε, the anchor included.
        num_independent_states: r(M_ε), the dimension of the span of its states.
        rank_tau: rank of Σ_τ over M_ε, by `CUTOFF`.
        singular: whether Σ_τ lacks full rank, so that the pseudo-inverse was needed.
        anchored_residual: R̂_ε of Eq. 15, a sum of squares.
        centred_residual: R̂ of Eq. 17, a mean of squares.
        valid: whether there are at least 2 rank(Σ_τ) neighbours and their histories differ. Elsewhere the residuals
            are finite but too small, since a regression fits few neighbours exactly.
    """

    epsilon: Float[np.ndarray, "*batch"]
    num_neighbours: Int[np.ndarray, "*batch"]
    num_independent_states: Int[np.ndarray, "*batch"]
    rank_tau: Int[np.ndarray, "*batch"]
    singular: Bool[np.ndarray, "*batch"]
    anchored_residual: Float[np.ndarray, "*batch"]
    centred_residual: Float[np.ndarray, "*batch"]
    valid: Bool[np.ndarray, "*batch"]

    @property
    def root(self) -> Float[np.ndarray, "*batch"]:
        """√R̂ of Eq. 17: the root mean square error of the best affine model on M_ε, in the state's units."""
        return np.sqrt(self.centred_residual)

    @property
    def anchored_root(self) -> Float[np.ndarray, "*batch"]:
        """√(R̂_ε / |M_ε|) of Eq. 15: the root mean square error of the best linear model through the anchor."""
        return np.sqrt(self.anchored_residual / np.maximum(self.num_neighbours, 1))


def history_rank(histories: Float[Array | np.ndarray, "pairs history"]) -> int:
    """rank(Σ_τ) over all given pairs, by `CUTOFF`."""
    rows = np.asarray(histories, np.float64)
    rows = rows - rows[:1]
    return int(_rank(np.cov(rows, rowvar=False, bias=True).reshape(rows.shape[1], rows.shape[1])))


def surrogate(
    histories: Float[Array | np.ndarray, "pairs history"],
    states: Float[Array | np.ndarray, "pairs state"],
    jacobians: Float[Array | np.ndarray, "pairs state state"],
    anchor: int,
    epsilon: float,
) -> Surrogate:
    """The surrogate regression around one pair; arguments and errors as in `surrogates`.

    Source: Definition 5, Eq. 15, Eq. 17.
    """
    found = surrogates(histories, states, jacobians, [anchor], [epsilon])
    return jax.tree.map(lambda values: values.reshape(()), found)


def surrogates(
    histories: Float[Array | np.ndarray, "pairs history"],
    states: Float[Array | np.ndarray, "pairs state"],
    jacobians: Float[Array | np.ndarray, "pairs state state"],
    anchors: Sequence[int] | Int[np.ndarray, " anchors"],
    epsilons: Sequence[float] | Float[np.ndarray, " epsilons"] | Float[np.ndarray, "anchors epsilons"],
) -> Surrogate:
    """The surrogate regressions around many pairs, for many ε.

    Args:
        histories: τ of each pair of the training data, flat; each row counts once.
        states: s of each pair, scaled.
        jacobians: J_f at each pair's fixed point. A pair where it is not finite belongs to no neighbourhood but its
            own.
        anchors: the rows of the pairs around which the regressions are solved.
        epsilons: the same values for all anchors, or one row of them for each anchor.

    Returns:
        Arrays (anchors, epsilons).

    Raises:
        InputError: the arrays do not fit to each other, an anchor is not among the rows, or an ε is negative.

    Source: Definition 5, Eq. 15, Eq. 17.
    """
    rows = _checked_anchors(anchors, len(histories))
    limits = np.asarray(epsilons, np.float64)
    if limits.ndim not in (1, 2) or not limits.size or not np.all((limits >= 0) & np.isfinite(limits)):
        raise InputError("epsilons must be one or more finite numbers that are not negative, at most a row per anchor.")
    if limits.ndim == 2 and len(limits) != len(rows):
        raise InputError(f"{len(rows)} anchors need as many rows of epsilons, not {len(limits)}.")
    limits = np.broadcast_to(limits, (len(rows), limits.shape[-1]))
    return _surrogates(histories, states, jacobians, rows, lambda chunk, distances: limits[chunk])


def surrogates_at_quantiles(
    histories: Float[Array | np.ndarray, "pairs history"],
    states: Float[Array | np.ndarray, "pairs state"],
    jacobians: Float[Array | np.ndarray, "pairs state state"],
    anchors: Sequence[int] | Int[np.ndarray, " anchors"],
    quantiles: Sequence[float] = QUANTILES,
) -> Surrogate:
    """`surrogates` with each anchor's own ε at quantiles of its distances, and at least 2 rank(Σ_τ) neighbours.

    Args:
        histories, states, jacobians, anchors: as in `surrogates`.
        quantiles: shares of the pairs that lie within ε.

    Returns:
        Arrays (anchors, quantiles).

    Raises:
        InputError: as for `surrogates`, or a quantile lies outside [0, 1].
    """
    rows, rank_tau = _checked_anchors(anchors, len(histories)), history_rank(histories)

    def choose(chunk, distances):
        return epsilons_at_quantiles(distances, rank_tau, quantiles)

    return _surrogates(histories, states, jacobians, rows, choose)


def _surrogates(histories, states, jacobians, anchors: np.ndarray, choose: Callable) -> Surrogate:
    """The regressions around each anchor, for ε from `choose(chunk of the anchors, their distances)`."""
    points, history_size = _joined(histories, states, jacobians), histories.shape[1]
    parts, limits = [], []
    for chunk, distances in distances_in_chunks(jacobians, anchors):
        limits.append(choose(chunk, distances))
        around = zip(anchors[chunk], distances, limits[-1], strict=True)
        parts += [_around(points, history_size, *each) for each in around]
    return _finished(parts, history_size, np.concatenate(limits))


def _around(points: np.ndarray, history_size: int, anchor: int, distances: np.ndarray, epsilons: np.ndarray):
    """The figures of the regression around one anchor for each ε; each pair is visited once.

    Returns:
        The size of M_ε, r(M_ε), rank(Σ_τ) and the residuals of Eq. 15 and Eq. 17; each (epsilons,).
    """
    order = np.argsort(epsilons)
    ring = np.searchsorted(
        epsilon_with_ties(epsilons[order]), distances, side="left"
    )  # of the first ε that includes it
    rings = [points[ring == k] - points[anchor] for k in range(len(epsilons))]
    back = np.argsort(order)
    counts = np.cumsum([len(rows) for rows in rings])[back]
    sums = np.cumsum([rows.sum(axis=0) for rows in rings], axis=0)[back]
    products = np.cumsum([rows.T @ rows for rows in rings], axis=0)[back]
    means = sums / counts[:, None]  # the anchor itself is always counted
    covariance = products / counts[:, None, None] - means[:, :, None] * means[:, None, :]
    anchored, _ = _residual(products, history_size)
    centred, rank_tau = _residual(covariance, history_size)
    return counts, _span(points[anchor], means, covariance, history_size), rank_tau, anchored, centred


def _residual(moments: np.ndarray, history_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Tr M_s − Tr(M_sτ M_τ⁺ M_τs) and the rank of M_τ, from joint second moments (epsilons, columns, columns)."""
    cross, state = moments[:, history_size:, :history_size], moments[:, history_size:, history_size:]
    values, vectors = np.linalg.eigh(moments[:, :history_size, :history_size])
    used = values > CUTOFF * values[:, -1:]
    explained = np.sum(np.square(cross @ vectors), axis=1) / np.where(used, values, 1.0)
    total = np.trace(state, axis1=1, axis2=2)
    residual = total - np.sum(np.where(used, explained, 0.0), axis=1)
    return np.where(residual > _ROUNDING * total, residual, 0.0), used.sum(axis=1)


def _span(anchor: np.ndarray, means: np.ndarray, covariance: np.ndarray, history_size: int) -> np.ndarray:
    """r(M_ε): rank of the states' second moments around zero, Σ_s + E[s] E[s]ᵀ."""
    mean = (anchor[None] + means)[:, history_size:]
    return _rank(covariance[:, history_size:, history_size:] + mean[:, :, None] * mean[:, None, :])


def _rank(moments: np.ndarray) -> np.ndarray:
    values = np.linalg.eigvalsh(moments)
    return np.sum(values > CUTOFF * values[..., -1:], axis=-1)


def _finished(parts: list[tuple[np.ndarray, ...]], history_size: int, epsilons: np.ndarray) -> Surrogate:
    counts, independent, rank_tau, anchored, centred = (np.stack(column) for column in zip(*parts, strict=True))
    return Surrogate(
        epsilon=np.array(epsilons),
        num_neighbours=counts,
        num_independent_states=independent,
        rank_tau=rank_tau,
        singular=rank_tau < history_size,
        anchored_residual=anchored,
        centred_residual=centred,
        valid=(rank_tau > 0) & (counts >= 2 * rank_tau),
    )


def _joined(histories, states, jacobians) -> np.ndarray:
    """Histories and states side by side, in float64."""
    histories, states = np.asarray(histories, np.float64), np.asarray(states, np.float64)
    if not len(histories) == len(states) == len(jacobians):
        raise InputError(
            f"{len(histories)} histories need as many states and Jacobians, not {len(states)} and {len(jacobians)}."
        )
    points = np.concatenate([histories, states], axis=1)
    if not np.all(np.isfinite(points)):
        raise InputError("Histories or states hold NaN or infinite values; remove these pairs first.")
    return points


def _checked_anchors(anchors: Sequence[int] | np.ndarray, num_pairs: int) -> np.ndarray:
    rows = np.asarray(anchors, np.int64)
    if not rows.size or np.any((rows < 0) | (rows >= num_pairs)):
        raise InputError(f"Anchors must be one or more rows of the pairs, numbered 0 to {num_pairs - 1}.")
    return rows
