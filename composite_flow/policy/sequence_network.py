"""The network of actor and critic: fully connected, with or without a memory over the steps of an episode.

    x ← norm((x, 0, 1)),    x ← norm(relu(W x + b)) in every layer,    h ← GRU(h, x), x ← norm(h),    output = W x + b

after Yu et al. 2022: layer normalisation everywhere, orthogonal weights (gain √2 before a rectifier, 1 in the
recurrent cell), biases zero. The normalisations have no weights of their own: each stands before a linear map, which
can do the same, and their gradients would take as long as all else.
"""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

MemoryKind = Literal["gru", "none"]

_EPSILON = 1e-5  # under the root, for features that are all equal
_ANCHORS = 2  # normalising a vector loses its level and its scale; a 0 and a 1 that go with it keep both


class SequenceNetwork(eqx.Module):
    """Inputs to outputs, step by step.

    Attributes:
        layers: hidden layers; the first has two more inputs, the 0 and the 1.
        cell: the recurrent cell; None in a network without memory.
        head: last layer.
    """

    layers: tuple[eqx.nn.Linear, ...]
    cell: eqx.nn.GRUCell | None
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
        self.layers = tuple(_linear(keys[k], sizes[k], sizes[k + 1], 2.0**0.5) for k in range(depth))
        self.cell = _cell(key_cell, width) if recurrent else None
        self.head = _linear(key_head, width, outputs, gain)
        self.memory_size = width if recurrent else 0

    @property
    def num_inputs(self) -> int:
        """Columns of what it reads."""
        return int(self.layers[0].in_features) - _ANCHORS

    def heard(self, inputs: Float[Array, "agents inputs"]) -> Float[Array, "agents inputs"]:
        """What the team's actor sees of the agents' own inputs: just these, as nobody tells anything."""
        return inputs

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
        cell = self.cell
        if cell is not None:

            def remember(memory, step):
                feature, start = step
                memory = cell(feature, jnp.where(start, 0.0, memory))
                return memory, memory

            memory, memories = jax.lax.scan(remember, memory, (features, starts))
            features = jax.vmap(_normalised)(memories)
        return memory, jax.vmap(self.head)(features)

    def step(
        self, memory: Float[Array, " memory"], inputs: Float[Array, " inputs"]
    ) -> tuple[Float[Array, " memory"], Float[Array, " outputs"]]:
        """Go through one step, the memory being that of its own episode."""
        memory, outputs = self.unroll(memory, inputs[None], jnp.zeros(1, bool))
        return memory, outputs[0]

    def _embed(self, inputs: Float[Array, " inputs"]) -> Float[Array, " width"]:
        features = _normalised(jnp.concatenate([inputs, jnp.array([0.0, 1.0])]))
        for layer in self.layers:
            features = _normalised(jax.nn.relu(layer(features)))
        return features


class Networks(eqx.Module):
    """What MAPPO trains.

    Attributes:
        actor: shared by all agents; a `TalkingActor` where they tell each other what it is taught to.
        critic: V(s); None in a team that only acts and does not need it.
        values: Q(s, a), where the actor's input needs it; else None.
    """

    actor: Any
    critic: Any = None
    values: Any = None

    def least_valued(self, samples: Float[Array, "samples state"]) -> Float[Array, " state"]:
        """The state with the smallest value, arg min V(s) over the samples, by a critic without memory."""
        memory = self.critic.fresh_memory()
        values = jax.vmap(lambda state: self.critic.step(memory, state)[1][0])(samples)
        return samples[jnp.argmin(values)]

    def action_values(
        self, samples: Float[Array, "samples state"], agent: Float[Array, " agents"]
    ) -> Float[Array, "samples actions"]:
        """Q(s, a) of one agent's actions in each state, in the critic's units.

        Args:
            samples: states.
            agent: the agent's number, one-hot.
        """
        memory = self.values.fresh_memory()
        return jax.vmap(lambda state: self.values.step(memory, jnp.concatenate([state, agent]))[1])(samples)


@jax.custom_vjp
def _normalised(features: Float[Array, " features"]) -> Float[Array, " features"]:
    """(x − mean x) / √(var x + ε) over the features.

    Means are products with 1/d, and the gradient is written out: over batches both become matrix products, and a
    whole training step takes less than half the time that it takes with `eqx.nn.LayerNorm`.
    """
    return _normalised_forward(features)[0]


def _normalised_forward(features):
    shares = jnp.full(features.shape, 1.0 / features.size)
    centred = features - features @ shares
    scale = jax.lax.rsqrt(centred**2 @ shares + _EPSILON)
    return centred * scale, (centred * scale, scale)


def _normalised_backward(kept, gradient):
    normalised, scale = kept
    shares = jnp.full(normalised.shape, 1.0 / normalised.size)
    along = gradient * normalised @ shares
    return (scale * (gradient - gradient @ shares - normalised * along),)


_normalised.defvjp(_normalised_forward, _normalised_backward)


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
