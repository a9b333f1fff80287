"""Fusion: answers add up, for any subset of the team, in any order.

    numbers            ŝ_A = s̄ + Σ η_i / (P_0 + Σ λ_i),    P_A = P_0 + Σ ρ_i
    binary features    logit ŝ_A = logit s̄ + Σ l_i
    one of k           log ŝ_A = log s̄ + Σ l_i, normalised

with sums over the participants A. Where λ = ρ this is the product of Gaussians in information form, as in an
information filter; for the other types a log-opinion pool. Each agent sends one answer, so that n participants make
n messages, and a lost answer is an agent that does not take part.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answer, Answers, Prior
from composite_flow.fusion.posterior import posterior
from composite_flow.fusion.team_estimate import TeamEstimate

_AT_ONCE = 256  # joint histories, so that memory is bounded


def taking_part(num_agents: int, participants: Sequence[int] | None) -> Bool[np.ndarray, " agents"]:
    """Which agents take part; all of them where none is named.

    Raises:
        InputError: none is left, one is unknown, or one is named twice, whose answer would count twice.
    """
    if participants is None:
        return np.ones(num_agents, bool)
    named = [int(agent) for agent in participants]
    if not named:
        raise InputError("participants is empty; name at least one agent whose answer counts.")
    unknown = [agent for agent in named if not 0 <= agent < num_agents]
    if unknown:
        raise InputError(f"participants names agent {unknown[0]}, but the agents are 0 to {num_agents - 1}.")
    if len(set(named)) < len(named):
        raise InputError("participants names an agent twice; an answer counts once.")
    return np.isin(np.arange(num_agents), named)


def add_up(answers: Answer, participants: Bool[Array, " agents"]) -> Answer:
    """The sum of the participants' answers."""

    def total(part: Float[Array, "agents numbers"]) -> Float[Array, " numbers"]:
        return jnp.sum(jnp.where(participants[:, None], part, 0.0), axis=0)

    return jax.tree.map(total, answers)


def fuse(prior: Prior, answers: Answer, participants: Bool[Array, " agents"]) -> TeamEstimate:
    """What the participants say together.

    Args:
        prior: of the model that answered.
        answers: of every agent, agents along the leading axis; those of others than participants are not read.
        participants: which of them count; `taking_part` makes it from a list.
    """
    numbers = prior.types.values_sent + answers.free.shape[-1]
    return estimate_of(prior, add_up(answers, participants), participants, numbers)


def estimate_of(prior: Prior, total: Answer, participants: Bool[Array, " agents"], values_sent: int) -> TeamEstimate:
    """What the participants say whose answers add up to this."""
    mean, variance = posterior(prior, total)
    messages, uncertainty = jnp.sum(participants, dtype=jnp.int32), jnp.sqrt(jnp.sum(variance))
    sent = 4 * values_sent
    return TeamEstimate(mean, variance, participants, messages, sent, prior.types, uncertainty=uncertainty)


@eqx.filter_jit
def fuse_each(
    answers: Answers, histories: Float[Array, "joint agents history"], participants: Bool[Array, "joint agents"]
) -> TeamEstimate:
    """What the participants of each of many joint histories say together; nobody else's history is read."""

    def of_team(example):
        each, team = example
        team = team & answers.there(each)
        total = answers.team_sums(jnp.where(team[:, None], each, 0.0), team[None])
        return estimate_of(answers.prior, jax.tree.map(lambda part: part[0], total), team, answers.values_sent)

    return jax.lax.map(of_team, (histories, participants), batch_size=_AT_ONCE)
