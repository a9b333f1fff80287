"""Messages that the policy's own gradient teaches: each agent tells what it makes of its history, and all hear all.

    m_i = speaker(τ_i),    m = Σ m_i / n,    π(a_i) = actor(o_i, m, i)

The sum goes from agent to agent and, once it is whole, from the last one to all others: twice n − 1 messages of m's
size. Nobody says what a message is to mean; no state is inferred.

After Sukhbaatar, Szlam, Fergus: Learning Multiagent Communication with Backpropagation (NeurIPS 2016), with one round
of messages, and histories in the place of a memory.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.history import HistoryLayout
from composite_flow.policy.sequence_network import MemoryKind, SequenceNetwork
from composite_flow.problems.base import Problem


class Talk(eqx.Module):
    """What is told.

    Attributes:
        layout: of the histories of which messages are made.
        numbers: in a message.
    """

    layout: HistoryLayout = eqx.field(static=True)
    numbers: int = eqx.field(static=True)

    @property
    def messages(self) -> int:
        """Sent by the team in a step, from one agent to one other."""
        return 2 * (self.layout.num_agents - 1)

    @property
    def message_bytes(self) -> int:
        """Size of a message, of 32-bit numbers."""
        return 4 * self.numbers


class TalkingActor(eqx.Module):
    """An actor, and the speaker whose messages it hears; on the contract of `SequenceNetwork`.

    Attributes:
        speaker: from a history to a message.
        actor: its inputs hold the message where an agent's own have its history.
        before: columns of an agent's inputs before its history.
    """

    speaker: SequenceNetwork
    actor: SequenceNetwork
    before: int = eqx.field(static=True)

    @property
    def num_inputs(self) -> int:
        """Columns of an agent's own inputs."""
        numbers = int(self.speaker.head.out_features)
        return self.actor.num_inputs - numbers + self.speaker.num_inputs

    def heard(self, inputs: Float[Array, "agents inputs"]) -> Float[Array, "agents seen"]:
        """Of each agent what the actor sees: the mean of all messages in the place of its history."""
        own, histories, number = jnp.split(inputs, [self.before, self.before + self.speaker.num_inputs], axis=1)
        nothing = self.speaker.fresh_memory()
        messages = jax.vmap(lambda history: self.speaker.step(nothing, history)[1])(histories)
        mean = jnp.broadcast_to(jnp.mean(messages, axis=0, keepdims=True), messages.shape)
        return jnp.concatenate([own, mean, number], axis=1)

    def fresh_memory(self) -> Float[Array, " memory"]:
        """The actor's."""
        return self.actor.fresh_memory()

    def unroll(
        self, memory: Float[Array, " memory"], inputs: Float[Array, "steps seen"], starts: Bool[Array, " steps"]
    ) -> tuple[Float[Array, " memory"], Float[Array, "steps outputs"]]:
        """The actor's, of what it sees."""
        return self.actor.unroll(memory, inputs, starts)

    def step(
        self, memory: Float[Array, " memory"], inputs: Float[Array, " seen"]
    ) -> tuple[Float[Array, " memory"], Float[Array, " outputs"]]:
        """The actor's, of what it sees."""
        return self.actor.step(memory, inputs)


def new_actor(
    talk: Talk | None,
    inputs: int,
    outputs: int,
    width: int,
    depth: int,
    memory: MemoryKind,
    gain: float,
    *,
    key: PRNGKeyArray,
) -> "SequenceNetwork | TalkingActor":
    """An actor before it learns; one that hears messages, unless there is no talk.

    Args:
        talk: what agents tell each other; None where they do not.
        inputs: columns of an agent's own inputs: last its history, where it tells of that, and its number.
        outputs, width, depth, memory, gain: of the actor; the speaker has as many hidden layers.
        key: random key.
    """
    if talk is None:
        return SequenceNetwork(inputs, outputs, width, depth, memory, gain=gain, key=key)
    key_speaker, key_actor = jax.random.split(key)
    own, told = inputs - talk.layout.size, talk.numbers
    speaker = SequenceNetwork(talk.layout.size, told, width, depth, "none", gain=1.0, key=key_speaker)
    actor = SequenceNetwork(own + told, outputs, width, depth, memory, gain=gain, key=key_actor)
    return TalkingActor(speaker, actor, own - talk.layout.num_agents)


def talk_of(problem: Problem, history: int) -> Talk:
    """What agents tell each other in a world: as many numbers as the state has, which is what `belief` sends.

    Args:
        problem: the world.
        history: observations that a history holds.
    """
    layout = HistoryLayout(history, problem.observation_size, problem.num_actions, problem.num_agents)
    return Talk(layout, problem.state_size)
