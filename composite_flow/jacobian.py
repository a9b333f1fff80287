"""Jacobians of the denoiser, the sensitivity of its fixed points, and ranks.

    J_f(y | τ) = ∂f/∂y (τ, y)                                                          (Eq. 9)
    J⁺(y | τ) = (I − ∂f/∂y)^{-1} ∂f/∂τ                                                 (Eq. 14)

A fixed point y* = f(τ, y*) moves by J⁺ Δτ to first order when its history changes by Δτ (implicit function
theorem).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.denoiser import Context, Denoiser
from composite_flow.spectrum import Radius, arnoldi_radius, spectral_radius

DENSE_STATE_LIMIT = 512  # up to here a dense Jacobian and its eigenvalues take less than a second on two cores


def state_jacobian(denoiser: Denoiser, context: Context, y: Float[Array, " state"]) -> Float[Array, "state state"]:
    """The Jacobian of the conditioned denoiser, J_f(y | τ) = ∂f/∂y (Eq. 9).

    Args:
        denoiser: f.
        context: `denoiser.condition(history)`.
        y: where to differentiate, in scaled units.

    Returns:
        Row: output feature, column: input feature. Forward mode: all columns share one pass through the network,
        twice as fast as reverse mode at width 1024 and 40 features.
    """
    return image_and_jacobian(denoiser, context, y)[1]


def image_and_jacobian(
    denoiser: Denoiser, context: Context, y: Float[Array, " state"]
) -> tuple[Float[Array, " state"], Float[Array, "state state"]]:
    """f(τ, y) and J_f(y | τ) from the same pass.

    Args:
        denoiser: f.
        context: `denoiser.condition(history)`.
        y: where to differentiate, in scaled units.

    Returns:
        The image and the Jacobian.
    """

    def twice(point):
        image = denoiser.denoise(context, point)
        return image, image

    jacobian, image = jax.jacfwd(twice, has_aux=True)(y)
    return image, jacobian


def history_jacobian(
    denoiser: Denoiser, history: Float[Array, " history"], y: Float[Array, " state"]
) -> Float[Array, "state history"]:
    """The Jacobian of the denoiser in the history, ∂f/∂τ (τ, y).

    Args:
        denoiser: f; it must be differentiable in the history, which the ideal one is not.
        history: τ, flat.
        y: the noisy state, in scaled units.

    Returns:
        Row: state feature, column: history column. Forward mode unless the history is over twice as wide as the
        state, where reverse mode's fewer passes pay for their double cost.
    """
    transform = jax.jacfwd if history.shape[0] <= 2 * y.shape[0] else jax.jacrev
    return transform(lambda point: denoiser.denoise(denoiser.condition(point), y))(history)


def sensitivity(
    denoiser: Denoiser, history: Float[Array, " history"], y: Float[Array, " state"]
) -> Float[Array, "state history"]:
    """How a fixed point moves with the history, J⁺ = (I − ∂f/∂y)^{-1} ∂f/∂τ (Eq. 14).

    Args:
        denoiser: f, differentiable in the history.
        history: τ, flat.
        y: a fixed point of f(τ, ·), in scaled units.

    Returns:
        J⁺; not finite where 1 is an eigenvalue of ∂f/∂y, which no stable fixed point has.
    """
    jacobian = state_jacobian(denoiser, denoiser.condition(history), y)
    return jnp.linalg.solve(jnp.eye(y.shape[0], dtype=y.dtype) - jacobian, history_jacobian(denoiser, history, y))


def state_radius(
    denoiser: Denoiser,
    context: Context,
    y: Float[Array, " state"],
    *,
    key: PRNGKeyArray,
    dense_limit: int = DENSE_STATE_LIMIT,
    depth: int = 20,
) -> Radius:
    """The spectral radius of J_f(y | τ), dense for small states and matrix-free for large ones.

    Args:
        denoiser: f.
        context: `denoiser.condition(history)`.
        y: where to differentiate, in scaled units.
        key: starts the matrix-free method; unused by the dense one.
        dense_limit: the largest state that is treated densely.
        depth: of the Krylov space, see `arnoldi_radius`.

    Returns:
        The radius; its residual is 0 where it is dense.
    """
    if y.shape[0] <= dense_limit:
        value = spectral_radius(state_jacobian(denoiser, context, y))
        return Radius(value, jnp.zeros_like(value), jnp.zeros((), bool))
    _, apply = jax.linearize(lambda point: denoiser.denoise(context, point), y)
    return arnoldi_radius(apply, y.shape[0], key=key, depth=depth, dtype=y.dtype)


def numerical_rank(matrix: Float[Array, "*batch rows columns"], threshold: float = 1e-3) -> Int[Array, "*batch"]:
    """The number of singular values above a share of the largest one, #{k : σ_k > threshold · σ_1}.

    Args:
        matrix: any leading batch axes.
        threshold: relative to the largest singular value; a rank of floats means nothing without it.

    Returns:
        The rank; 0 for a zero matrix.
    """
    values = jnp.linalg.svd(matrix, compute_uv=False)
    return jnp.sum(values > threshold * values[..., :1], axis=-1)


def effective_rank(matrix: Float[Array, "*batch rows columns"]) -> Float[Array, "*batch"]:
    """The exponential of the entropy of the normalised singular values.

        exp(−Σ_k p_k ln p_k),   p_k = σ_k / Σ_j σ_j

    Between 1 (one direction) and min(rows, columns) (all equal), without a threshold.

    Args:
        matrix: any leading batch axes.

    Returns:
        The effective rank; 0 for a zero matrix. Source: Roy and Vetterli, EUSIPCO 2007.
    """
    values = jnp.linalg.svd(matrix, compute_uv=False)
    total = jnp.sum(values, axis=-1, keepdims=True)
    shares = values / jnp.where(total > 0, total, 1.0)
    return jnp.where(total[..., 0] > 0, jnp.exp(jnp.sum(jax.scipy.special.entr(shares), axis=-1)), 0.0)
