"""What an agent tells of an estimate: the state by name, how sure it is, whose answers it holds, and the verdict."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answer
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.one_estimate import fuse_total
from composite_flow.fusion.team_estimate import TeamEstimate
from composite_flow.runtime.agent import Agent
from composite_flow.runtime.sent import Sent


def fused_report(agent: Agent, size: int, level: float, *, robust: bool = False) -> dict[str, Any]:
    """Infer the state from the answers that were heard, and say so; JSON-able.

    Args:
        agent: that heard them.
        size: of its team: how many were to answer.
        level: of the intervals of numbers, which are told where the model promises them.
        robust: leave out those whose answers contradict all others', or whose histories are unlike training.

    Raises:
        InputError: as `Agent.estimate`.
    """
    found = agent.estimate(robust=robust)
    told = _told(found, size, level)
    if robust and found.doubts is not None:
        told["left_out"] = np.flatnonzero(np.asarray(found.doubts.left_out)).tolist()
    return told


def summed_report(agent: Agent, total: Sent, whose: np.ndarray, size: int, level: float) -> dict[str, Any]:
    """What a sum of answers says, for those whose answers it holds; arguments and errors else as in `fused_report`."""
    if not whose.any():
        raise InputError("Nobody has answered at this step, not even this agent: nothing can be inferred.")
    model = agent.model
    if model.fusion is None:
        raise LearnedFusion.lacking(chain=False)
    unlike = agent.answer().unlike if agent.sees else agent.sent_shape.nothing.unlike
    sums, names = Answer(*map(jnp.asarray, total[:4])), tuple(model.state_names)
    found = fuse_total(model.fusion, sums, (agent.number, unlike), whose, model.scaling, names)
    return _told(found, size, level)


def _told(found: TeamEstimate, size: int, level: float) -> dict[str, Any]:
    told = {"participants": np.flatnonzero(np.asarray(found.participants)).tolist(), **_state(found)}
    if found.doubts is not None:
        told["verdict"] = dataclasses.asdict(found.verdict)
    if found.promises(level):
        told |= {"level": level, "intervals": _intervals(found, size, level)}
    return told


def _state(found: TeamEstimate) -> dict[str, Any]:
    """Mean and standard deviation by the names of the features, and the error that is expected of all, scaled."""
    deviation = np.sqrt(np.asarray(found.variance)).tolist()
    assert found.uncertainty is not None
    told = {"mean": found.named_mean, "deviation": dict(zip(found.state_names, deviation, strict=True))}
    return {**told, "uncertainty": float(found.uncertainty)}


def _intervals(found: TeamEstimate, size: int, level: float) -> dict[str, list[float]]:
    """Where the calibration is of teams whose answers are lost now and then, of a team that was to have this size."""
    numbers = [name for name, number in zip(found.state_names, found.types.is_number, strict=True) if number]
    losing = found.calibration is not None and found.calibration.lost > 0
    team = max(size, int(found.messages)) if losing else None
    return {name: [float(bound) for bound in found.interval(name, level, team=team)] for name in numbers}
