"""Fusion of one joint history, as teams need it at every step: in one compiled call."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from composite_flow.data.scaling import Scaling
from composite_flow.errors import MismatchError
from composite_flow.fusion.doubts import Watch
from composite_flow.fusion.fuse import estimate_of, taking_part
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.robust import checked_estimate
from composite_flow.fusion.team_estimate import TeamEstimate


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
    if not robust and (fusion.watch is None or not fusion.watch.measured):
        return _fused(fusion.answers, fusion.usual, histories, team, scaling, names, reach)
    watch = fusion.measured_watch
    bound = watch.bound_for(robust) if robust else None
    return _checked(fusion.answers, fusion.usual, histories, team, scaling, names, reach, watch, bound)


@partial(jax.jit, static_argnames="names")
def _fused(answers, usual, histories, team, scaling: Scaling, names: tuple[str, ...], reach) -> TeamEstimate:
    """The estimate of one joint history in one compiled call; `filter_jit` would take longer than what it calls."""
    total = answers.team_sums(jnp.where(team[:, None], histories, 0.0), team[None], usual)
    found = estimate_of(answers.prior, jax.tree.map(lambda part: part[0], total), team, answers.values_sent)
    return found.in_own_units(scaling, names, *reach)


@partial(jax.jit, static_argnames="names")
def _checked(answers, usual, histories, team, scaling: Scaling, names, reach, watch: Watch, bound) -> TeamEstimate:
    """The same with checks; where there is a bound, without those who are above it."""
    leave_out = bound is not None
    bound = bound if leave_out else watch.usual_bound
    found = checked_estimate(answers, watch, histories, team, bound, leave_out=leave_out, usual=usual)
    return found.in_own_units(scaling, names, *reach)
