"""A team that acts: what each agent sees and infers, then what it does. Training and trained policies share it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.policy.choices import choose, choose_best, log_probability
from composite_flow.policy.inference import Recollection, after_actions, fresh_recollection, infer
from composite_flow.policy.inputs import Inputs, actor_inputs, what_is_shown
from composite_flow.policy.sequence_network import SequenceNetwork

_INFER = 2**32 - 1  # a number that no agent has, folded into the key


class Networks(eqx.Module):
    """What MAPPO trains.

    Attributes:
        actor: shared by all agents.
        critic: V(s); None in a team that only acts and does not need it.
        values: Q(s, a), where the actor's input needs it; else None.
    """

    actor: SequenceNetwork
    critic: Any = None
    values: Any = None


class Team(eqx.Module):
    """All that decides how a team acts.

    Attributes:
        networks: actor, and what else its input needs.
        inputs: what the actor sees.
        denoiser: shared by all agents; None where nothing is inferred.
    """

    networks: Networks
    inputs: Inputs = Inputs()
    denoiser: Any = None


class TeamMemory(eqx.Module):
    """What a team carries from step to step: each agent's memory, and what it needs to infer the state."""

    actor: Float[Array, "agents memory"]
    recollection: Recollection | None


class Decision(eqx.Module):
    """What a team does in a step, and on what grounds.

    Attributes:
        actions: of each agent.
        log_probabilities: log π of them.
        inputs: of the actor.
        samples: of the states that each agent infers, in scaled units; None where nothing is inferred.
    """

    actions: Int[Array, " agents"]
    log_probabilities: Float[Array, " agents"]
    inputs: Float[Array, "agents inputs"]
    samples: Float[Array, "agents samples state"] | None


def fresh_memory(team: Team, num_agents: int) -> TeamMemory:
    """Before an episode."""
    inference = team.inputs.inference
    memory = jnp.tile(team.networks.actor.fresh_memory()[None], (num_agents, 1))
    return TeamMemory(memory, None if inference is None else fresh_recollection(inference))


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
    recollection, samples, own = memory.recollection, None, None
    if recollection is not None:
        inference = team.inputs.inference
        recollection = infer(inference, team.denoiser, recollection, observations, jax.random.fold_in(key, _INFER))
        samples = recollection.y
        own = inference.scaling.unscale(samples)
    networks = team.networks
    shown = what_is_shown(team.inputs, networks.critic, networks.values, observations, state, own)
    inputs = actor_inputs(team.inputs, observations, shown)
    actor_memory, logits = jax.vmap(networks.actor.step)(memory.actor, inputs)
    if greedy:
        actions = jax.vmap(choose_best)(logits, available)
    else:
        actions = jax.vmap(choose)(jax.random.split(key, len(inputs)), logits, available)
    log_probabilities = jax.vmap(log_probability)(logits, available, actions)
    if recollection is not None:
        recollection = after_actions(recollection, actions)
    return TeamMemory(actor_memory, recollection), Decision(actions, log_probabilities, inputs, samples)
