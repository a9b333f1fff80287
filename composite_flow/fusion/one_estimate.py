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

from composite_flow.data.scaling import Scaling
from composite_flow.errors import MismatchError
from composite_flow.fusion.answers import Answer
from composite_flow.fusion.contradictions import doubts_of
from composite_flow.fusion.doubts import Watch
from composite_flow.fusion.fuse import add_up, estimate_of, fuse_each, taking_part
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.robust import checked_each, checked_estimate
from composite_flow.fusion.sparse import SparseAnswers
from composite_flow.fusion.team_estimate import TeamEstimate
from composite_flow.numerics.entry_point import entry_point


@entry_point
def fuse_one(
    fusion: LearnedFusion,
    histories: Float[Array, "agents columns"] | Float[np.ndarray, "agents columns"],
    participants: Sequence[int] | None,
    scaling: Scaling,
    names: tuple[str, ...],
    robust: bool | float = False,
) -> TeamEstimate:
    """`LearnedFusion.fuse` for one joint history, as teams need it at every step; its participants as a list.

    The agents are checked wherever what is usual was measured.

    A function, since Equinox takes longer to bind a method than half of such a call.
    """
    num_agents = fusion.answers.num_agents
    if len(histories) != num_agents:
        raise MismatchError(f"This model is of {num_agents} agents, not of {len(histories)}.")
    team = taking_part(num_agents, participants)
    reach = fusion.quantiles, fusion.calibration
    if scaling.is_double:  # which nothing compiled is
        return _in_double(fusion, histories, team, robust).in_own_units(scaling, names, *reach)
    if not robust and not fusion.is_watched:
        return _fused(fusion.answers, fusion.usual, histories, team, scaling, names, reach)
    watch = fusion.measured_watch
    bound = watch.bound_for(robust) if robust else None
    return _checked(fusion.answers, fusion.usual, histories, team, scaling, names, reach, watch, bound)


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
def _fused(answers, usual, histories, team, scaling: Scaling, names: tuple[str, ...], reach) -> TeamEstimate:
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
    fusion: LearnedFusion, sent: Any, team: Bool[np.ndarray, " agents"], scaling: Scaling, names: tuple[str, ...]
) -> TeamEstimate:
    """`fuse_one` from what agents sent, in place of their histories: the same estimate, up to the order of the sums.

    Args:
        fusion: the same for all of them.
        sent: by `answers.sent`, of all agents along the leading axis; of those who sent nothing it may be anything.
        team: who sent something.
        scaling, names: of the states.
    """
    return _fused_sent(fusion.answers, sent, team, scaling, names, (fusion.quantiles, fusion.calibration))


@partial(jax.jit, static_argnames="names")
def _fused_sent(answers, sent, team, scaling: Scaling, names: tuple[str, ...], reach) -> TeamEstimate:
    return _told(answers, add_up(answers_sent(answers, sent), team), team, scaling, names, reach)


def fuse_total(
    fusion: LearnedFusion, total: Answer, team: Bool[np.ndarray, " agents"], scaling: Scaling, names: tuple[str, ...]
) -> TeamEstimate:
    """The estimate of a sum of the team's answers; arguments else as in `fuse_sent`."""
    return _fused_total(fusion.answers, total, team, scaling, names, (fusion.quantiles, fusion.calibration))


@partial(jax.jit, static_argnames="names")
def _fused_total(answers, total, team, scaling: Scaling, names: tuple[str, ...], reach) -> TeamEstimate:
    return _told(answers, total, team, scaling, names, reach)


def fuse_answers_robustly(
    fusion: LearnedFusion,
    each: Answer,
    team: Bool[np.ndarray, " agents"],
    scaling: Scaling,
    names: tuple[str, ...],
    level: float,
) -> TeamEstimate:
    """Fusion without those who contradict all others, from answers; histories are not there to be looked at.

    Args:
        fusion: the same for all of them.
        each: answers, agents along the leading axis; of those outside the team they may be anything.
        team: who answered.
        scaling, names: of the states.
        level: as in `Model.fuse`.

    Raises:
        InputError: what is usual was not measured, or on too few episodes.
    """
    watch = fusion.measured_watch
    asked = fusion.answers, watch, each, jnp.asarray(team), watch.bound(level)
    return _without_contradiction(*asked, scaling, names, (fusion.quantiles, fusion.calibration))


@partial(jax.jit, static_argnames="names")
def _without_contradiction(answers, watch: Watch, each: Answer, team, bound, scaling, names, reach) -> TeamEstimate:
    doubts = doubts_of(watch, answers.prior, each, None, team, bound, leave_out=True)
    kept = team & ~doubts.left_out
    told = _told(answers, add_up(each, kept), kept, scaling, names, reach)
    return replace(told, doubts=doubts)


def answers_sent(answers: AnswerNetwork | SparseAnswers, sent: Any) -> Answer:
    """The answers that belong to what each agent sent, agents along the leading axis."""
    return jax.vmap(answers.heard)(jnp.arange(answers.num_agents), sent)


def _told(answers, total: Answer, team, scaling: Scaling, names: tuple[str, ...], reach) -> TeamEstimate:
    return estimate_of(answers.prior, total, team, answers.values_sent).in_own_units(scaling, names, *reach)
