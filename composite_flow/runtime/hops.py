"""What an agent makes of a message that goes round: by a rule, with the network that the rule's hops are of."""

from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from composite_flow.composite.rule import CompositionRule, Message
from composite_flow.composite.turns import hop_samples
from composite_flow.denoiser import Denoiser
from composite_flow.errors import InputError
from composite_flow.fusion.lacking import lacking
from composite_flow.fusion.over_time.rule import filter_rule
from composite_flow.model import Model
from composite_flow.runtime.carrying import UNKNOWN, Carrying
from composite_flow.runtime.chained import Chained

HopsBy = Literal["denoiser", "chain"]
"""Whose hops an agent makes: the denoiser's, by any rule, or the gated chain's, by its own."""


class Hops:
    """One agent's hops in a step.

    Attributes:
        rule: what is done with the message.
        received: the noisy states that the last hop received; None before it, and where messages hold none.
    """

    received: Float[Array, "samples state"] | None

    def __init__(self, rule: CompositionRule, network: Denoiser, *, of_noisy_states: bool, carried: Any = None):
        """Nothing was heard yet.

        Args:
            rule, network: what is done with the message, and by what.
            of_noisy_states: whether messages hold what the model's denoiser denoises.
            carried: what the agent carries over time.
        """
        self.rule, self._network, self._of_noisy_states = rule, network, of_noisy_states
        self._chained = carried if isinstance(carried, Chained) else None
        self.forget()

    def forget(self) -> None:
        """As at the start of a step."""
        self._context: Any = None
        self.received = None

    def hop(self, history: np.ndarray, messages: Message, noise: Float[Array, "samples state"] | None) -> Message:
        """The messages of all samples as they are sent on."""
        if self._context is None:
            self._context = _conditioned(self._network, jnp.asarray(history))
        sent, received = hop_samples(self.rule, self._network, self._context, messages, noise)
        self.received = received if self._of_noisy_states else None
        return sent

    def begin(self) -> Message:
        """The message of a step's first speaker, of one sample along the leading axis; errors as of `Agent.begin`."""
        if self._chained is not None:
            if self._chained.known is None:
                raise InputError(UNKNOWN)
            return jax.vmap(self.rule.again)(jnp.asarray(self._chained.known)[None])
        if self._of_noisy_states:
            raise InputError("Composite diffusion begins with noise, the same for all members: hand it to `hop`.")
        return jax.vmap(self.rule.start)(jnp.zeros((1, self._network.state_size)))

    def end(self, messages: Message, participants: Sequence[int] | None, step: int, num_agents: int) -> bool:
        """Carry a message on from where it ended; arguments and errors as of `Agent.end`."""
        if self._chained is None:
            raise InputError("Only a chain's message over time is carried on from where it ended.")
        agents = np.arange(num_agents)
        whose = np.isin(agents, agents if participants is None else list(participants))
        (mean,) = np.asarray(jax.vmap(self.rule.state)(messages))
        return self._chained.take(step, mean, whose)


def hops_of(model: Model, rule: CompositionRule, by: HopsBy, carried: Carrying | Chained | None) -> Hops:
    """The hops of an agent; a chain that it carries over time goes by the chain's own rule.

    Raises:
        InputError: the model learned no gated chain, and its hops are asked for.
    """
    fusion = model.fusion
    if isinstance(carried, Chained):
        assert fusion is not None, "a filter is learned beside fusion"
        network, own = filter_rule(fusion)
        return Hops(own, network, of_noisy_states=False, carried=carried)
    if by == "denoiser":
        return Hops(rule, model.denoiser, of_noisy_states=True)
    if fusion is None or fusion.chain is None:
        raise lacking("chain", fusion=fusion is None)
    return Hops(fusion.chain.rule, fusion.chain, of_noisy_states=False)


@eqx.filter_jit
def _conditioned(network, history):
    return network.condition(history)
