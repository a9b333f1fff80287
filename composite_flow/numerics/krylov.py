"""Solution of linear systems whose matrix is known only by its products with vectors.

Generalised minimal residuals, restarted, on the Arnoldi basis of `spectrum`: with A V = V̂ H over the basis V of the
Krylov space, x = V argmin_z ‖β e_1 − H z‖. Where the space closes early the answer is exact.

Reference: Y. Saad and M. H. Schultz, SIAM Journal on Scientific and Statistical Computing 7 (1986).
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int

from composite_flow.numerics.spectrum import arnoldi


class Solution(eqx.Module):
    """A vector x with A x ≈ b.

    Attributes:
        x: the vector.
        residual: ‖b − A x‖ / ‖b‖, measured by one more product; 0 for b = 0.
        num_restarts: how many Krylov spaces were built.
    """

    x: Float[Array, " size"]
    residual: Float[Array, ""]
    num_restarts: Int[Array, ""]


def krylov_solve(
    apply: Callable[[Float[Array, " size"]], Float[Array, " size"]],
    target: Float[Array, " size"],
    *,
    depth: int = 20,
    tolerance: float = 1e-5,
    max_restarts: int = 10,
) -> Solution:
    """Solve A x = b by restarted generalised minimal residuals.

    For A = I − J with J of rank r one Krylov space of depth r + 1 holds the answer.

    Args:
        apply: v ↦ A v, traceable.
        target: b.
        depth: products for each Krylov space; more than the size of the system are never used.
        tolerance: relative residual at which to stop.
        max_restarts: most Krylov spaces; a residual that is still above the tolerance is reported as it is.

    Returns:
        The vector with the smallest residual seen, and that residual.
    """
    depth, norm = min(depth, target.shape[0]), jnp.linalg.norm(target)
    scale = jnp.where(norm > 0, norm, 1.0)

    def unfinished(carry):
        _, rest, count, improved = carry
        return (jnp.linalg.norm(rest) > tolerance * scale) & (count < max_restarts) & improved

    def cycle(carry):
        x, rest, count, _ = carry
        # The key draws directions only after the space has closed, which the answer does not need.
        basis, hessenberg, _ = arnoldi(apply, rest, jax.random.key(0), depth)
        first = jnp.zeros(depth + 1, target.dtype).at[0].set(jnp.linalg.norm(rest))
        orthogonal, triangle = jnp.linalg.qr(hessenberg)
        better = x + solve_triangular(triangle, orthogonal.T @ first) @ basis
        remains = target - apply(better)
        improved = jnp.linalg.norm(remains) < jnp.linalg.norm(rest)  # false for NaN, which a singular A can give
        return jnp.where(improved, better, x), jnp.where(improved, remains, rest), count + 1, improved

    start = (jnp.zeros_like(target), target, jnp.zeros((), jnp.int32), jnp.ones((), bool))
    x, rest, count, _ = jax.lax.while_loop(unfinished, cycle, start)
    return Solution(x, jnp.linalg.norm(rest) / scale, count)
