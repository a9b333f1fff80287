"""The fused estimate of one joint history: from histories, from what agents sent, or from the sum of their answers.

Each is one compiled call, as teams need it at every step; `filter_jit` would take longer than what it calls.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from composite_flow.certificate.verdict import Names
from composite_flow.data.scaling import Scaling
from composite_flow.errors import MismatchError
from composite_flow.fusion.answers import Answer
from composite_flow.fusion.contradictions import doubts_of, own_doubts
from composite_flow.fusion.doubts import Watch
from composite_flow.fusion.fuse import add_up, estimate_of, fuse_each, taking_part
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.robust import checked_each, checked_estimate
from composite_flow.fusion.sparse import SparseAnswers
from composite_flow.fusion.team_estimate import TeamEstimate, that_names_next
from composite_flow.numerics.entry_point import entry_point


@entry_point
def fuse_one(
    fusion: LearnedFusion,
    histories: Float[Array, "agents columns"] | Float[np.ndarray, "agents columns"],
    participants: Sequence[int] | None,
    scaling: Scaling,
    names: Names,
    robust: bool | float = False,
) -> TeamEstimate:
    """`LearnedFusion.fuse` for one joint history, as teams need it at every step; its participants as a list.

    The agents are checked wherever what is usual was measured.

    A function, since Equinox takes longer to bind a method than half of such a call.
    """
    num_agents = fusion.answers.num_agents
    if len(histories) != num_agents:
        raise MismatchError(f"This model is of {num_agents} agents, not of {len(histories)}.")
    return fuse_team(fusion, histories, taking_part(num_agents, participants), scaling, names, robust)


def fuse_team(
    fusion: LearnedFusion,
    histories: Float[Array, "agents columns"] | Float[np.ndarray, "agents columns"],
    team: Bool[np.ndarray, " agents"],
    scaling: Scaling,
    names: Names,
    robust: bool | float = False,
) -> TeamEstimate:
    """`fuse_one` of the agents of a team; of nobody it is the prior."""
    reach = fusion.quantiles, fusion.calibration
    if scaling.is_double:  # which nothing compiled is
        return that_names_next(
            fusion.next_agent, _in_double(fusion, histories, team, robust).in_own_units(scaling, names, *reach)
        )
    if not robust and not fusion.is_watched:
        return that_names_next(
            fusion.next_agent, _fused(fusion.answers, fusion.usual, histories, team, scaling, names, reach)
        )
    watch = fusion.measured_watch
    bound = watch.bound_for(robust) if robust else None
    return that_names_next(
        fusion.next_agent, _checked(fusion.answers, fusion.usual, histories, team, scaling, names, reach, watch, bound)
    )


def _in_double(fusion: LearnedFusion, histories, team, robust: bool | float) -> TeamEstimate:
    """The scaled estimate, of which the units are then undone on the host."""
    asked = jnp.asarray(histories)[None], jnp.asarray(team)[None]
    if not robust and not fusion.is_watched:
        found = fuse_each(fusion.answers, *asked)
    else:
        watch = fusion.measured_watch
        found = checked_each(fusion.answers, watch, *asked, jnp.float32(watch.bound_for(robust)), bool(robust))
    return jax.tree.map(lambda leaf: leaf[0], found)


@partial(jax.jit, static_argnames="names")
def _fused(answers, usual, histories, team, scaling: Scaling, names: Names, reach) -> TeamEstimate:
    total = answers.team_sums(jnp.where(team[:, None], histories, 0.0), team[None], usual)
    return _told(answers, jax.tree.map(lambda part: part[0], total), team, scaling, names, reach)


@partial(jax.jit, static_argnames="names")
def _checked(answers, usual, histories, team, scaling: Scaling, names, reach, watch: Watch, bound) -> TeamEstimate:
    """The same with checks; where there is a bound, without those who are above it."""
    leave_out = bound is not None
    bound = bound if leave_out else watch.usual_bound
    found = checked_estimate(answers, watch, histories, team, bound, leave_out=leave_out, usual=usual)
    return found.in_own_units(scaling, names, *reach)


def fuse_sent(
    fusion: LearnedFusion,
    sent: Any,
    unlike: Float[np.ndarray, "agents checks"] | None,
    team: Bool[np.ndarray, " agents"],
    scaling: Scaling,
    names: Names,
    robust: bool | float,
) -> TeamEstimate:
    """`fuse_one` from what agents sent, in place of their histories: the same estimate, up to the order of the sums.

    The same doubts as well, but for what a learned consistency says of histories, which takes the histories themselves.

    Args:
        fusion: the same for all of them.
        sent: by `answers.sent`, of all agents along the leading axis; of those who sent nothing it may be anything.
        unlike: what each said of its own history, by `Familiar.unlikeness`; None where nobody did.
        team: who sent something.
        scaling, names: of the states, and the agents' names.
        robust: as in `Model.fuse`.

    Raises:
        InputError: the estimate is to be robust, and what is usual was not measured, or on too few episodes.
    """
    watch, bound = None, None
    if robust or fusion.is_watched:
        watch = fusion.measured_watch
        bound = watch.bound_for(robust) if robust else None
    asked = fusion.answers, sent, unlike, team, watch, bound
    reach = fusion.quantiles, fusion.calibration
    if scaling.is_double:  # which nothing compiled is
        return that_names_next(fusion.next_agent, _of_sent(*asked).in_own_units(scaling, names, *reach))
    return that_names_next(fusion.next_agent, _told_of_sent(*asked, scaling, names, reach))


def _scaled_of_sent(answers, sent, unlike, team, watch: Watch | None, bound) -> TeamEstimate:
    each = answers_sent(answers, sent)
    if watch is None:
        return estimate_of(answers.prior, add_up(each, team), team, answers.values_sent)
    leave_out = bound is not None
    bound = bound if leave_out else watch.usual_bound
    doubts = doubts_of(watch, answers.prior, each, None, team, bound, leave_out=leave_out, unlike=unlike)
    kept = team & ~doubts.left_out
    return replace(estimate_of(answers.prior, add_up(each, kept), kept, answers.values_sent), doubts=doubts)


_of_sent = jax.jit(_scaled_of_sent)


@partial(jax.jit, static_argnames="names")
def _told_of_sent(answers, sent, unlike, team, watch, bound, scaling: Scaling, names: Names, reach) -> TeamEstimate:
    return _scaled_of_sent(answers, sent, unlike, team, watch, bound).in_own_units(scaling, names, *reach)


def fuse_total(
    fusion: LearnedFusion,
    total: Answer,
    own: tuple[int, Float[np.ndarray, " checks"]],
    team: Bool[np.ndarray, " agents"],
    scaling: Scaling,
    names: Names,
) -> TeamEstimate:
    """The estimate of a sum of the team's answers, which shows no contradiction of one with the others.

    Args:
        fusion, team, scaling, names: as in `fuse_sent`.
        total: the sum.
        own: who asks, and how unlike those of training its own history is; zeros where it has none.
    """
    watch = fusion.watch if fusion.is_watched else None
    asked, reach = (fusion.answers, total, *own, team, watch), (fusion.quantiles, fusion.calibration)
    if scaling.is_double:
        return that_names_next(fusion.next_agent, _of_total(*asked).in_own_units(scaling, names, *reach))
    return that_names_next(fusion.next_agent, _told_of_total(*asked, scaling, names, reach))


def _scaled_of_total(answers, total: Answer, agent, unlike, team, watch: Watch | None) -> TeamEstimate:
    found = estimate_of(answers.prior, total, team, answers.values_sent)
    if watch is None:
        return found
    return replace(found, doubts=own_doubts(watch, agent, unlike, team))


_of_total = jax.jit(_scaled_of_total)


@partial(jax.jit, static_argnames="names")
def _told_of_total(answers, total: Answer, agent, unlike, team, watch, scaling: Scaling, names, reach) -> TeamEstimate:
    return _scaled_of_total(answers, total, agent, unlike, team, watch).in_own_units(scaling, names, *reach)


def answers_sent(answers: AnswerNetwork | SparseAnswers, sent: Any) -> Answer:
    """The answers that belong to what each agent sent, agents along the leading axis."""
    return jax.vmap(answers.heard)(jnp.arange(answers.num_agents), sent)


def _told(answers, total: Answer, team, scaling: Scaling, names: Names, reach) -> TeamEstimate:
    return estimate_of(answers.prior, total, team, answers.values_sent).in_own_units(scaling, names, *reach)
