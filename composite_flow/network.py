"""The learned denoiser: a fully connected network, conditioned on the history by per-layer biases.

    x_0 = y,    x_l = a(x_{l−1} W_l + c_l),  l = 1..depth,    f(τ, y) = x_depth W + b,
    c_l = h(τ) V_l + b_l  in every layer (`history_at="every_layer"`), or in the first alone (`"input"`, the paper's).

h(τ) is the flat history, scaled by a range that comes from the training data. Everything that depends on τ stands
in c = (c_l), so that `condition` is paid once per history and `denoise` is one matrix product per layer, for any
number of noisy states and histories at once. There is no normalisation (appendix B).

Feeding the history to every hidden layer passes the stage in which a network ignores it about eight times sooner
than feeding it at the input; separate fan-ins for the two paths help the same way.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.errors import InputError
from composite_flow.history import HistoryLayout

HistoryAt = Literal["every_layer", "input"]
Activation = Literal["relu", "silu", "gelu", "tanh"]
InitialWeights = Literal["uniform", "identity"]

_ACTIVATIONS = {"relu": jax.nn.relu, "silu": jax.nn.silu, "gelu": jax.nn.gelu, "tanh": jnp.tanh}


class Network(eqx.Module):
    """The denoiser that training fits; one network serves all agents (appendix B).

    Attributes:
        state_weights: W_1..W_depth and W, each `(inputs, outputs)`.
        history_weights: V_1..V_depth side by side (or V_1 alone), `(history, conditioned * width)`.
        biases: b_1..b_depth.
        output_bias: b.
        history_minimum: value of each history column that is mapped to 0; not trained.
        history_maximum: value of each history column that is mapped to 1; not trained.
    """

    state_weights: tuple[Float[Array, "inputs outputs"], ...]
    history_weights: Float[Array, "history conditioned_times_width"]
    biases: Float[Array, "depth width"]
    output_bias: Float[Array, " state"]
    history_minimum: Float[Array, " history"]
    history_maximum: Float[Array, " history"]
    state_size: int = eqx.field(static=True)
    history_size: int = eqx.field(static=True)
    width: int = eqx.field(static=True)
    depth: int = eqx.field(static=True)
    history_at: HistoryAt = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)

    def __init__(
        self,
        layout: HistoryLayout | int,
        state_size: int,
        width: int = 1024,
        depth: int = 6,
        history_at: HistoryAt = "every_layer",
        activation: Activation = "relu",
        *,
        key: PRNGKeyArray,
        initial: InitialWeights = "uniform",
    ):
        """Draw the weights from U[−1, 1] / √fan_in, separately for the state's and the history's path; biases are 0.

        With `initial="identity"` half of these weights is added to weights that carry y and −y through every hidden
        layer, one feature per unit, repeated as often as the width allows; the output starts at 0. A rectified unit
        can then become a threshold of its feature by its bias alone. Without this, a network for a state of a hundred
        features or more falls back to the mean state in its first steps and stays there for long.

        Args:
            layout: layout of the histories, or their number of columns.
            state_size: number of features of the state.
            width: units of a hidden layer.
            depth: number of hidden layers.
            history_at: "every_layer", or "input" (the paper's).
            activation: "relu" (the paper's), or a smooth one where second derivatives matter (Theorem 5).
            key: random key.
            initial: "uniform", or "identity" for states of a hundred features or more.

        Raises:
            InputError: a size below one, or an unknown option.
        """
        history_size = layout if isinstance(layout, int) else layout.size
        check_sizes(history=history_size, state=state_size, width=width, depth=depth)
        _check_option("history_at", history_at, HistoryAt)
        _check_option("activation", activation, Activation)
        _check_option("initial", initial, InitialWeights)
        self.state_size, self.history_size, self.width, self.depth = state_size, history_size, width, depth
        self.history_at, self.activation = history_at, activation
        key_history, *keys_state = jax.random.split(key, depth + 2)
        sizes = (state_size, *(depth * (width,)), state_size)
        shapes = zip(sizes[:-1], sizes[1:], strict=True)
        drawn = tuple(uniform_weights(k, shape) for k, shape in zip(keys_state, shapes, strict=True))
        self.state_weights = drawn if initial == "uniform" else _carrying(drawn)
        self.history_weights = uniform_weights(key_history, (history_size, self.num_conditioned * width))
        self.biases = jnp.zeros((depth, width))
        self.output_bias = jnp.zeros(state_size)
        self.history_minimum = jnp.zeros(history_size)
        self.history_maximum = jnp.ones(history_size)

    @property
    def num_conditioned(self) -> int:
        """Number of hidden layers that see the history."""
        return self.depth if self.history_at == "every_layer" else 1

    def scale_history(self, history: Float[Array, " history"]) -> Float[Array, " history"]:
        """h(τ): each column mapped from its range in the training data to [0, 1]."""
        minimum = jax.lax.stop_gradient(self.history_minimum)
        maximum = jax.lax.stop_gradient(self.history_maximum)
        return (history - minimum) / (maximum - minimum)

    def condition(self, history: Float[Array, " history"]) -> Float[Array, "conditioned width"]:
        """The biases c_l of the layers that see the history."""
        terms = self.scale_history(history) @ self.history_weights
        return terms.reshape(self.num_conditioned, self.width) + self.biases[: self.num_conditioned]

    def denoise(self, context: Float[Array, "conditioned width"], y: Float[Array, " state"]) -> Float[Array, " state"]:
        """f(τ, y), the posterior mean itself, never the residual (Eq. 2)."""
        activate = _ACTIVATIONS[self.activation]
        for layer, weights in enumerate(self.state_weights[:-1]):
            bias = context[layer] if layer < self.num_conditioned else self.biases[layer]
            y = activate(y @ weights + bias)
        return y @ self.state_weights[-1] + self.output_bias

    def with_history_range(self, minimum: Float[Array, " history"], maximum: Float[Array, " history"]) -> "Network":
        """The same network with its history columns scaled from [minimum, maximum] to [0, 1].

        Columns that hold only zeros and ones stay as they are; any other constant column becomes 0.
        """
        low, high = scaling_range(minimum, maximum)
        return eqx.tree_at(lambda n: (n.history_minimum, n.history_maximum), self, (low, high))


def scaling_range(
    minimum: Float[Array, " history"], maximum: Float[Array, " history"]
) -> tuple[Float[Array, " history"], Float[Array, " history"]]:
    """The values of each history column that are mapped to 0 and to 1.

    Columns that hold only zeros and ones stay as they are; any other constant column becomes 0.
    """
    binary = jnp.isin(minimum, jnp.array([0.0, 1.0])) & jnp.isin(maximum, jnp.array([0.0, 1.0]))
    beyond = jnp.where(minimum + 1.0 > minimum, minimum + 1.0, minimum + jnp.abs(minimum))  # of large constants too
    high = jnp.where(binary, 1.0, jnp.where(maximum > minimum, maximum, beyond))
    return jnp.where(binary, 0.0, minimum), high


def uniform_weights(key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "*layers inputs outputs"]:
    """Draw weights from U[−1, 1] / √fan_in, for one layer or several of one size."""
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0) / shape[-2] ** 0.5


def _carrying(drawn: tuple[Float[Array, "_ _"], ...]) -> tuple[Float[Array, "_ _"], ...]:
    """Halve the drawn weights and add weights that carry y and −y through the hidden layers; the output gets zeros."""
    first, *others, output = drawn
    state_size, width = first.shape
    copies = width // state_size
    signs = jnp.repeat(jnp.where(jnp.arange(copies) % 2 == 0, 1.0, -1.0), state_size)
    carried = jnp.tile(jnp.eye(state_size), copies) * signs[None]
    first = 0.5 * first + jnp.pad(carried, ((0, 0), (0, width - copies * state_size)))
    return (first, *(0.5 * weights + jnp.eye(width) for weights in others), jnp.zeros_like(output))


def check_sizes(**sizes: int) -> None:
    """Refuse a size of a network that is below one, by its name."""
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"A network's {name} must have a size of at least 1, not {size}.")


def activation_function(name: Activation) -> Callable[[Float[Array, "*batch units"]], Float[Array, "*batch units"]]:
    """The function that an activation names."""
    return _ACTIVATIONS[name]


def _check_option(name: str, value: str, known: object) -> None:
    if value not in get_args(known):
        raise InputError(f"Unknown {name} {value!r}; choose one of {', '.join(get_args(known))}.")


_SETTINGS = ("history_size", "state_size", "width", "depth", "history_at", "activation")


def network_settings(network: Network) -> dict[str, Any]:
    """What `empty_network` needs; JSON-able."""
    return {name: getattr(network, name) for name in _SETTINGS}


def empty_network(settings: dict[str, Any]) -> Network:
    """A network of the same structure, without its weights."""
    arguments = [settings[name] for name in _SETTINGS]
    return eqx.filter_eval_shape(lambda key: Network(*arguments, key=key), jax.random.key(0))
