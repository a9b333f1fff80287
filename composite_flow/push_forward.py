"""The density of a flow's end points: the push-forward of Definition 3, where it exists.

    log p_ℓ(φ_ℓ(y)) = log p_0(y) − Σ_k log |det J_f(φ_k(y))|,   k = 0, …, ℓ − 1

with the absolute value that the definition lacks. There is no such density where the map folds (a ReLU network can)
or its Jacobian is singular (states on a hyperplane, such as one-hot states).
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from composite_flow.denoiser import Context, Denoiser
from composite_flow.errors import InputError


class PushForward(eqx.Module):
    """End points of a flow and the density of their distribution; leading axes are batch axes.

    Attributes:
        y: φ_ℓ(y), in scaled units.
        log_density: log p_ℓ there.
        smallest_singular_value: the smallest over all Jacobians along the way, relative to the largest singular
            value of the same Jacobian.
        signs: signs of det J_f at each step.
    """

    y: Float[Array, "*batch state"]
    log_density: Float[Array, "*batch"]
    smallest_singular_value: Float[Array, "*batch"]
    signs: Float[Array, "*batch steps"]


def push_forward(
    denoiser: Denoiser, context: Context, y: Float[Array, " state"], log_density: Callable, num_steps: int
) -> PushForward:
    """Carry one start and its log-density through the flow, without checks, for use under `jit` and `vmap`.

    Arguments and result are those of `push_forward_log_density`, for one start. Cost: ℓ dense Jacobians.

    Source: Definition 3; with the absolute value that it lacks.
    """

    def step(point, _):
        jacobian = jax.jacfwd(lambda z: denoiser.denoise(context, z))(point)
        sign, log_determinant = jnp.linalg.slogdet(jacobian)
        values = jnp.linalg.svd(jacobian, compute_uv=False)
        relative = values[-1] / jnp.maximum(values[0], jnp.finfo(y.dtype).tiny)
        return denoiser.denoise(context, point), (sign, log_determinant, relative)

    end, (signs, log_determinants, relative) = jax.lax.scan(step, y, length=num_steps)
    return PushForward(end, log_density(y) - jnp.sum(log_determinants), jnp.min(relative, initial=1.0), signs)


def push_forward_log_density(
    denoiser: Denoiser,
    context: Context,
    starts: Float[Array, "starts state"],
    log_density: Callable[[Float[Array, " state"]], Float[Array, ""]],
    num_steps: int,
) -> PushForward:
    """The density of the flow's end points, p_ℓ(φ_ℓ(y)) = p_0(y) / |det ∂φ_ℓ/∂y|.

    It exists where the map is injective and its Jacobians have full rank. The rank is checked at every point on the
    way. Injectivity cannot be checked: two starts whose determinants differ in sign prove that the map folds, but
    equal signs do not prove that it does not fold. The map is injective for certain where the symmetric part of J_f
    is positive definite everywhere, as for a posterior mean at a fixed σ whose states span the space.

    Args:
        denoiser: f.
        context: `denoiser.condition(history)`.
        starts: y, distributed by p_0, in scaled units.
        log_density: log p_0 of one state.
        num_steps: ℓ.

    Returns:
        End points, log-densities there, and how close each path came to a loss of rank.

    Raises:
        InputError: if a Jacobian is singular to the precision of its type, or the map folds between two starts.

    Source: Definition 3, Eq. 8; with the absolute value that they lack.
    """
    result = eqx.filter_jit(_push_forward_each)(denoiser, context, starts, log_density, num_steps)
    precision = starts.shape[1] * float(jnp.finfo(starts.dtype).eps)
    deficient = ~(np.asarray(result.smallest_singular_value) > precision)  # NaN counts as deficient
    if deficient.any():
        raise InputError(
            f"The flow has no density: {deficient.sum()} of {len(starts)} starts pass a point where its Jacobian is "
            "not of full rank to the precision of its type, as where the states lie on a hyperplane or the flow has "
            "come to rest; take fewer steps, or features that are affinely independent."
        )
    signs = np.asarray(result.signs)
    if np.any(np.any(signs < 0, axis=0) & np.any(signs > 0, axis=0)):
        raise InputError(
            "The flow has no density by this formula: the determinant of its Jacobian changes sign between the "
            "starts, so the map folds; a histogram of its end points needs no inverse."
        )
    return result


def _push_forward_each(denoiser, context, starts, log_density, num_steps):
    return jax.vmap(lambda y: push_forward(denoiser, context, y, log_density, num_steps))(starts)
