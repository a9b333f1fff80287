"""The exact denoiser of a linear-Gaussian posterior, for which all that a flow computes has a closed form.

    s | τ ~ N(m(τ), Σ),  m(τ) = A τ + b,    y | s ~ N(s, σ²I)    ⇒    f*(τ, y) = m(τ) + Σ (Σ + σ²I)^{-1} (y − m(τ))

It is differentiable in the history. Its only fixed point is the mean m(τ), whatever Σ is. This does not contradict
Theorems 1 and 2, which equate fixed points and consistent states: they hold for finitely many states.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


class LinearGaussianDenoiser(eqx.Module):
    """f*(τ, y) = m(τ) + Σ (Σ + σ²I)^{-1} (y − m(τ)) with m(τ) = A τ + b.

    Attributes:
        history_map: A.
        offset: b.
        covariance: Σ, symmetric and positive semidefinite; it may be singular.
        sigma: the known noise level σ > 0.
    """

    history_map: Float[Array, "state history"]
    offset: Float[Array, " state"]
    covariance: Float[Array, "state state"]
    sigma: float | Float[Array, ""]

    @property
    def state_size(self) -> int:
        """Number of features of the state."""
        return self.offset.shape[0]

    def condition(self, history: Float[Array, " history"]) -> Float[Array, " state"]:
        """The posterior mean m(τ)."""
        return self.history_map @ history + self.offset

    def denoise(self, context: Float[Array, " state"], y: Float[Array, " state"]) -> Float[Array, " state"]:
        """The posterior mean given y as well."""
        return context + self.gain @ (y - context)

    @property
    def gain(self) -> Float[Array, "state state"]:
        """Σ (Σ + σ²I)^{-1}, the Jacobian ∂f/∂y; the two factors commute."""
        noise = self.sigma**2 * jnp.eye(self.state_size, dtype=self.covariance.dtype)
        return jnp.linalg.solve(self.covariance + noise, self.covariance)

    def at(self, sigma: float | Float[Array, ""]) -> "LinearGaussianDenoiser":
        """The same posterior's denoiser for another noise level."""
        return LinearGaussianDenoiser(self.history_map, self.offset, self.covariance, sigma)
