"""Spectral radii: dense, bounded by matrix products alone, and matrix-free.

    ρ(A) = max_k |λ_k(A)|,        a fixed point y* is stable where ρ(J_f(y*)) < 1        (Theorem 2)

There are three methods. `spectral_radius` is exact and needs LAPACK on the processor. `radius_bound` is never below the
true radius and needs only matrix products, so it is fast on every device. `arnoldi_radius` needs only products with
vectors, and its residual says how accurate it is.

Reference: Y. Saad, Numerical Methods for Large Eigenvalue Problems (2011), chapters 6 and 7.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray


def spectral_radius(matrix: Float[Array, "*batch size size"]) -> Float[Array, "*batch"]:
    """The largest modulus of the eigenvalues, ρ(A) = max_k |λ_k|, by a dense decomposition.

    Args:
        matrix: square matrices, any leading batch axes.

    Returns:
        One radius for each matrix. Cost O(size³). With a GPU, JAX runs the decomposition on the host's processor;
        `radius_bound` needs matrix products alone.
    """
    return jnp.max(jnp.abs(jnp.linalg.eigvals(matrix)), axis=-1)


def radius_bound(matrix: Float[Array, "size size"], num_squarings: int = 8) -> Float[Array, ""]:
    """An upper bound on the spectral radius by matrix products alone.

        ρ(A) ≤ min_{j ≤ k} ‖A^{2^j}‖^{1/2^j}                                              (Gelfand)

    The power is rescaled at every squaring, and a bound on the rounding error of the products is carried along and
    added, so that the bound holds in float32 too. It tends to ρ from above until that error dominates: it is tight for
    nearly normal matrices, but for a nilpotent matrix it stays above zero.

    Args:
        matrix: A.
        num_squarings: k; the cost is k matrix products.

    Returns:
        A number that is at least ρ(A), so that a value below one certifies stability.
    """
    unit = matrix.shape[0] * float(jnp.finfo(matrix.dtype).eps) / 2
    product_error = unit / (1 - unit)  # |fl(M·M) − M·M| ≤ γ |M|·|M| whatever the order of summation

    def square(carry, exponent):
        power, error, log_scale = carry
        spread = _norm_bound(power)
        power = jnp.matmul(power, power, precision=jax.lax.Precision.HIGHEST)
        error = error * (2 * spread + error) + product_error * spread
        power, error, log_scale = _rescaled(power, error, 2 * log_scale)
        return (power, error, log_scale), (log_scale + jnp.log(_norm_bound(power) + error)) / exponent

    zero = jnp.zeros((), matrix.dtype)
    power, error, log_scale = _rescaled(matrix, zero, zero)
    exponents = 2.0 ** jnp.arange(1, num_squarings + 1, dtype=matrix.dtype)
    _, log_bounds = jax.lax.scan(square, (power, error, log_scale), exponents)
    return jnp.exp(jnp.min(log_bounds, initial=log_scale + jnp.log(_norm_bound(power))))


def _norm_bound(power: Float[Array, "size size"]) -> Float[Array, ""]:
    """An upper bound on ‖ |M| ‖₂ of a matrix of Frobenius norm one (or zero): min(1, (‖M‖₁ ‖M‖_∞)^{1/2})."""
    sizes = jnp.abs(power)
    return jnp.minimum(1.0, jnp.sqrt(jnp.max(jnp.sum(sizes, axis=0)) * jnp.max(jnp.sum(sizes, axis=1))))


def _rescaled(
    power: Float[Array, "size size"], error: Float[Array, ""], log_scale: Float[Array, ""]
) -> tuple[Float[Array, "size size"], Float[Array, ""], Float[Array, ""]]:
    """A power exp(log_scale) (M + E), ‖E‖_F ≤ error, written with ‖M‖_F = 1; exp(−∞) times 0 where all vanishes."""
    norm = jnp.linalg.norm(power)
    # Where the power vanishes and its error does not, the error sets the scale.
    divisor = jnp.where(norm > 0, norm, jnp.where(error > 0, error, 1.0))
    log_scale = jnp.where((norm > 0) | (error > 0), log_scale + jnp.log(divisor), -jnp.inf)
    return power / divisor, error / divisor, log_scale


class SpectralRadius(eqx.Module):
    """A spectral radius found by products with vectors.

    Attributes:
        value: modulus of the dominant Ritz value.
        residual: ‖A x − λ x‖ of its unit Ritz vector x. λ is an eigenvalue of some A + E with ‖E‖₂ = residual; where
            A is far from normal, that alone can leave it far from the eigenvalues of A.
        breakdown: whether the Krylov space closed before the last step, as it does for an operator of low rank.
    """

    value: Float[Array, "*batch"]
    residual: Float[Array, "*batch"]
    breakdown: Bool[Array, "*batch"]


def arnoldi_radius(
    apply: Callable[[Float[Array, " size"]], Float[Array, " size"]],
    size: int,
    *,
    key: PRNGKeyArray,
    depth: int = 20,
    tolerance: float = 1e-3,
    max_restarts: int = 10,
    dtype: jnp.dtype | type = jnp.float32,
) -> SpectralRadius:
    """The spectral radius of a linear map that is known only by its products with vectors.

    Arnoldi's method, A V = V H + h v eᵀ, with full re-orthogonalisation, restarted from the dominant Ritz vector
    until its residual is below `tolerance` times its value. Where the Krylov space closes (h = 0) the basis goes on
    with a fresh random direction orthogonal to it, so that H stays block triangular and its eigenvalues exact: a
    zero map gives 0, a map of rank r < depth its radius.

    Args:
        apply: v ↦ A v, traceable; call this function under `jit` or `vmap` with the weights as arguments there.
        size: the length of v.
        key: draws the start and the new directions.
        depth: products per restart; more than `size` are never used.
        tolerance: relative residual at which to stop.
        max_restarts: most restarts; a residual that is still above the tolerance is reported as it is.
        dtype: type of the vectors.

    Returns:
        The radius and its residual. A random start almost surely has a component along every eigenvector. But where
        that component is tiny, `value` can belong to a smaller eigenvalue and still have a small residual.
    """
    depth = min(depth, size)
    key_start, key_directions = jax.random.split(key)

    def cycle(carry):
        start, _, count = carry
        basis, hessenberg, broke = arnoldi(apply, start, jax.random.fold_in(key_directions, count), depth)
        radius, vector = _dominant(hessenberg, broke)
        return vector @ basis, radius, count + 1

    def unfinished(carry):
        _, radius, count = carry
        return (radius.residual > tolerance * radius.value) & (count <= max_restarts)

    nothing = SpectralRadius(jnp.zeros((), dtype), jnp.full((), jnp.inf, dtype), jnp.zeros((), bool))
    start = jax.random.normal(key_start, (size,), dtype)
    _, radius, _ = jax.lax.while_loop(unfinished, cycle, (start, nothing, jnp.zeros((), jnp.int32)))
    return radius


def arnoldi(
    apply: Callable, start: Float[Array, " size"], key: PRNGKeyArray, depth: int
) -> tuple[Float[Array, "depth size"], Float[Array, "rows depth"], Bool[Array, ""]]:
    """An orthonormal basis of the Krylov space, A V = V̂ H, by Arnoldi's method.

    Args:
        apply: v ↦ A v.
        start: first vector of the space.
        key: draws new directions where the space closes.
        depth: number of basis vectors, at most the size.

    Returns:
        V, the Hessenberg matrix H (depth + 1 rows), and whether the space closed early.
    """
    size, dtype = start.shape[0], start.dtype
    closed = 10 * size**0.5 * float(jnp.finfo(dtype).eps)  # rounding of a product with a vector, relative to its norm

    def step(carry, inputs):
        basis, scale = carry
        index, key_direction = inputs
        image = apply(basis[index])
        scale = jnp.maximum(scale, jnp.linalg.norm(image))
        rest, column = _orthogonalise(basis, image)
        height = jnp.linalg.norm(rest)
        broke = height <= closed * scale
        direction = jnp.where(broke, jax.random.normal(key_direction, (size,), dtype), rest)
        basis = basis.at[index + 1].set(_unit(_orthogonalise(basis, _unit(direction))[0]))
        column = column.at[index + 1].set(jnp.where(broke, 0.0, height))
        return (basis, scale), (column, broke)

    basis = jnp.zeros((depth + 1, size), dtype).at[0].set(_unit(start))
    inputs = (jnp.arange(depth), jax.random.split(key, depth))
    (basis, _), (columns, broke) = jax.lax.scan(step, (basis, jnp.zeros((), dtype)), inputs)
    return basis[:depth], columns.T, jnp.any(broke[:-1])


def _orthogonalise(
    basis: Float[Array, "rows size"], vector: Float[Array, " size"]
) -> tuple[Float[Array, " size"], Float[Array, " rows"]]:
    """The part of a vector outside the basis, and its coordinates inside; two passes are enough (Kahan, Parlett)."""
    first = basis @ vector
    rest = vector - first @ basis
    second = basis @ rest
    return rest - second @ basis, first + second


def _unit(vector: Float[Array, " size"]) -> Float[Array, " size"]:
    """The vector scaled to norm one; zero stays zero."""
    norm = jnp.linalg.norm(vector)
    return vector / jnp.where(norm > 0, norm, 1.0)


def _dominant(
    hessenberg: Float[Array, "rows depth"], broke: Bool[Array, ""]
) -> tuple[SpectralRadius, Float[Array, " depth"]]:
    """The dominant Ritz pair: its radius, and the real coordinates that restart the method."""
    depth = hessenberg.shape[1]
    values, vectors = jnp.linalg.eig(hessenberg[:depth])
    index = jnp.argmax(jnp.abs(values))
    vector = vectors[:, index]
    residual = hessenberg[depth, depth - 1] * jnp.abs(vector[-1])
    # The real part of a complex vector spans the pair's plane together with its image.
    return SpectralRadius(jnp.abs(values[index]), residual, broke), jnp.real(vector)
