"""Ranks of floating-point matrices: singular values, numerical rank at a stated threshold, effective rank.

    #{k : σ_k > t σ_1}   (numerical, at the threshold t),        exp(−Σ_k p_k ln p_k), p_k = σ_k / Σ_j σ_j   (effective)

The rank of a floating-point matrix depends on a threshold. The paper states none, so look at several (`THRESHOLDS`)
and at the effective rank, which needs none. For large matrices that are known only by their products with vectors, the
leading singular values come from a random subspace.

References: O. Roy and M. Vetterli, EUSIPCO 2007; N. Halko, P. G. Martinsson and J. A. Tropp, SIAM Review 53 (2011).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

THRESHOLDS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 1e-4)
"""Relative to the largest singular value. Float32 rounds a matrix of a hundred columns at about 1e-6 of it."""

DEFAULT_THRESHOLD = 1e-3


def singular_values(matrix: Float[Array, "*batch rows columns"]) -> Float[Array, "*batch k"]:
    """The singular values, largest first; there are min(rows, columns) of them.

    Args:
        matrix: any leading batch axes.
    """
    return jnp.linalg.svd(matrix, compute_uv=False)


def numerical_rank(
    matrix: Float[Array, "*batch rows columns"], threshold: float = DEFAULT_THRESHOLD
) -> Int[Array, "*batch"]:
    """The number of singular values above a share of the largest one, #{k : σ_k > threshold · σ_1}.

    Args:
        matrix: any leading batch axes.
        threshold: relative to the largest singular value; a rank of floats means nothing without it.

    Returns:
        The rank; 0 for a zero matrix.
    """
    return rank_of_values(singular_values(matrix), threshold)


def rank_of_values(values: Float[Array, "*batch k"], threshold: float = DEFAULT_THRESHOLD) -> Int[Array, "*batch"]:
    """`numerical_rank` from singular values in descending order.

    Args:
        values: largest first.
        threshold: relative to the largest one.

    Returns:
        The rank; 0 where all values are zero.
    """
    return jnp.sum(values > threshold * values[..., :1], axis=-1)


def effective_rank(matrix: Float[Array, "*batch rows columns"]) -> Float[Array, "*batch"]:
    """The exponential of the entropy of the normalised singular values.

        exp(−Σ_k p_k ln p_k),   p_k = σ_k / Σ_j σ_j

    Between 1 (one direction) and min(rows, columns) (all equal), without a threshold.

    Args:
        matrix: any leading batch axes.

    Returns:
        The effective rank; 0 for a zero matrix.

    Reference: Roy and Vetterli, EUSIPCO 2007.
    """
    return effective_rank_of_values(singular_values(matrix))


def effective_rank_of_values(values: Float[Array, "*batch k"]) -> Float[Array, "*batch"]:
    """`effective_rank` from singular values.

    Args:
        values: in any order.

    Returns:
        The effective rank; 0 where all values are zero.
    """
    total = jnp.sum(values, axis=-1, keepdims=True)
    shares = values / jnp.where(total > 0, total, 1.0)
    return jnp.where(total[..., 0] > 0, jnp.exp(jnp.sum(jax.scipy.special.entr(shares), axis=-1)), 0.0)


def randomised_singular_values(
    apply: Callable,
    apply_transposed: Callable,
    rows: int,
    columns: int,
    num_values: int,
    *,
    key: PRNGKeyArray,
    oversampling: int = 8,
    power_iterations: int = 2,
    dtype: jnp.dtype | type = jnp.float32,
    has_residual: bool = False,
) -> Float[Array, " k"] | tuple[Float[Array, " k"], Float[Array, ""]]:
    """The largest singular values of a linear map that is known only by its products with vectors.

        Q = orth((A Aᵀ)^q A Ω),  Ω Gaussian;      σ_k(A) ≈ σ_k(Qᵀ A)

    Up to rounding, the values never exceed the true ones, and they are exact where the rank is at most
    num_values + oversampling. Otherwise each power iteration reduces the error; it does so more where the values fall
    faster. Cost: (2q + 2) blocks of num_values + oversampling products.

    Args:
        apply: v ↦ A v, `(columns,)` to `(rows,)`, traceable; it is mapped over blocks of vectors.
        apply_transposed: u ↦ Aᵀ u.
        rows: number of rows of A.
        columns: number of columns of A.
        num_values: how many values to return, at most min(rows, columns).
        key: draws Ω.
        oversampling: additional directions of the subspace.
        power_iterations: q.
        dtype: type of the vectors.
        has_residual: whether both maps return a pair: the product, and the residual of the solve that gave it.

    Returns:
        The values, largest first; with `has_residual` a pair of these and the largest residual of all products.

    Reference: Halko, Martinsson and Tropp (2011), algorithms 4.4 and 5.1.
    """
    num_values = min(num_values, rows, columns)
    size = min(num_values + oversampling, rows, columns)

    def block(function, vectors):
        if has_residual:
            products, residuals = jax.vmap(function)(vectors)
            return products, jnp.max(residuals)
        return jax.vmap(function)(vectors), jnp.zeros((), dtype)

    def improve(carry, _):
        directions, worst = carry
        images, forward = block(apply, _orthonormal(directions))
        directions, backward = block(apply_transposed, _orthonormal(images))
        return (directions, jnp.maximum(worst, jnp.maximum(forward, backward))), None

    # After each step the rows are Qᵀ A for an orthonormal Q, so the last ones hold the values.
    start = jax.random.normal(key, (size, columns), dtype), jnp.zeros((), dtype)
    (directions, worst), _ = jax.lax.scan(improve, start, length=1 + power_iterations)
    values = singular_values(directions)[:num_values]
    return (values, worst) if has_residual else values


def _orthonormal(vectors: Float[Array, "count size"]) -> Float[Array, "count size"]:
    """An orthonormal basis that holds the span of these rows."""
    return jnp.linalg.qr(vectors.T)[0].T
