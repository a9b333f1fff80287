"""The gated chain: one message of the state's size goes round, and each agent changes what it knows better.

    y_0 = s̄,    y_ℓ = y_{ℓ−1} + σ(4 a − 1) ∘ (m − y_{ℓ−1}),    (m, a) = f(τ_{i_ℓ}, y_{ℓ−1})

A shut gate passes a feature on as it came, which a plain chain y ← f(τ, y) must copy through all of its layers. The
network is trained through its hops, in random orders of all agents, by ‖s − y_ℓ‖² of every prefix. So the message is
the mean of the state given the histories so far, any agents in any order give an estimate, and one sweep is enough: a
second one reads each history twice.

Beside fusion the chain needs a turn for each agent, and a lost message loses what all before have said. Its message is
a third as large where features are numbers. It tells no variance.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.composite.rule import CompositionRule
from composite_flow.denoiser import Context, Denoiser
from composite_flow.fusion.joint_steps import JointSteps
from composite_flow.network import Activation, activation_function, check_sizes, scaling_range, uniform_weights
from composite_flow.training.loss import arrays_of

SAMPLED_STEPS = 1024  # from which the prior's mean and the range of histories are taken


class ChainNetwork(eqx.Module):
    """The network of the gated chain, a denoiser whose `denoise` is a gated hop from message to message.

        x_0 = y,    x_l = a(x_{l−1} W_l + c_l(τ)),    m = x M + b,    a = x A + d,    c_l as in the denoiser's network

    M, A and d start at 0 and b at s̄, so that training starts at the prior's mean.

    Attributes:
        state_weights: W_1..W_depth.
        history_weights: V_1..V_depth side by side.
        biases: b_1..b_depth.
        message_weights, message_bias: M and b.
        gate_weights, gate_bias: A and d.
        history_minimum, history_maximum: range of each history column, which is mapped to [0, 1]; not trained.
        prior_mean: s̄, of the training states; not trained.
    """

    state_weights: tuple[Float[Array, "inputs width"], ...]
    history_weights: Float[Array, "history depth_times_width"]
    biases: Float[Array, "depth width"]
    message_weights: Float[Array, "width state"]
    message_bias: Float[Array, " state"]
    gate_weights: Float[Array, "width state"]
    gate_bias: Float[Array, " state"]
    history_minimum: Float[Array, " history"]
    history_maximum: Float[Array, " history"]
    prior_mean: Float[Array, " state"]
    activation: Activation = eqx.field(static=True)

    def __init__(
        self,
        history_range: tuple[Float[Array, " history"], Float[Array, " history"]],
        prior_mean: Float[Array, " state"],
        width: int = 256,
        depth: int = 6,
        activation: Activation = "relu",
        *,
        key: PRNGKeyArray,
    ):
        """Draw the hidden weights from U[−1, 1] / √fan_in.

        Args:
            history_range: smallest and largest value of each history column in training.
            prior_mean: s̄ of the training states.
            width: units of a hidden layer.
            depth: number of hidden layers.
            activation: of the hidden layers.
            key: random key.

        Raises:
            InputError: a size below one.
        """
        history_size, state_size = len(history_range[0]), len(prior_mean)
        check_sizes(history=history_size, state=state_size, width=width, depth=depth)
        key_history, *keys_state = jax.random.split(key, depth + 1)
        shapes = [(state_size if layer == 0 else width, width) for layer in range(depth)]
        self.state_weights = tuple(uniform_weights(k, shape) for k, shape in zip(keys_state, shapes, strict=True))
        self.history_weights = uniform_weights(key_history, (history_size, depth * width))
        self.biases = jnp.zeros((depth, width))
        self.message_weights, self.message_bias = jnp.zeros((width, state_size)), jnp.array(prior_mean)
        self.gate_weights, self.gate_bias = jnp.zeros((width, state_size)), jnp.zeros(state_size)
        self.history_minimum, self.history_maximum = scaling_range(*history_range)
        self.prior_mean, self.activation = prior_mean, activation

    @property
    def state_size(self) -> int:
        """Number of features of the state."""
        return len(self.message_bias)

    @property
    def rule(self) -> "GatedChain":
        """What `reconstruct(network, histories, rule=network.rule, num_samples=1, num_sweeps=1, key=key)` needs."""
        return GatedChain(self.prior_mean)

    def condition(self, history: Float[Array, " history"]) -> Float[Array, "depth width"]:
        """The biases c_l of a history."""
        low, high = jax.lax.stop_gradient((self.history_minimum, self.history_maximum))
        return (((history - low) / (high - low)) @ self.history_weights).reshape(self.biases.shape) + self.biases

    def proposal(
        self, context: Float[Array, "depth width"], y: Float[Array, " state"]
    ) -> tuple[Float[Array, " state"], Float[Array, " state"]]:
        """m, and the gates σ(4 a − 1) in [0, 1]."""
        x = self.hidden(context, y)
        gate = jax.nn.sigmoid(4.0 * (x @ self.gate_weights + self.gate_bias) - 1.0)
        return x @ self.message_weights + self.message_bias, gate

    def hidden(self, context: Float[Array, "depth width"], y: Float[Array, " state"]) -> Float[Array, " width"]:
        """x_depth, the last hidden layer."""
        activate = activation_function(self.activation)
        x = y
        for weights, bias in zip(self.state_weights, context, strict=True):
            x = activate(x @ weights + bias)
        return x

    def denoise(self, context: Float[Array, "depth width"], y: Float[Array, " state"]) -> Float[Array, " state"]:
        """The next message, y + σ(4 a − 1) ∘ (m − y)."""
        m, gate = self.proposal(context, y)
        return y + gate * (m - y)


class GatedChain(CompositionRule):
    """The rule of the gated chain; its denoiser is a `ChainNetwork`, and it needs one sample and one sweep.

    Messages hold no noisy state, so neither the first noise nor what stirs a hop is read.

    Attributes:
        prior_mean: s̄, the network's own.
    """

    prior_mean: Float[Array, " state"]

    def start(self, noise: Float[Array, " state"]) -> Float[Array, " state"]:
        """s̄."""
        return self.prior_mean.astype(noise.dtype)

    def hop(
        self,
        denoiser: Denoiser,
        context: Context,
        message: Float[Array, " state"],
        noise: Float[Array, " state"] | None,
    ) -> Float[Array, " state"]:
        """The network's gated hop."""
        return denoiser.denoise(context, message)

    def state(self, message: Float[Array, " state"]) -> Float[Array, " state"]:
        """The message itself."""
        return message


def chain_losses(
    network: ChainNetwork,
    histories: Float[Array, "batch agents history"],
    states: Float[Array, "batch state"],
    key: PRNGKeyArray,
) -> Float[Array, " batch"]:
    """‖s − y_ℓ‖² of each step, averaged over the hops of a random order of all agents."""
    start = jax.lax.stop_gradient(network.prior_mean)

    def step_loss(histories, state, key):
        contexts = jax.random.permutation(key, jax.vmap(network.condition)(histories))

        def hop(y, context):
            y = network.denoise(context, y)
            return y, jnp.sum((state - y) ** 2)

        return jnp.mean(jax.lax.scan(hop, start, contexts)[1])

    return jax.vmap(step_loss)(histories, states, jax.random.split(key, len(states)))


def build_chain(
    train: JointSteps, width: int = 256, depth: int = 6, activation: Activation = "relu", *, key: PRNGKeyArray
) -> ChainNetwork:
    """An untrained network, whose prior and range of histories come from a sample of the training steps.

    Args:
        train: the joint histories and states that it will learn from, in memory.
        width, depth, activation: of the network.
        key: draws the steps and the initial weights.

    Raises:
        InputError: a size below one, or the episodes are not in memory.
    """
    key_steps, key_weights = jax.random.split(key)
    histories, states = eqx.filter_jit(lambda data: data.sample(key_steps, SAMPLED_STEPS))(arrays_of(train))
    limits = jnp.min(histories, axis=(0, 1)), jnp.max(histories, axis=(0, 1))
    return ChainNetwork(limits, jnp.mean(states, axis=0), width, depth, activation, key=key_weights)
