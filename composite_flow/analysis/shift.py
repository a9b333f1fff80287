"""Finding 2: the shift of a fixed point when its history changes, as the linear model predicts it and as it is.

    Δy* ≈ J⁺(y* | τ) Δτ                                                                 (Eq. 13)

`shift_bound` computes Theorem 5's bound on the error, for smooth networks. Here the error itself is measured, for any
denoiser.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from composite_flow.denoiser import Denoiser
from composite_flow.errors import InputError
from composite_flow.flow import MAX_STEPS, TOLERANCE, settle
from composite_flow.jacobian import DENSE_STATE_LIMIT, state_jacobian
from composite_flow.numerics.batches import in_batches
from composite_flow.numerics.spectrum import spectral_radius
from composite_flow.sensitivity import shift_along
from composite_flow.validation import check_counts, check_histories, check_one_per_history

SMALLEST_SHIFT = 1e-3
"""For shorter shifts a relative error means nothing, since fixed points are known only to 1e-5/(1 − λ)."""


class ShiftComparison(eqx.Module):
    """Predicted and real shifts, one row for each pair of histories.

    Attributes:
        predicted: J⁺ Δτ; zeros where it is not finite.
        real: y*' − y*, found by the flow; zeros where the flow diverged.
        errors: ‖predicted − real‖, in scaled units.
        relative_errors: errors / ‖real‖; 0 where not `valid`.
        history_distances: ‖Δτ‖.
        jacobian_distances: ‖J_f(τ', y*') − J_f(τ, y*)‖_F, the theorem's ε; 0 where the state is too large.
        valid: the flow settled, both fixed points are stable, all is finite, and the real shift is longer than 1e-3.
    """

    predicted: Float[Array, "comparisons state"]
    real: Float[Array, "comparisons state"]
    errors: Float[Array, " comparisons"]
    relative_errors: Float[Array, " comparisons"]
    history_distances: Float[Array, " comparisons"]
    jacobian_distances: Float[Array, " comparisons"]
    valid: Bool[Array, " comparisons"]


def compare_shifts(
    denoiser: Denoiser,
    histories: Float[Array, "points history"],
    points: Float[Array, "points state"],
    pairs: Int[Array, "comparisons two"] | Int[np.ndarray, "comparisons two"],
    *,
    batch_size: int = 64,
    tolerance: float = TOLERANCE,
    max_steps: int = MAX_STEPS,
    dense_limit: int = DENSE_STATE_LIMIT,
) -> ShiftComparison:
    """Predicted and real shifts between pairs of histories, in bounded memory.

    Args:
        denoiser: f, differentiable in the history.
        histories: encoded local histories.
        points: a fixed point of each history, as `local_models` finds them.
        pairs: rows (a, b): the fixed point of history a moves when the history changes from a to b.
        batch_size: comparisons at a time.
        tolerance: a flow has converged where a step is shorter.
        max_steps: most steps of each flow.
        dense_limit: the largest state whose Jacobians are formed; above it stability is not checked.

    Raises:
        InputError: if histories, points and pairs do not fit together.

    Source: Theorem 5, Finding 2, Eq. 13.
    """
    histories = check_histories(denoiser, histories, axes=2)
    points, pairs = jnp.asarray(points, jnp.float32), np.asarray(pairs)
    check_counts(batch_size=batch_size, max_steps=max_steps, pairs=len(pairs))
    check_one_per_history(denoiser, histories, points, "Points")
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.min() < 0 or pairs.max() >= len(histories):
        raise InputError(f"Pairs must be rows of two indices below {len(histories)}.")
    before, after, starts = histories[pairs[:, 0]], histories[pairs[:, 1]], points[pairs[:, 0]]
    ends, converged = settle(denoiser, after, starts, tolerance=tolerance, max_steps=max_steps)
    ends = np.where(np.isnan(ends), np.asarray(starts), ends)
    rows = in_batches(
        lambda a, b, y, z: _compare_each(denoiser, a, b, y, z, dense_limit), (before, after, starts, ends), batch_size
    )
    predicted, stable, jacobian_distances = (jnp.asarray(row) for row in rows)
    return _comparison(predicted, jnp.asarray(ends) - starts, before, after, jacobian_distances, stable & converged)


@eqx.filter_jit
def _compare_each(denoiser, before, after, starts, ends, dense_limit):
    """Predictions, stability of both points, and the distance of their Jacobians."""

    def one(before, after, start, end):
        predicted = shift_along(denoiser, before, after - before, start, dense_limit=dense_limit)
        if start.shape[0] > dense_limit:
            return predicted, jnp.ones((), bool), jnp.zeros((), start.dtype)
        jacobians = jnp.stack(
            [state_jacobian(denoiser, denoiser.condition(history), y) for history, y in ((before, start), (after, end))]
        )
        usable = jnp.all(jnp.isfinite(jacobians))
        jacobians = jnp.where(usable, jacobians, 0.0)
        stable = usable & jnp.all(spectral_radius(jacobians) < 1.0)
        return predicted, stable, jnp.linalg.norm(jacobians[1] - jacobians[0])

    return jax.vmap(one)(before, after, starts, ends)


def _comparison(predicted, real, before, after, jacobian_distances, settled):
    finite = jnp.all(jnp.isfinite(predicted), axis=-1)
    predicted = jnp.where(finite[:, None], predicted, 0.0)
    errors, lengths = jnp.linalg.norm(predicted - real, axis=-1), jnp.linalg.norm(real, axis=-1)
    valid = finite & settled & (lengths > SMALLEST_SHIFT)
    relative = jnp.where(valid, errors / jnp.where(valid, lengths, 1.0), 0.0)
    distances = jnp.linalg.norm(after - before, axis=-1)
    return ShiftComparison(predicted, real, errors, relative, distances, jacobian_distances, valid)


class ErrorsByDistance(eqx.Module):
    """Relative errors of predicted shifts in groups of growing distance; rows are groups.

    Attributes:
        distances: the largest distance in each group.
        lower_quartiles: lower quartile of each group's relative errors.
        medians: median of each group's relative errors.
        upper_quartiles: upper quartile of each group's relative errors.
        counts: valid comparisons in each group; groups without any are left out.
    """

    distances: Float[np.ndarray, " groups"]
    lower_quartiles: Float[np.ndarray, " groups"]
    medians: Float[np.ndarray, " groups"]
    upper_quartiles: Float[np.ndarray, " groups"]
    counts: Int[np.ndarray, " groups"]


def errors_by_distance(
    comparison: ShiftComparison, distances: Float[Array, " comparisons"], num_groups: int = 8
) -> ErrorsByDistance:
    """How the prediction's relative error grows with a distance.

    It takes the place of Theorem 5's bound for rectified networks, about which the bound says nothing.

    Args:
        comparison: from `compare_shifts`.
        distances: one for each comparison, such as its `jacobian_distances` or `history_distances`.
        num_groups: number of groups of about equal size; equal distances stay in one group.

    Raises:
        InputError: the number of groups is below one.
    """
    check_counts(num_groups=num_groups)
    valid = np.asarray(comparison.valid)
    values, errors = np.asarray(distances)[valid], np.asarray(comparison.relative_errors)[valid]
    if not len(values):
        empty = np.zeros(0, np.float32)
        return ErrorsByDistance(empty, empty, empty, empty, np.zeros(0, np.int64))
    edges = np.unique(np.quantile(values, np.linspace(0, 1, num_groups + 1)[1:], method="inverted_cdf"))
    groups = np.searchsorted(edges, values)
    lower, middle, upper = np.stack(
        [np.quantile(errors[groups == group], (0.25, 0.5, 0.75)) for group in range(len(edges))], axis=1
    )
    return ErrorsByDistance(edges, lower, middle, upper, np.bincount(groups, minlength=len(edges)))
