"""Corollary 5.1: the sensitivity of a fully connected network through its first layer alone.

    f(τ, y) = g(a(W_τ τ + W_y y + b))    ⇒    ∂f/∂τ = G W_τ,  J = G W_y
    J⁺ = (I − J)^{-1} G W_τ  ≈  (I − J)^{-1} J W_y⁺ W_τ                                 (Eq. 65)
                             ≈  U (I − Λ)^{-1} Λ Uᵀ W_y⁺ W_τ                            (Eq. 67)

The first step needs W_y W_y⁺ = I, so a first layer no wider than the state; the second a symmetric J = U Λ Uᵀ.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from composite_flow.errors import InputError
from composite_flow.jacobian import joint_jacobian
from composite_flow.network import Network
from composite_flow.sensitivity import sensitivity_of_jacobians


class FirstLayerSensitivity(eqx.Module):
    """Three forms of the sensitivity at one fixed point.

    Attributes:
        exact: J⁺ (Eq. 14).
        through_first_layer: (I − J)^{-1} J W_y⁺ W_τ (Eq. 65).
        symmetric: U (I − Λ)^{-1} Λ Uᵀ W_y⁺ W_τ (Eq. 67), U Λ Uᵀ the symmetric part of J.
        projected: W_y⁺ W_τ.
        eigenvalues: λ_k of the symmetric part of J, ascending.
        eigenvectors: e_k, as columns.
        asymmetry: ‖J − Jᵀ‖_F / (2 ‖J‖_F): 0 where J is symmetric, as the corollary assumes.
    """

    exact: Float[Array, "state history"]
    through_first_layer: Float[Array, "state history"]
    symmetric: Float[Array, "state history"]
    projected: Float[Array, "state history"]
    eigenvalues: Float[Array, " state"]
    eigenvectors: Float[Array, "state state"]
    asymmetry: Float[Array, ""]

    @property
    def relative_error(self) -> Float[Array, ""]:
        """‖through_first_layer − exact‖_F / ‖exact‖_F; the corollary's error where J is not symmetric."""
        return _relative(self.through_first_layer, self.exact)

    @property
    def symmetric_relative_error(self) -> Float[Array, ""]:
        """‖symmetric − exact‖_F / ‖exact‖_F: the error of the corollary as it is written."""
        return _relative(self.symmetric, self.exact)

    def squared_shift(self, direction: Float[Array, " history"]) -> Float[Array, ""]:
        """‖Δy*‖² ≈ Σ_k (λ_k / (1 − λ_k))² ⟨e_k, W_y⁺ W_τ Δτ⟩².

        Source: Corollary 5.1, Eq. 68.
        """
        along = self.eigenvectors.T @ (self.projected @ direction)
        return jnp.sum((self.eigenvalues / (1 - self.eigenvalues) * along) ** 2)


def first_layer_sensitivity(
    network: Network, history: Float[Array, " history"], y: Float[Array, " state"]
) -> FirstLayerSensitivity:
    """The exact sensitivity beside Corollary 5.1's, for any width of the first layer.

    W_y⁺ is the Moore–Penrose inverse. The paper's formula for it, W_yᵀ (W_y W_yᵀ)^{-1}, exists where the first layer is
    no wider than the state, and there Eq. 65 is exact. For a wider layer W_y W_y⁺ is a projection, and Eq. 65 leaves
    out the part of W_τ that lies outside its range.

    Args:
        network: a network that sees the history at its input only.
        history: τ, flat, before the network's own scaling.
        y: a fixed point, in scaled units.

    Raises:
        InputError: the history enters at every layer.

    Source: Corollary 5.1, Eq. 65, Eq. 67, appendix A.4.
    """
    if network.history_at != "input":
        raise InputError('Corollary 5.1 needs a network with history_at="input".')
    in_history, jacobian = joint_jacobian(network, history, y)
    ranges = network.history_maximum - network.history_minimum
    history_weights = network.history_weights.T / ranges[None]
    projected = jnp.linalg.pinv(network.state_weights[0].T) @ history_weights
    eigenvalues, eigenvectors = jnp.linalg.eigh((jacobian + jacobian.T) / 2)
    scaled = eigenvectors * (eigenvalues / (1 - eigenvalues))[None]
    size = jnp.linalg.norm(jacobian)
    return FirstLayerSensitivity(
        exact=sensitivity_of_jacobians(in_history, jacobian),
        through_first_layer=sensitivity_of_jacobians(jacobian @ projected, jacobian),
        symmetric=scaled @ (eigenvectors.T @ projected),
        projected=projected,
        eigenvalues=eigenvalues,
        eigenvectors=eigenvectors,
        asymmetry=jnp.linalg.norm(jacobian - jacobian.T) / (2 * jnp.where(size > 0, size, 1.0)),
    )


def _relative(approximate, exact):
    size = jnp.linalg.norm(exact)
    return jnp.linalg.norm(approximate - exact) / jnp.where(size > 0, size, 1.0)
