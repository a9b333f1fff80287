"""How a team infers the state while it acts: local histories that grow step by step, and a few calls of the denoiser.

Each agent alone: y ← f(τ_i, y), from each of its samples, or what else a composition rule makes of its own history.
Together, by composite diffusion or another rule: one message goes through all agents, in a new order each time, and
each of them acts on the state that it sent on last, or all on the last message. Or each agent tells all others its
answer, and draws samples of the team's joint posterior. Only histories and denoiser decide; the true state is never
read.

Where all are to act on the last message and messages may be lost, every message is sent to all, and each agent misses
it by itself. It goes on from the last one that it heard, which holds what was said before.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.composite.rule import DEFINITION_6, CompositionRule, Message, agent_context, message_bytes
from composite_flow.data.scaling import Scaling
from composite_flow.denoiser import Denoiser
from composite_flow.history import History, HistoryLayout
from composite_flow.policy.team_samples import heard_by_each
from composite_flow.policy.window import fresh_window, with_actions, with_observations


class Inference(eqx.Module):
    """How the state is inferred in each step.

    Attributes:
        layout: of the local histories.
        scaling: of states to [0, 1].
        calls: of the denoiser by each agent.
        samples: that each agent draws; composite diffusion has one.
        warm: whether a step starts from the last step's estimate.
        together: by a composition rule, instead of each agent alone.
        lost: chance that a message is lost; who should have got it goes on from what it has: its own y, or where
            messages are `shared` the last one that it heard.
        rule: what agents do with a message; by default composite diffusion's.
        shared: whether all agents act on the last message, which its sender tells all others, instead of each on what
            it sent on itself.
        team_answer: numbers in an answer, where samples are of the team's joint posterior, by a `TeamSampler` in the
            place of the denoiser, and each agent tells all others its answer; 0 where they are the agent's own.
    """

    layout: HistoryLayout = eqx.field(static=True)
    scaling: Scaling
    calls: int = eqx.field(static=True)
    samples: int = eqx.field(static=True)
    warm: bool = eqx.field(static=True, default=True)
    together: bool = eqx.field(static=True, default=False)
    lost: float = eqx.field(static=True, default=0.0)
    rule: CompositionRule = DEFINITION_6
    shared: bool = eqx.field(static=True, default=False)
    team_answer: int = eqx.field(static=True, default=0)

    @property
    def sends(self) -> bool:
        """Whether agents send messages."""
        return self.together or self.team_answer > 0

    @property
    def holds_one(self) -> bool:
        """Whether all agents of the team hold one and the same state, so that there is no spread among them."""
        alike = self.layout.num_agents == 1 or ((self.shared or self.team_answer > 0) and not self.lost)
        return alike and self.samples == 1

    @property
    def messages(self) -> int:
        """Sent by the team in a step, from one agent to one other: one per hop, and the last one to all where it is
        shared; to all every one that is shared and may be lost, and every answer.

        The last one starts the next step, where `warm`.
        """
        others, hops = self.layout.num_agents - 1, self.calls * self.layout.num_agents if self.together else 0
        if self.team_answer:
            return self.layout.num_agents * others
        if not self.shared:
            return hops
        return hops * others if self.lost else hops + others

    @property
    def message_bytes(self) -> int:
        """Size of a message: by composite diffusion one state of 32-bit numbers."""
        if self.team_answer:
            return 4 * self.team_answer
        return message_bytes(self.rule, len(self.scaling.minimum))


class Recollection(eqx.Module):
    """What a team keeps from one step to the next; before an episode, `fresh_recollection`.

    Attributes:
        window: each agent's local history, with agents along the leading axis.
        y: where each agent's samples stand, in scaled units.
        message: the last one sent.
    """

    window: History
    y: Float[Array, "agents samples state"]
    message: Message


def fresh_recollection(inference: Inference) -> Recollection:
    """Nothing was seen, nothing inferred."""
    layout, state_size = inference.layout, len(inference.scaling.minimum)
    message = inference.rule.start(jnp.zeros(state_size))
    y = jnp.zeros((layout.num_agents, inference.samples, state_size))
    return Recollection(fresh_window(layout), y, message)


def infer(
    inference: Inference,
    denoiser: Any,
    recollection: Recollection,
    observations: Float[Array, "agents observation"],
    key: PRNGKeyArray,
) -> Recollection:
    """What the team makes of its next observations: longer histories, and estimates y of the state now.

    Each history is turned into a context once. An episode's first step starts from noise y ~ N(0, I), and so does every
    step where inference is not warm.

    Args:
        inference: how.
        denoiser: shared by all agents; a `TeamSampler` where samples are of the team's joint posterior.
        recollection: of the step before.
        observations: what each agent sees now.
        key: random key.
    """
    key_noise, key_hops = jax.random.split(key)
    begun = recollection.window.mask[0, -1]
    window = with_observations(recollection.window, observations)
    if inference.team_answer:
        y = _of_team(inference, denoiser, inference.layout.encode(window), key_noise, key_hops)
        return Recollection(window, y, recollection.message)
    contexts = jax.vmap(denoiser.condition)(inference.layout.encode(window))
    noise = jax.random.normal(key_noise, (len(observations) + 1, *recollection.y.shape[1:]))
    from_noise = ~begun | (not inference.warm)
    y = jnp.where(from_noise, jax.vmap(jax.vmap(inference.rule.begun))(noise[1:]), recollection.y)
    message = _either(from_noise, inference.rule.start(noise[0, 0]), recollection.message)
    if inference.shared and inference.lost:
        y = _all_to_all(inference, denoiser, contexts, y, key_hops)
    elif inference.together:
        y, message = _together(inference, denoiser, contexts, y, message, key_hops)
    else:
        y = _alone(inference, denoiser, contexts, y)
    return Recollection(window, y, message)


def after_actions(recollection: Recollection, actions: Int[Array, " agents"]) -> Recollection:
    """The histories with what each agent has just done."""
    return Recollection(with_actions(recollection.window, actions), recollection.y, recollection.message)


def _alone(inference: Inference, denoiser: Denoiser, contexts, y):
    """Each agent's flow of each of its samples; by another rule what it makes of a message of its own."""
    rule = inference.rule

    def call(context, y):
        return rule.state(rule.end_sweep(rule.hop(denoiser, context, rule.again(y), None)))

    each = jax.vmap(jax.vmap(call, in_axes=(None, 0)))
    return jax.lax.fori_loop(0, inference.calls, lambda _, y: each(contexts, y), y)


def _all_to_all(inference: Inference, denoiser: Denoiser, contexts, y, key):
    """By the rule, where every message is sent to all and each may miss it; each holds the last one that it heard."""
    key_order, key_lost = jax.random.split(key)
    num_agents, rule = len(y), inference.rule
    order = _orders(inference, num_agents, key_order)

    def hop(held, step):
        agent, key_hop = step
        sent = rule.hop(denoiser, agent_context(contexts, agent), agent_context(held, agent), None)
        hears = ~jax.random.bernoulli(key_hop, inference.lost, (num_agents,))
        hears = hears.at[agent].set(True)
        return jax.vmap(_either, in_axes=(0, None, 0))(hears, sent, held), None

    def sweep(held, steps):
        return jax.vmap(rule.end_sweep)(jax.lax.scan(hop, held, steps)[0]), None

    keys = jax.random.split(key_lost, order.size).reshape(order.shape)
    held = jax.lax.scan(sweep, jax.vmap(rule.again)(y[:, 0]), (order, keys))[0]
    return jax.vmap(rule.state)(held)[:, None]


def _orders(inference: Inference, num_agents: int, key: PRNGKeyArray) -> Int[Array, "calls agents"]:
    """An order of the agents for each sweep."""
    agents = jnp.broadcast_to(jnp.arange(num_agents, dtype=jnp.int32)[None], (inference.calls, num_agents))
    return jax.random.permutation(key, agents, axis=1, independent=True)


def _of_team(inference: Inference, sampler: Any, histories, key_samples, key_lost):
    """Samples of the joint posterior of what each agent heard."""
    heard = heard_by_each(len(histories), inference.lost, key_lost)
    drawn = sampler.samples(histories, heard, inference.samples, key_samples)
    return jnp.broadcast_to(drawn, (len(histories), *drawn.shape[1:]))


def _together(inference: Inference, denoiser: Denoiser, contexts, y, message, key):
    """By the rule: as many sweeps as calls, each in an order of its own."""
    key_order, key_lost = jax.random.split(key)
    num_agents, rule = len(y), inference.rule
    order = _orders(inference, num_agents, key_order)

    def hop(carry, step):
        (y, message), (agent, key_hop) = carry, step
        if inference.lost:
            is_lost = jax.random.bernoulli(key_hop, inference.lost)
            message = _either(is_lost, rule.again(y[agent, 0]), message)
        message = rule.hop(denoiser, agent_context(contexts, agent), message, None)
        return (y.at[agent, 0].set(rule.state(message)), message), None

    def sweep(carry, steps):
        y, message = jax.lax.scan(hop, carry, steps)[0]
        return (y, rule.end_sweep(message)), None

    keys = jax.random.split(key_lost, order.size).reshape(order.shape)
    y, message = jax.lax.scan(sweep, (y, message), (order, keys))[0]
    return (jnp.broadcast_to(rule.state(message), y.shape) if inference.shared else y), message


def _either(condition: Bool[Array, ""], first: Message, second: Message) -> Message:
    """The first message where the condition holds, else the second."""
    return jax.tree.map(lambda *leaves: jnp.where(condition, *leaves), first, second)
