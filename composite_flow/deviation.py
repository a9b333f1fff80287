"""Deviations: how far an agent's fixed point lies from the state that it stands for.

    D_φ(τ, s) = s − φ_∞(τ)(s)                                                        (Definition 4)

Their norms are in the units of the scaled state. The largest one over held-out pairs is the radius D_φ that the
checks of composite diffusion use; the paper bounds it by Theorem 6 instead, which does not bound each pair.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from composite_flow.denoiser import Context, Denoiser
from composite_flow.errors import InputError
from composite_flow.flow import MAX_STEPS, TOLERANCE, converge, settle
from composite_flow.validation import check_histories, check_one_per_history


def deviation(
    denoiser: Denoiser,
    context: Context,
    state: Float[Array, " state"],
    *,
    tolerance: float = TOLERANCE,
    max_steps: int = MAX_STEPS,
) -> Float[Array, " state"]:
    """The deviation of one fixed point, D_φ(τ, s) = s − φ_∞(τ)(s).

    Args:
        denoiser: f.
        context: `denoiser.condition(history)`.
        state: s, scaled like the data.
        tolerance: the flow has converged where a step is shorter.
        max_steps: after so many steps the flow's current point is taken, whether or not it has converged.

    Source: Definition 4, Eq. 12.
    """
    return state - converge(denoiser, context, state, tolerance=tolerance, max_steps=max_steps).y


def deviations(
    denoiser: Denoiser,
    histories: Float[Array, "pairs history"],
    states: Float[Array, "states state"],
    *,
    batch_size: int = 256,
    tolerance: float = TOLERANCE,
    max_steps: int = MAX_STEPS,
) -> Float[Array, "states state"]:
    """The deviations of many pairs of a local history and the true state, in bounded memory.

    Args:
        denoiser: f.
        histories: encoded local histories.
        states: the true state of each history, scaled.
        batch_size: pairs whose flows run at the same time.
        tolerance: the flow has converged where a step is shorter.
        max_steps: most steps of each flow, rounded up to a multiple of 4.

    Returns:
        One row for each pair; NaN where the flow's values are no longer finite.

    Raises:
        InputError: if the histories cannot be used or the states do not fit to them.

    Source: Definition 4, Eq. 12.
    """
    histories = check_histories(denoiser, histories, axes=2)
    check_one_per_history(denoiser, histories, states)
    settings = {"batch_size": batch_size, "tolerance": tolerance, "max_steps": max_steps}
    return states - settle(denoiser, histories, states, **settings)[0]


def measured_radius(
    denoiser: Denoiser,
    histories: Float[Array, "pairs history"],
    states: Float[Array, "states state"],
    *,
    quantile: float = 1.0,
    batch_size: int = 256,
) -> float:
    """The radius D_φ: the largest deviation's norm over validation pairs, or a quantile of the norms.

    The maximum over a sample lies below the maximum over all pairs, and grows with the size of the sample.

    Args:
        denoiser: f.
        histories: encoded local histories that training did not see.
        states: the true state of each history, scaled.
        quantile: 1 is the paper's maximum; a little less ignores outliers.
        batch_size: pairs whose flows run at the same time.

    Raises:
        InputError: if the pairs cannot be used or the quantile lies outside [0, 1].
    """
    if not 0.0 <= quantile <= 1.0:
        raise InputError(f"A quantile lies between 0 and 1, not at {quantile}.")
    norms = jnp.linalg.norm(deviations(denoiser, histories, states, batch_size=batch_size), axis=-1)
    return float(jnp.quantile(norms, quantile))
