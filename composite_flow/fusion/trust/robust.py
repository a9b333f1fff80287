"""Fusion without those who contradict all others."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from composite_flow.data.scaling import Scaling
from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answer
from composite_flow.fusion.fuse import fuse, taking_part
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.team_estimate import TeamEstimate
from composite_flow.fusion.trust.doubt import doubts_of


def fuse_robustly(
    fusion: LearnedFusion,
    histories: Float[Array, "agents columns"] | Float[np.ndarray, "agents columns"],
    participants: Sequence[int] | None,
    scaling: Scaling,
    names: Sequence[str],
    level: float,
) -> TeamEstimate:
    """What the participants say together, but for those whose answers contradict all others.

    Args:
        fusion: with a gate.
        histories: one joint history.
        participants: as in `taking_part`.
        scaling, names: of the states.
        level: share of the steps of sound teams in which nobody is to be left out.

    Raises:
        InputError: what is usual was not measured, or on too few episodes; or participants cannot be used.
    """
    team = taking_part(fusion.answers.num_agents, participants)
    each = fusion.answers.answer_each(jnp.where(team[:, None], histories, 0.0))
    return fuse_answers_robustly(fusion, each, team, scaling, names, level)


def fuse_answers_robustly(
    fusion: LearnedFusion,
    each: Answer,
    team: Bool[np.ndarray, " agents"],
    scaling: Scaling,
    names: Sequence[str],
    level: float,
) -> TeamEstimate:
    """`fuse_robustly` from answers, agents along the leading axis; of those outside the team they may be anything."""
    if fusion.gate is None:
        raise InputError("What is usual among sound agents was not measured for this model; `calibrate` does so.")
    prior, gate = fusion.answers.prior, fusion.gate
    doubts = doubts_of(prior, each, jnp.asarray(team), gate.scale, gate.bound(level))
    found = fuse(prior, each, jnp.asarray(team) & ~doubts.left_out)
    told = found.in_own_units(scaling, names, fusion.quantiles, fusion.calibration)
    return dataclasses.replace(told, doubts=doubts)
