"""Chains that filter: one message of the state's size goes from agent to agent, and on to the next step.

    gated       y ← y + σ(4 a − 1) ∘ (m − y),    (m, a) = f(τ_i, first, y)
    residual    y ← y + f(τ_i, first, y)

`first` tells the first speaker of a step that the world has moved since the message was sent: a chain needs no other
prediction. A message is a mean of the state given all that was said; it claims no precision.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.fusion.answers import Prior
from composite_flow.fusion.over_time.carried import Carried, TeamFilter
from composite_flow.fusion.over_time.reader import Reader
from composite_flow.network import uniform_weights

_INITIAL = 0.1  # of the output weights, so that a chain begins by passing its message on


class ChainFilter(TeamFilter):
    """A chain over agents and steps.

    Attributes:
        reader: the hidden layers; its known inputs are y and whether the speaker is the step's first.
        change_weights: of f, or of m.
        gate_weights, gate_bias: of a; None in a residual chain.
        prior: of the training states; its mean, with which an episode begins, is trained further.
        kind: gated or residual.
    """

    reader: Reader
    change_weights: Float[Array, "width state"]
    gate_weights: Float[Array, "width state"] | None
    gate_bias: Float[Array, " state"] | None
    prior: Prior
    kind: Literal["gated", "residual"] = eqx.field(static=True)

    def __init__(self, kind: Literal["gated", "residual"], reader: Reader, prior: Prior, *, key: PRNGKeyArray):
        """Output weights are small, so that at first the message hardly changes."""
        self.reader, self.prior, self.kind = reader, prior, kind
        size, width = len(prior.mean), reader.width
        self.change_weights = _INITIAL * uniform_weights(key, (width, size))
        self.gate_weights = jnp.zeros((width, size)) if kind == "gated" else None
        self.gate_bias = jnp.zeros(size) if kind == "gated" else None

    @property
    def values_sent(self) -> int:
        """A number a feature."""
        return len(self.prior.mean)

    def predict(self, carried: Carried) -> Carried:
        """The message as it was sent; the next step's first speaker knows that it is old."""
        return carried

    def hop(
        self, context: Float[Array, "depth width"], y: Float[Array, " state"], first: Float[Array, ""]
    ) -> Float[Array, " state"]:
        """The next message."""
        x = self.reader.read(context, jnp.append(y, first))
        change = x @ self.change_weights
        if self.gate_weights is None or self.gate_bias is None:
            return y + change
        gate = jax.nn.sigmoid(4.0 * (x @ self.gate_weights + self.gate_bias) - 1.0)
        return y + gate * (jax.lax.stop_gradient(self.prior.mean) + change - y)

    def hear(
        self,
        predicted: Carried,
        histories: Float[Array, "agents history"],
        participants: Bool[Array, " agents"],
        key: PRNGKeyArray,
    ) -> tuple[Carried, Carried]:
        """Each participant once, in a random order."""
        order = jax.random.permutation(key, len(histories))
        contexts = jax.vmap(self.reader.condition)(histories)

        def turn(message, agent):
            y, spoken = message
            speaks = participants[agent]
            y = jnp.where(speaks, self.hop(contexts[agent], y, jnp.where(spoken, 0.0, 1.0)), y)
            return (y, spoken | speaks), y

        (y, _), after_each = jax.lax.scan(turn, (predicted.mean, jnp.array(False)), order)
        return _without_claim(y), jax.vmap(_without_claim)(after_each)

    @property
    def initial(self) -> Carried:
        """The prior's mean, trained further."""
        return _without_claim(self.prior.mean)


def _without_claim(y: Float[Array, " state"]) -> Carried:
    nothing = jnp.zeros_like(y)
    return Carried(y, nothing, nothing)
