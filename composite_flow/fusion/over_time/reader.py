"""A network that reads an agent's history beside what the team knows already.

    x_0 = y,    x_l = a(x_{l−1} W_l + V_l τ + b_l)

y holds what is known, in numbers of comparable size: means, and the logarithms of weights relative to the prior's.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.fusion.answers import Prior
from composite_flow.fusion.over_time.carried import Carried
from composite_flow.network import Activation, activation_function, check_sizes, scaling_range, uniform_weights

LOGARITHM_SCALE = 4.0


class Reader(eqx.Module):
    """The hidden layers.

    Attributes:
        known_weights: W_1..W_depth.
        history_weights: V_1..V_depth side by side.
        biases: b_1..b_depth.
        history_minimum, history_maximum: range of each history column, which is mapped to [0, 1]; not trained.
    """

    known_weights: tuple[Float[Array, "inputs width"], ...]
    history_weights: Float[Array, "history depth_times_width"]
    biases: Float[Array, "depth width"]
    history_minimum: Float[Array, " history"]
    history_maximum: Float[Array, " history"]
    activation: Activation = eqx.field(static=True)

    def __init__(
        self,
        history_range: tuple[Float[Array, " history"], Float[Array, " history"]],
        known_size: int,
        width: int = 128,
        depth: int = 3,
        activation: Activation = "relu",
        *,
        key: PRNGKeyArray,
    ):
        """Draw the weights from U[−1, 1] / √fan_in; biases are 0.

        Raises:
            InputError: a size below one.
        """
        history_size = len(history_range[0])
        check_sizes(history=history_size, known=known_size, width=width, depth=depth)
        key_history, *keys = jax.random.split(key, depth + 1)
        shapes = [(known_size if layer == 0 else width, width) for layer in range(depth)]
        self.known_weights = tuple(uniform_weights(k, shape) for k, shape in zip(keys, shapes, strict=True))
        self.history_weights = uniform_weights(key_history, (history_size, depth * width))
        self.biases = jnp.zeros((depth, width))
        self.history_minimum, self.history_maximum = scaling_range(*history_range)
        self.activation = activation

    @property
    def width(self) -> int:
        """Units of a layer."""
        return self.biases.shape[1]

    def condition(self, history: Float[Array, " history"]) -> Float[Array, "depth width"]:
        """V_l τ + b_l of every layer."""
        low, high = jax.lax.stop_gradient((self.history_minimum, self.history_maximum))
        return (((history - low) / (high - low)) @ self.history_weights).reshape(self.biases.shape) + self.biases

    def read(self, context: Float[Array, "depth width"], known: Float[Array, " inputs"]) -> Float[Array, " width"]:
        """The last hidden layer."""
        activate, x = activation_function(self.activation), known
        for weights, bias in zip(self.known_weights, context, strict=True):
            x = activate(x @ weights + bias)
        return x


def in_numbers(carried: Carried, prior: Prior) -> Float[Array, " inputs"]:
    """What is known, as a network reads it: means, and where features are numbers ¼ log of weights over the prior's."""
    prior, numbers = jax.lax.stop_gradient(prior), prior.types.is_number
    if not numbers.any():
        return carried.mean
    places = jnp.asarray(numbers.nonzero()[0])
    weight = jnp.log(carried.weight[places] / prior.precision[places]) / LOGARITHM_SCALE
    return jnp.concatenate([carried.mean, weight])


def size_in_numbers(prior: Prior) -> int:
    """How many numbers `in_numbers` gives."""
    return prior.types.size + int(prior.types.is_number.sum())
