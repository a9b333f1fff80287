"""Theorem 5: how far the linear prediction of a fixed point's shift can be wrong, as corrected and as printed.

    ‖error‖ ≤ ‖(I − J)^{-1}‖₂ ((M/2) ‖(Δτ, Δy*)‖² + r)                                   (corrected)
    ‖error‖ ≤ M ε² / (2 (1 − λ_max) m²)                                                 (as printed)

M and m are the largest and the smallest ‖∇²f(z) u‖_F, u the unit direction of (Δτ, Δy*), over points z of the segment
from (τ, y*) to (τ', y*'); ε = ‖∇f(τ', y*') − ∇f(τ, y*)‖_F with ∇ by history and state together. The first bound is
Taylor's theorem; r is the sum of both fixed points' residuals, since fixed points are known only to a tolerance. The
printed bound takes 1/(1 − λ_max) for the norm of an inverse, which needs a symmetric J, and m for a lower bound on a
difference of Jacobians, in which second derivatives can cancel. So it can lie below the error. For rectified networks
∇²f vanishes almost everywhere and neither bound says anything; `shift.errors_by_distance` measures the error instead.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from composite_flow.denoiser import Denoiser
from composite_flow.errors import InputError
from composite_flow.jacobian import joint_jacobian
from composite_flow.network import Network


class ShiftBound(eqx.Module):
    """Theorem 5's error and its bounds for one pair of histories.

    Attributes:
        error: ‖predicted − real‖.
        bound: ‖(I − J)^{-1}‖₂ ((M/2) ‖(Δτ, Δy*)‖² + residual).
        printed_bound: M ε² / (2 (1 − λ_max) m²); infinite where m or 1 − λ_max is not positive.
        inverse_norm: ‖(I − J)^{-1}‖₂.
        largest_eigenvalue: λ_max, the largest real part of an eigenvalue of J.
        largest_curvature: M.
        smallest_curvature: m.
        distance: ‖(Δτ, Δy*)‖.
        jacobian_change: ε.
        residual: ‖f(τ, y*) − y*‖ + ‖f(τ', y*') − y*'‖.
    """

    error: Float[Array, "*batch"]
    bound: Float[Array, "*batch"]
    printed_bound: Float[Array, "*batch"]
    inverse_norm: Float[Array, "*batch"]
    largest_eigenvalue: Float[Array, "*batch"]
    largest_curvature: Float[Array, "*batch"]
    smallest_curvature: Float[Array, "*batch"]
    distance: Float[Array, "*batch"]
    jacobian_change: Float[Array, "*batch"]
    residual: Float[Array, "*batch"]


def shift_error_bound(
    denoiser: Denoiser,
    history: Float[Array, " history"],
    other: Float[Array, " history"],
    y: Float[Array, " state"],
    shifted: Float[Array, " state"],
    *,
    num_points: int = 17,
) -> ShiftBound:
    """Theorem 5's error of one predicted shift, and both bounds on it; traceable.

    Args:
        denoiser: f, twice differentiable; a rectified network is not.
        history: τ, flat.
        other: τ'.
        y: y*, a fixed point of f(τ, ·), in scaled units.
        shifted: y*', a fixed point of f(τ', ·), where the flow from y* comes to rest.
        num_points: points of the segment at which M and m are measured; between them ∇²f is assumed to vary little.

    Returns:
        The error, the bounds and their ingredients.

    Raises:
        InputError: the denoiser is a rectified network, or there are fewer than two points.

    Source: Theorem 5, Eq. 13, appendix A.4; with the norm of the inverse and the joint Jacobian that its proof needs.
    """
    if isinstance(denoiser, Network) and denoiser.activation == "relu":
        raise InputError(
            "Theorem 5's bound is 0/0 for a rectified network, whose second derivatives vanish; train one with "
            'activation="silu", or look at the measured errors of `compare_shifts`.'
        )
    if num_points < 2:
        raise InputError(f"A segment needs at least two points, not {num_points}.")
    in_history, in_state = joint_jacobian(denoiser, history, y)
    resolvent = jnp.linalg.inv(jnp.eye(y.shape[0], dtype=y.dtype) - in_state)
    error = jnp.linalg.norm(resolvent @ (in_history @ (other - history)) - (shifted - y))
    distance = jnp.sqrt(jnp.sum((other - history) ** 2) + jnp.sum((shifted - y) ** 2))
    curvatures = _curvatures(denoiser, (history, y), (other - history, shifted - y), num_points)
    curvatures = curvatures / jnp.where(distance > 0, distance, 1.0)
    most, least = jnp.max(curvatures), jnp.min(curvatures)
    changes = jax.tree.map(jnp.subtract, joint_jacobian(denoiser, other, shifted), (in_history, in_state))
    change = jnp.sqrt(sum(jnp.sum(part**2) for part in changes))
    eigenvalue = jnp.max(jnp.real(jnp.linalg.eigvals(in_state)))
    inverse_norm = jnp.linalg.norm(resolvent, ord=2)
    divisor = 2 * (1 - eigenvalue) * least**2
    printed = jnp.where(divisor > 0, most * change**2 / jnp.where(divisor > 0, divisor, 1.0), jnp.inf)
    residual = _residual(denoiser, history, y) + _residual(denoiser, other, shifted)
    bound = inverse_norm * (most / 2 * distance**2 + residual)
    return ShiftBound(error, bound, printed, inverse_norm, eigenvalue, most, least, distance, change, residual)


def _curvatures(denoiser, start, direction, num_points):
    """‖∇²f(z) d‖_F at points z of the segment, one at a time: the derivative of both Jacobians along the segment."""

    def at(share):
        point = jax.tree.map(lambda base, step: base + share * step, start, direction)
        _, moved = jax.jvp(lambda *point: joint_jacobian(denoiser, *point), point, direction)
        return jnp.sqrt(sum(jnp.sum(part**2) for part in moved))

    return jax.lax.map(at, jnp.linspace(0.0, 1.0, num_points, dtype=start[1].dtype))


def _residual(denoiser, history, y):
    """‖f(τ, y) − y‖, 0 at an exact fixed point."""
    return jnp.linalg.norm(denoiser.denoise(denoiser.condition(history), y) - y)
