"""A fully connected network on a few inputs, conditioned on a message by the biases of every hidden layer.

    x_1 = a(u U + c_1),    x_l = a(x_{l−1} W_l + c_l),    output = x_depth W + b,    c_l = m V_l + b_l

The denoiser's network (`composite_flow.network`) maps a noisy state to a state. This one has inputs and outputs of any
two sizes.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.network import Activation, activation_function, check_sizes, uniform_weights


class MessageNetwork(eqx.Module):
    """The network; its output starts at 0.

    Attributes:
        input_weights: U.
        hidden_weights: W_2..W_depth.
        message_weights: V_1..V_depth side by side.
        biases: b_1..b_depth.
        output_weights: W.
        output_bias: b.
    """

    input_weights: Float[Array, "inputs width"]
    hidden_weights: tuple[Float[Array, "width width"], ...]
    message_weights: Float[Array, "message depth_times_width"]
    biases: Float[Array, "depth width"]
    output_weights: Float[Array, "width outputs"]
    output_bias: Float[Array, " outputs"]
    activation: Activation = eqx.field(static=True)

    def __init__(
        self,
        message_size: int,
        num_inputs: int,
        num_outputs: int,
        width: int,
        depth: int,
        activation: Activation = "relu",
        *,
        key: PRNGKeyArray,
    ):
        """Draw the weights from U[−1, 1] / √fan_in, but for those of the output.

        Raises:
            InputError: a size below one.
        """
        check_sizes(message=message_size, inputs=num_inputs, outputs=num_outputs, width=width, depth=depth)
        key_input, key_message, *keys_hidden = jax.random.split(key, depth + 1)
        self.input_weights = uniform_weights(key_input, (num_inputs, width))
        self.hidden_weights = tuple(uniform_weights(k, (width, width)) for k in keys_hidden)
        self.message_weights = uniform_weights(key_message, (message_size, depth * width))
        self.biases = jnp.zeros((depth, width))
        self.output_weights, self.output_bias = jnp.zeros((width, num_outputs)), jnp.zeros(num_outputs)
        self.activation = activation

    @property
    def width(self) -> int:
        """Units of a hidden layer."""
        return self.biases.shape[1]

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.biases)

    def condition(self, message: Float[Array, " message"]) -> Float[Array, "depth width"]:
        """The biases c_l."""
        return (message @ self.message_weights).reshape(self.biases.shape) + self.biases

    def __call__(
        self, biases: Float[Array, "depth width"], inputs: Float[Array, " inputs"]
    ) -> Float[Array, " outputs"]:
        """The outputs."""
        activate = activation_function(self.activation)
        x = activate(inputs @ self.input_weights + biases[0])
        for weights, bias in zip(self.hidden_weights, biases[1:], strict=True):
            x = activate(x @ weights + bias)
        return x @ self.output_weights + self.output_bias
