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
from composite_flow.validation import check_beside, check_histories


def deviation(
    denoiser: Denoiser,
    context: Context,
    state: Float[Array, " state"],
    *,
    tolerance: float = TOLERANCE,
    max_steps: int = MAX_STEPS,
) -> Float[Array, " state"]:
    """The deviation of one fixed point, D_φ(τ, s) = s − φ_∞(τ)(s) (Definition 4, Eq. 12).

    Args:
        denoiser: f.
        context: `denoiser.condition(history)`.
        state: s, scaled like the data.
        tolerance: the flow has converged where a step is shorter.
        max_steps: after which the flow's current point is taken, converged or not.
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
        states: the true state beside each, scaled.
        batch_size: pairs that flow at a time.
        tolerance: the flow has converged where a step is shorter.
        max_steps: of each flow, to the next multiple of 4.

    Returns:
        One row for each pair; NaN where the flow left the floats.

    Raises:
        InputError: if the histories cannot be used or the states do not fit to them.
    """
    histories = check_histories(denoiser, histories, axes=2)
    check_beside(denoiser, histories, states)
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

    A maximum over a sample lies below the maximum over all pairs, and grows with the sample.

    Args:
        denoiser: f.
        histories: encoded local histories that training did not see.
        states: the true state beside each, scaled.
        quantile: 1 is the paper's maximum; a little less ignores outliers.
        batch_size: pairs that flow at a time.

    Raises:
        InputError: if the pairs cannot be used or the quantile lies outside [0, 1].
    """
    if not 0.0 <= quantile <= 1.0:
        raise InputError(f"A quantile lies between 0 and 1, not at {quantile}.")
    norms = jnp.linalg.norm(deviations(denoiser, histories, states, batch_size=batch_size), axis=-1)
    return float(jnp.quantile(norms, quantile))
