"""What an agent tells of an estimate: the state by name, how sure it is, whose answers it holds, and whom it doubts."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answer
from composite_flow.fusion.lacking import lacking
from composite_flow.fusion.one_estimate import fuse_total
from composite_flow.fusion.team_estimate import TeamEstimate
from composite_flow.runtime.agent import Agent
from composite_flow.runtime.sent import Sent


def fused_report(agent: Agent, level: float, *, robust: bool = False) -> dict[str, Any]:
    """Infer the state from the answers that were heard, and say so; JSON-able.

    Args:
        agent: that heard them.
        level: of the intervals of numbers, which are told where the model promises them.
        robust: leave out those whose answers contradict all others'.

    Raises:
        InputError: as `Agent.estimate`.
    """
    found = agent.estimate(robust=robust)
    told = _told(found, level)
    if found.doubts is not None:
        told["left_out"] = np.flatnonzero(np.asarray(found.doubts.left_out)).tolist()
    return told


def summed_report(agent: Agent, total: Sent, whose: np.ndarray, level: float) -> dict[str, Any]:
    """What a sum of answers says, for those whose answers it holds; arguments and errors as in `fused_report`."""
    if not whose.any():
        raise InputError("Nobody has answered at this step, not even this agent: nothing can be inferred.")
    model = agent.model
    if model.fusion is None:
        raise lacking()
    answer = Answer(*map(jnp.asarray, total))
    return _told(fuse_total(model.fusion, answer, whose, model.scaling, tuple(model.state_names)), level)


def _told(found: TeamEstimate, level: float) -> dict[str, Any]:
    told = {"participants": np.flatnonzero(np.asarray(found.participants)).tolist(), **_state(found)}
    if found.promises(level):
        told |= {"level": level, "intervals": _intervals(found, level)}
    return told


def _state(found: TeamEstimate) -> dict[str, Any]:
    """Mean and standard deviation by the names of the features."""
    deviation = np.sqrt(np.asarray(found.variance)).tolist()
    return {"mean": found.named_mean, "deviation": dict(zip(found.state_names, deviation, strict=True))}


def _intervals(found: TeamEstimate, level: float) -> dict[str, list[float]]:
    numbers = [name for name, number in zip(found.state_names, found.types.is_number, strict=True) if number]
    return {name: [float(bound) for bound in found.interval(name, level)] for name in numbers}
