"""Fusion that checks its agents, and where it is to be robust leaves out those who cannot be relied on."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from composite_flow.fusion.answers import Answers
from composite_flow.fusion.contradictions import doubts_of
from composite_flow.fusion.doubts import Watch
from composite_flow.fusion.fuse import add_up, estimate_of
from composite_flow.fusion.team_estimate import TeamEstimate

_AT_ONCE = 64  # joint histories, so that memory is bounded


def checked_estimate(
    answers: Answers,
    watch: Watch,
    histories: Float[Array, "agents history"],
    participants: Bool[Array, " agents"],
    bound: float | Float[Array, ""],
    *,
    leave_out: bool,
    usual: Any = None,
) -> TeamEstimate:
    """What the participants say together, scaled, and who of them is in doubt; traceable.

    Where somebody's history holds what is no number and nobody is left out, the estimate is no number either.

    Args:
        answers: what agents say.
        watch: what is usual among sound agents.
        histories: of all agents; those of others than participants are not read.
        participants: who is to take part.
        bound: above which an agent is in doubt.
        leave_out: whether the estimate is made without those.
        usual: of the answers, where it is known already.
    """
    participants = participants & answers.there(histories)
    histories = jnp.where(participants[:, None], histories, 0.0)
    whole = jnp.all(jnp.isfinite(histories), axis=1)
    each = answers.answer_each(jnp.where(whole[:, None], histories, 0.0), usual)
    doubts = doubts_of(watch, answers.prior, each, histories, participants, bound, leave_out=leave_out)
    kept = participants & ~doubts.left_out
    found = estimate_of(answers.prior, add_up(each, kept), kept, answers.values_sent)
    mean = jnp.where(jnp.any(kept & ~whole), jnp.nan, found.mean)
    return dataclasses.replace(found, mean=mean, doubts=doubts)


@eqx.filter_jit
def checked_each(
    answers: Answers,
    watch: Watch,
    histories: Float[Array, "joint agents history"],
    participants: Bool[Array, "joint agents"],
    bound: Float[Array, ""],
    leave_out: bool,
) -> TeamEstimate:
    """`checked_estimate` of each of many joint histories."""
    usual = answers.usual()

    def of_team(example):
        history, team = example
        return checked_estimate(answers, watch, history, team, bound, leave_out=leave_out, usual=usual)

    return jax.lax.map(of_team, (histories, participants), batch_size=_AT_ONCE)
