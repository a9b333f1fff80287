"""The contract of composition rules: what each agent does with the one message that goes round (§5).

    m_0 = start(y^(0)),    m_ℓ = hop(f, c_{i_ℓ}, m_{ℓ−1}, z_ℓ),    y^(ℓ) = state(m_ℓ)

with y^(0) ~ N(0, σ² I), c_i the context of agent i, f the denoiser that all agents share, and z_ℓ the noise that stirs
a hop, or None. After all participants have spoken, `end_sweep` has its turn. `reconstruct` takes any rule, and so does
a policy's inference; `check_rule` tests whether a rule keeps the contract:

- Everything is one sample, without batch axes; callers `vmap` over samples.
- A message is a pytree of arrays whose shapes and types never change, so it has one size (`message_bytes`). Whatever
  the next agent must know travels in it, such as how many have spoken: a rule knows neither the number of agents nor
  their order, so that a team can lose members.
- A rule draws nothing: noise comes in, and no key. The noise of a whole sweep is drawn at once, and a single agent can
  make its hop from the message alone.

`CompositeDiffusion` is Definition 6. `ParallelMean` is what Definition 6 is compared with, as a rule.
"""

from abc import abstractmethod
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from composite_flow.denoiser import Context, Denoiser

Message = Any


class CompositionRule(eqx.Module):
    """How one message is begun, changed by each agent, and read. A rule may hold arrays of its own."""

    @abstractmethod
    def start(self, noise: Float[Array, " state"]) -> Message:
        """The message that the first agent receives, from a noisy state y^(0). Nothing need be made of the noise."""

    def again(self, y: Float[Array, " state"]) -> Message:
        """The message of an agent to whom the last one was lost, from the state that it holds; by default a new one."""
        return self.start(y)

    @abstractmethod
    def hop(
        self, denoiser: Denoiser, context: Context, message: Message, noise: Float[Array, " state"] | None
    ) -> Message:
        """The message that an agent sends on.

        Args:
            denoiser: shared by all agents.
            context: the agent's own, all that depends on its history.
            message: what it received.
            noise: added to the state that is denoised, to stir it; None adds nothing. A rule whose messages hold no
                noisy state leaves it aside.
        """

    def end_sweep(self, message: Message) -> Message:
        """The message once all participants have spoken; by default as it is."""
        return message

    @abstractmethod
    def state(self, message: Message) -> Float[Array, " state"]:
        """The state that a message stands for, scaled as the data; also in the middle of a sweep."""

    def begun(self, noise: Float[Array, " state"]) -> Float[Array, " state"]:
        """The state that stands at the start, before anybody has spoken."""
        return self.state(self.start(noise))

    @property
    def calls_per_hop(self) -> int:
        """Calls of the denoiser that a hop makes; estimates count them."""
        return 1


class CompositeDiffusion(CompositionRule):
    """Definition 6: each agent denoises what it received, φ_ℓ(y) = f(τ_{i_ℓ}, φ_{ℓ−1}(y)). The message is y."""

    def start(self, noise: Float[Array, " state"]) -> Float[Array, " state"]:
        """y^(0) itself."""
        return noise

    def hop(
        self,
        denoiser: Denoiser,
        context: Context,
        message: Float[Array, " state"],
        noise: Float[Array, " state"] | None,
    ) -> Float[Array, " state"]:
        """f(τ_i, y + z)."""
        return denoiser.denoise(context, message if noise is None else message + noise)

    def state(self, message: Float[Array, " state"]) -> Float[Array, " state"]:
        """y."""
        return message


DEFINITION_6 = CompositeDiffusion()
"""The paper's rule, and the default."""


class RunningMean(NamedTuple):
    """The message of `ParallelMean`: this round's y, the sum of the answers to it, and the number of these."""

    y: Float[Array, " state"]
    total: Float[Array, " state"]
    answers: Float[Array, ""]


class ParallelMean(CompositionRule):
    """All participants denoise the same y, and the mean of their answers is the next: y ← (1/n) Σ_i f(τ_i, y + z_i).

    A sweep is one round, and its order does not matter. Agents who know nothing outvote the few who do.
    """

    def start(self, noise: Float[Array, " state"]) -> RunningMean:
        """y^(0), and no answers."""
        return RunningMean(noise, jnp.zeros_like(noise), jnp.zeros((), noise.dtype))

    def hop(
        self, denoiser: Denoiser, context: Context, message: RunningMean, noise: Float[Array, " state"] | None
    ) -> RunningMean:
        """The agent's answer added to the sum."""
        y, total, answers = message
        return RunningMean(y, total + denoiser.denoise(context, y if noise is None else y + noise), answers + 1)

    def end_sweep(self, message: RunningMean) -> RunningMean:
        """The next round, from the mean of the answers."""
        return self.start(message.total / message.answers)

    def state(self, message: RunningMean) -> Float[Array, " state"]:
        """y: in the middle of a round the last round's result."""
        return message.y


def agent_context(contexts: Context, agent: Int[Array, ""]) -> Context:
    """One agent's context out of a stack with a leading agent axis."""
    return jax.tree.map(lambda leaf: leaf[agent], contexts)


def sweep(
    rule: CompositionRule,
    denoiser: Denoiser,
    contexts: Context,
    order: Int[Array, " hops"],
    message: Message,
    noise: Float[Array, "hops state"] | None = None,
) -> tuple[Message, Message]:
    """Pass one message through agents in turn.

    Args:
        rule: what each of them does with it.
        denoiser: the shared denoiser.
        contexts: `jax.vmap(denoiser.condition)(histories)`, leading axis agents.
        order: indices into that axis, in speaking order.
        message: what the first of them receives.
        noise: what stirs each hop; nothing by default.

    Returns:
        The message at the end of the sweep, and the messages that the agents received, leading axis hops.
    """

    def hop(message, now):
        agent, added = now
        return rule.hop(denoiser, agent_context(contexts, agent), message, added), message

    last, received = jax.lax.scan(hop, message, (order, noise))
    return rule.end_sweep(last), received


def message_bytes(rule: CompositionRule, state_size: int) -> int:
    """Size of the message that carries one sample, as the numbers that it is made of."""
    message = jax.eval_shape(rule.start, jax.ShapeDtypeStruct((state_size,), jnp.float32))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(message))
