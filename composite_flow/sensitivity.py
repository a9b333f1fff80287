"""The sensitivity of a fixed point: how it moves with the history, dense and matrix-free.

    J⁺(y* | τ) = (I − ∂f/∂y)^{-1} ∂f/∂τ                                                (Eq. 14)

A fixed point y* = f(τ, y*) moves by J⁺ Δτ to first order when its history changes by Δτ (implicit function theorem).
The dense form costs one product for each feature of the state; the operator multiplies by J⁺ and by its transpose
through Krylov solves, which close after r + 1 steps where ∂f/∂y has rank r.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.denoiser import Denoiser
from composite_flow.jacobian import DENSE_STATE_LIMIT, joint_jacobian
from composite_flow.numerics.krylov import Solution, krylov_solve
from composite_flow.numerics.rank import randomised_singular_values


def sensitivity(
    denoiser: Denoiser, history: Float[Array, " history"], y: Float[Array, " state"]
) -> Float[Array, "state history"]:
    """How a fixed point moves with the history, J⁺ = (I − ∂f/∂y)^{-1} ∂f/∂τ.

    Args:
        denoiser: f, differentiable in the history.
        history: τ, flat.
        y: a fixed point of f(τ, ·), in scaled units.

    Returns:
        J⁺. It is not finite where 1 is an eigenvalue of ∂f/∂y, which never happens at a stable fixed point.

    Source: Eq. 14.
    """
    return sensitivity_of_jacobians(*joint_jacobian(denoiser, history, y))


def sensitivity_of_jacobians(
    in_history: Float[Array, "state history"], in_state: Float[Array, "state state"]
) -> Float[Array, "state history"]:
    """J⁺ from both Jacobians, (I − ∂f/∂y)^{-1} ∂f/∂τ.

    Args:
        in_history: ∂f/∂τ.
        in_state: ∂f/∂y.
    """
    return jnp.linalg.solve(jnp.eye(in_state.shape[-1], dtype=in_state.dtype) - in_state, in_history)


class LeadingValues(eqx.Module):
    """The largest singular values of a sensitivity, found without its matrix.

    Attributes:
        values: largest first.
        residual: the largest relative residual of the Krylov solves; the values are not more accurate than this.
    """

    values: Float[Array, "*batch k"]
    residual: Float[Array, "*batch"]


class SensitivityOperator(eqx.Module):
    """J⁺ at one fixed point, known by its products with vectors: for states too large for a dense Jacobian.

    Methods are traceable; call them under `eqx.filter_jit` with the operator as an argument, so that it holds no copy
    of the weights.

    Attributes:
        denoiser: f, differentiable in the history.
        history: τ, flat.
        y: a fixed point of f(τ, ·), in scaled units.
        depth: depth of the Krylov space; more than the rank of ∂f/∂y is never needed.
        tolerance: relative residual of the solves; float32 reaches a few 1e-7.
        max_restarts: most restarts of a solve.
    """

    denoiser: Denoiser
    history: Float[Array, " history"]
    y: Float[Array, " state"]
    depth: int = eqx.field(default=20, static=True)
    tolerance: float = eqx.field(default=1e-5, static=True)
    max_restarts: int = eqx.field(default=10, static=True)

    def product(self, direction: Float[Array, " history"]) -> Solution:
        """J⁺ Δτ, how the fixed point moves when the history moves in this direction."""
        moved = jax.jvp(lambda history: self._denoise(history, self.y), (self.history,), (direction,))[1]
        _, apply = jax.linearize(lambda y: self._denoise(self.history, y), self.y)
        return self._solve(lambda v: v - apply(v), moved)

    def transposed_product(
        self, cotangent: Float[Array, " state"]
    ) -> tuple[Float[Array, " history"], Float[Array, ""]]:
        """J⁺ᵀ u and the residual of its solve: how u·y* changes with each column of the history."""
        _, pull = jax.vjp(self._denoise, self.history, self.y)
        solution = self._solve(lambda v: v - pull(v)[1], cotangent)
        return pull(solution.x)[0], solution.residual

    def singular_values(
        self,
        num_values: int,
        *,
        key: PRNGKeyArray,
        columns: Sequence[int] | None = None,
        oversampling: int = 8,
        power_iterations: int = 2,
    ) -> LeadingValues:
        """The largest singular values of J⁺, by a random subspace; see `randomised_singular_values`.

        Args:
            num_values: how many singular values to compute.
            key: draws the subspace.
            columns: the history columns to which J⁺ is restricted; None for all.
            oversampling: additional directions of the subspace.
            power_iterations: number of power iterations on the subspace.
        """
        rows, chosen = self.y.shape[0], np.arange(self.history.shape[0]) if columns is None else np.asarray(columns)
        nothing = jnp.zeros_like(self.history)

        def product(direction):
            solution = self.product(nothing.at[chosen].set(direction))
            return solution.x, solution.residual

        def transposed_product(cotangent):
            direction, residual = self.transposed_product(cotangent)
            return direction[chosen], residual

        return LeadingValues(
            *randomised_singular_values(
                product,
                transposed_product,
                rows,
                len(chosen),
                num_values,
                key=key,
                oversampling=oversampling,
                power_iterations=power_iterations,
                dtype=self.y.dtype,
                has_residual=True,
            )
        )

    def _denoise(self, history, y):
        return self.denoiser.denoise(self.denoiser.condition(history), y)

    def _solve(self, apply, target):
        return krylov_solve(apply, target, depth=self.depth, tolerance=self.tolerance, max_restarts=self.max_restarts)


def shift_along(
    denoiser: Denoiser,
    history: Float[Array, " history"],
    direction: Float[Array, " history"],
    y: Float[Array, " state"],
    *,
    dense_limit: int = DENSE_STATE_LIMIT,
) -> Float[Array, " state"]:
    """J⁺ Δτ for one direction, the shift of a fixed point to first order: one product and one solve.

    Args:
        denoiser: f, differentiable in the history.
        history: τ, flat.
        direction: Δτ.
        y: a fixed point of f(τ, ·), in scaled units.
        dense_limit: the largest state whose Jacobian is formed; above it the solve is matrix-free.

    Source: Eq. 13.
    """
    if y.shape[0] > dense_limit:
        return SensitivityOperator(denoiser, history, y).product(direction).x

    def denoise(history, y):
        return denoiser.denoise(denoiser.condition(history), y)

    moved = jax.jvp(lambda point: denoise(point, y), (history,), (direction,))[1]
    context = denoiser.condition(history)
    jacobian = jax.jacfwd(lambda point: denoiser.denoise(context, point))(y)
    return jnp.linalg.solve(jnp.eye(y.shape[0], dtype=y.dtype) - jacobian, moved)
