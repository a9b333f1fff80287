"""A team that acts: what each agent sees and infers, then what it does. Training and trained policies share it.

An agent chooses among available actions, π(a) ∝ exp(logit_a) on those, zero on all others.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.history import History
from composite_flow.policy.inference import Recollection, after_actions, fresh_recollection, infer
from composite_flow.policy.inputs import OWN_ALONE, Known, OwnObservation, PolicyInput
from composite_flow.policy.sequence_network import Networks
from composite_flow.policy.window import fresh_window, with_actions, with_observations

_INFER = 2**32 - 1  # a number that no agent has, folded into the key


class Team(eqx.Module):
    """All that decides how a team acts.

    Attributes:
        networks: actor, and what else its input needs.
        inputs: what the actor sees.
        denoiser: shared by all agents; None where nothing is inferred.
    """

    networks: Networks
    inputs: PolicyInput = OwnObservation(OWN_ALONE)
    denoiser: Any = None


class TeamMemory(eqx.Module):
    """What a team carries from step to step: each agent's memory, what it needs to infer the state, and the history of
    which it tells others."""

    actor: Float[Array, "agents memory"]
    recollection: Recollection | None
    window: History | None = None


class Decision(eqx.Module):
    """What a team does in a step, and on what grounds.

    Attributes:
        actions: of each agent.
        log_probabilities: log π of them.
        inputs: of the actor, before agents hear each other.
        samples: of the states that each agent infers, in scaled units; None where nothing is inferred.
    """

    actions: Int[Array, " agents"]
    log_probabilities: Float[Array, " agents"]
    inputs: Float[Array, "agents inputs"]
    samples: Float[Array, "agents samples state"] | None


def fresh_memory(team: Team, num_agents: int) -> TeamMemory:
    """Before an episode."""
    inference, talk = team.inputs.inference, team.inputs.talk
    memory = jnp.tile(team.networks.actor.fresh_memory()[None], (num_agents, 1))
    window = None if talk is None else fresh_window(talk.layout)
    return TeamMemory(memory, None if inference is None else fresh_recollection(inference), window)


def decide(
    team: Team,
    key: PRNGKeyArray,
    memory: TeamMemory,
    observations: Float[Array, "agents observation"],
    available: Bool[Array, "agents actions"],
    state: Float[Array, " state"] | None = None,
    greedy: bool = False,
) -> tuple[TeamMemory, Decision]:
    """One step of a team.

    Args:
        team: who acts.
        key: random key.
        memory: from the step before.
        observations: what each agent sees.
        available: which actions each agent may take.
        state: the true one, read only where the team's input is the state.
        greedy: take the likeliest actions instead of drawing them.
    """
    recollection, window, samples, own, histories = memory.recollection, memory.window, None, None, None
    if recollection is not None:
        inference = team.inputs.inference
        recollection = infer(inference, team.denoiser, recollection, observations, jax.random.fold_in(key, _INFER))
        samples, histories = recollection.y, recollection.window
        own = inference.scaling.unscale(samples)
    if window is not None:
        histories = window = with_observations(window, observations)
    inputs = team.inputs.rows(Known(observations, state, own, histories, team.networks, team.denoiser))
    actor = team.networks.actor
    actor_memory, logits = jax.vmap(actor.step)(memory.actor, actor.heard(inputs))
    if greedy:
        actions = jax.vmap(choose_best)(logits, available)
    else:
        actions = jax.vmap(choose)(jax.random.split(key, len(inputs)), logits, available)
    log_probabilities = jax.vmap(log_probability)(logits, available, actions)
    if recollection is not None:
        recollection = after_actions(recollection, actions)
    if window is not None:
        window = with_actions(window, actions)
    return TeamMemory(actor_memory, recollection, window), Decision(actions, log_probabilities, inputs, samples)


def masked(logits: Float[Array, " actions"], available: Bool[Array, " actions"]) -> Float[Array, " actions"]:
    """The logits, −∞ where an action is not available."""
    return jnp.where(available, logits, -jnp.inf)


def choose(key: PRNGKeyArray, logits: Float[Array, " actions"], available: Bool[Array, " actions"]) -> Int[Array, ""]:
    """Draw an action from π."""
    return jax.random.categorical(key, masked(logits, available)).astype(jnp.int32)


def choose_best(logits: Float[Array, " actions"], available: Bool[Array, " actions"]) -> Int[Array, ""]:
    """The likeliest action; the first of equals."""
    return jnp.argmax(masked(logits, available)).astype(jnp.int32)


def log_probability(
    logits: Float[Array, " actions"], available: Bool[Array, " actions"], action: Int[Array, ""]
) -> Float[Array, ""]:
    """log π(a)."""
    logarithms = jax.nn.log_softmax(masked(logits, available))
    # A sum instead of an index, whose gradient would be a slow scatter.
    return jnp.sum(jnp.where(jnp.arange(len(logits)) == action, logarithms, 0.0))


def entropy(logits: Float[Array, " actions"], available: Bool[Array, " actions"]) -> Float[Array, ""]:
    """−Σ π log π over the available actions.

    The logarithms of zero are replaced before they are multiplied, as 0 · ∞ would also spoil the gradient.
    """
    logarithms = jax.nn.log_softmax(masked(logits, available))
    return -jnp.sum(jnp.exp(logarithms) * jnp.where(available, logarithms, 0.0))


def has_choice(available: Bool[Array, "*agents actions"]) -> Bool[Array, "*agents"]:
    """Whether there is more than one action to choose from."""
    return jnp.sum(available, axis=-1) > 1
