"""The network of actor and critic: fully connected, with or without a memory over the steps of an episode.

    x ← norm((x, 0, 1)),    x ← norm(relu(W x + b)) in every layer,    h ← GRU(h, x), x ← norm(h),    output = W x + b

after Yu et al. 2022: layer normalisation everywhere, orthogonal weights (gain √2 before a rectifier, 1 in the
recurrent cell), biases zero.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

MemoryKind = Literal["gru", "none"]

_ANCHORS = 2  # normalising a vector loses its level and its scale; a 0 and a 1 that go with it keep both


class SequenceNetwork(eqx.Module):
    """Inputs to outputs, step by step.

    Attributes:
        input_norm: of the inputs with a 0 and a 1 beside them.
        layers, norms: hidden layers, each with the normalisation after its rectifier.
        cell, memory_norm: the recurrent cell and its normalisation; None in a network without memory.
        head: last layer.
    """

    input_norm: eqx.nn.LayerNorm
    layers: tuple[eqx.nn.Linear, ...]
    norms: tuple[eqx.nn.LayerNorm, ...]
    cell: eqx.nn.GRUCell | None
    memory_norm: eqx.nn.LayerNorm | None
    head: eqx.nn.Linear
    memory_size: int = eqx.field(static=True)

    def __init__(
        self, inputs: int, outputs: int, width: int, depth: int, memory: MemoryKind, gain: float, *, key: PRNGKeyArray
    ):
        """Draw the weights.

        Args:
            inputs: number of inputs.
            outputs: number of outputs.
            width: units of a hidden layer and of the memory.
            depth: number of hidden layers before the memory.
            memory: "gru", or "none".
            gain: of the last layer.
            key: random key.
        """
        key_head, key_cell, *keys = jax.random.split(key, depth + 2)
        sizes = (inputs + _ANCHORS, *(depth * (width,)))
        recurrent = memory == "gru"
        self.input_norm = eqx.nn.LayerNorm(sizes[0])
        self.layers = tuple(_linear(keys[k], sizes[k], sizes[k + 1], 2.0**0.5) for k in range(depth))
        self.norms = tuple(eqx.nn.LayerNorm(width) for _ in range(depth))
        self.cell = _cell(key_cell, width) if recurrent else None
        self.memory_norm = eqx.nn.LayerNorm(width) if recurrent else None
        self.head = _linear(key_head, width, outputs, gain)
        self.memory_size = width if recurrent else 0

    def fresh_memory(self) -> Float[Array, " memory"]:
        """What is remembered before an episode: zeros, or nothing at all."""
        return jnp.zeros(self.memory_size)

    def unroll(
        self,
        memory: Float[Array, " memory"],
        inputs: Float[Array, "steps inputs"],
        starts: Bool[Array, " steps"],
    ) -> tuple[Float[Array, " memory"], Float[Array, "steps outputs"]]:
        """Go through some steps; where one starts an episode, what came before is forgotten."""
        features = jax.vmap(self._embed)(inputs)
        cell, norm = self.cell, self.memory_norm
        if cell is not None and norm is not None:

            def remember(memory, step):
                feature, start = step
                memory = cell(feature, jnp.where(start, 0.0, memory))
                return memory, memory

            memory, memories = jax.lax.scan(remember, memory, (features, starts))
            features = jax.vmap(norm)(memories)
        return memory, jax.vmap(self.head)(features)

    def step(
        self, memory: Float[Array, " memory"], inputs: Float[Array, " inputs"]
    ) -> tuple[Float[Array, " memory"], Float[Array, " outputs"]]:
        """Go through one step, the memory being that of its own episode."""
        memory, outputs = self.unroll(memory, inputs[None], jnp.zeros(1, bool))
        return memory, outputs[0]

    def _embed(self, inputs: Float[Array, " inputs"]) -> Float[Array, " width"]:
        features = self.input_norm(jnp.concatenate([inputs, jnp.array([0.0, 1.0])]))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            features = norm(jax.nn.relu(layer(features)))
        return features


def _orthogonal(key: PRNGKeyArray, shape: tuple[int, ...], gain: float) -> Float[Array, "_ _"]:
    return jax.nn.initializers.orthogonal(gain)(key, shape, jnp.float32)


def _linear(key: PRNGKeyArray, inputs: int, outputs: int, gain: float) -> eqx.nn.Linear:
    layer = eqx.nn.Linear(inputs, outputs, key=key)
    weights = (_orthogonal(key, (outputs, inputs), gain), jnp.zeros(outputs))
    return eqx.tree_at(lambda part: (part.weight, part.bias), layer, weights)


def _cell(key: PRNGKeyArray, width: int) -> eqx.nn.GRUCell:
    cell = eqx.nn.GRUCell(width, width, key=key)
    key_input, key_memory = jax.random.split(key)
    weights = tuple(_orthogonal(part, (3 * width, width), 1.0) for part in (key_input, key_memory))
    biases = jnp.zeros(3 * width), jnp.zeros(width)
    return eqx.tree_at(lambda part: (part.weight_ih, part.weight_hh, part.bias, part.bias_n), cell, weights + biases)
