"""Joint regression: one network reads every agent's history at once and estimates the state.

    g(τ_1, …, τ_n) minimises E ‖s − g(τ_1, …, τ_n)‖²,   g* = E[s | τ_1, …, τ_n]

It needs all histories in one place, which composite diffusion does not, and it learns from steps, not from (step,
agent) pairs. The network is the same as the denoiser's, with the joint history at its input and y = 0.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.denoiser import Denoiser
from composite_flow.fusion.joint_steps import JointSteps
from composite_flow.network import Network


class JointPairs(JointSteps):
    """Pairs (all histories of a step side by side, the state) of a dataset."""

    def at(self, steps: Int[Array, " k"]) -> tuple[Float[Array, "k joint"], Float[Array, "k state"]]:
        """The pairs of these steps."""
        histories, states = super().at(steps)
        return concatenated_histories(histories), states


def concatenated_histories(histories: Float[Array, "batch agents history"]) -> Float[Array, "batch joint"]:
    """The histories of all agents, one after the other in one row."""
    return histories.reshape(len(histories), -1)


def joint_regression(
    minimum: Float[Array, " joint"],
    maximum: Float[Array, " joint"],
    state_size: int,
    width: int,
    depth: int = 6,
    *,
    key: PRNGKeyArray,
) -> Network:
    """The untrained network of the regression.

    Args:
        minimum, maximum: range of each column of the joint history in the training data.
        state_size: number of features of the state.
        width: units of a hidden layer.
        depth: number of hidden layers.
        key: random key.
    """
    network = Network(minimum.shape[0], state_size, width, depth, history_at="input", key=key)
    return network.with_history_range(minimum, maximum)


def regression_losses(
    network: Denoiser, histories: Float[Array, "batch joint"], states: Float[Array, "batch state"], key: PRNGKeyArray
) -> Float[Array, " batch"]:
    """‖s − g(τ_1, …, τ_n)‖² of each pair; nothing is drawn."""
    return jnp.sum((regression_estimates(network, histories) - states) ** 2, axis=-1)


def regression_estimates(network: Denoiser, histories: Float[Array, "batch joint"]) -> Float[Array, "batch state"]:
    """g(τ_1, …, τ_n) of each joint history."""
    nothing = jnp.zeros(network.state_size)
    return jax.vmap(lambda history: network.denoise(network.condition(history), nothing))(histories)
