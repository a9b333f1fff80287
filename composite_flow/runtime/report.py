"""What an agent tells of an estimate: the state by name, how sure it is, whose answers it holds, and the verdict."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from composite_flow.certificate.reconstruction import nearest_candidates, verdict_of
from composite_flow.composite.sampling import Sampling
from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answer
from composite_flow.fusion.lacking import lacking
from composite_flow.fusion.one_estimate import fuse_total
from composite_flow.fusion.team_estimate import TeamEstimate
from composite_flow.numerics.merging import merge_points
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
        raise lacking()
    unlike = agent.answer().unlike if agent.sees else agent.sent_shape.nothing.unlike
    sums, names = Answer(*map(jnp.asarray, total[:4])), model.names
    found = fuse_total(model.fusion, sums, (agent.number, unlike), whose, model.scaling, names)
    return _told(found, size, level)


def ends_report(agent: Agent, samples: np.ndarray) -> dict[str, Any]:
    """The state at which most samples of composite diffusion ended, and this agent's share of the checks.

    Args:
        agent: that took part, or heard of it.
        samples: where they ended, scaled.
    """
    model, ends = agent.model, jnp.asarray(samples)
    found = merge_points(ends, (sampling := Sampling()).merge_radius, sampling.max_candidates)
    state = np.asarray(model.scaling.unscale(jnp.where(found.mask[0], found.points[0], jnp.nan))).tolist()
    told: dict[str, Any] = {"mean": dict(zip(model.state_names, state, strict=True))}
    told["share"] = float(found.counts[0]) / len(samples)
    if model.radius is not None and agent.sees:
        checks = agent.check(ends).certificate
        assert checks is not None
        chosen = nearest_candidates(ends, found.points, found.mask) == 0
        count = int(jnp.sum(found.mask))
        told["verdict"] = dataclasses.asdict(verdict_of(checks, chosen, told["share"], count, model.names))
    return told


def mean_report(agent: Agent, mean: np.ndarray) -> dict[str, Any]:
    """The state that a chain's message says, of which it claims no precision; `mean` is scaled."""
    values = np.asarray(agent.model.scaling.unscale(jnp.asarray(mean))).tolist()
    return {"mean": dict(zip(agent.model.state_names, values, strict=True))}


def carried_report(agent: Agent) -> dict[str, Any]:
    """The state that an agent carries by a chain over time; errors as `Agent.estimate`."""
    values = np.asarray(agent.estimate().mean).tolist()
    return {"mean": dict(zip(agent.model.state_names, values, strict=True))}


def _told(found: TeamEstimate, size: int, level: float) -> dict[str, Any]:
    told = {"participants": np.flatnonzero(np.asarray(found.participants)).tolist(), **_state(found)}
    if found.doubts is not None:
        told["verdict"] = dataclasses.asdict(found.verdict)
    if _numbers(found) and found.promises(level):
        told |= {"level": level, "intervals": _intervals(found, size, level)}
    return told


def _state(found: TeamEstimate) -> dict[str, Any]:
    """Mean and standard deviation by the names of the features, and the error that is expected of all, scaled."""
    deviation = np.sqrt(np.asarray(found.variance)).tolist()
    assert found.uncertainty is not None
    mean = dict(zip(found.state_names, np.asarray(found.mean).tolist(), strict=True))
    told = {"mean": mean, "deviation": dict(zip(found.state_names, deviation, strict=True))}
    return {**told, "uncertainty": float(found.uncertainty)}


def _intervals(found: TeamEstimate, size: int, level: float) -> dict[str, list[float]]:
    """Where the calibration is of teams whose answers are lost now and then, of a team that was to have this size."""
    names = _numbers(found)
    if found.calibration is not None and found.calibration.lost > 0:
        found = dataclasses.replace(found, messages=jnp.maximum(found.messages, size))
    in_double = isinstance(found.mean, np.ndarray)  # which nothing compiled is
    bounds = (_bounds if in_double else _compiled_bounds)(found, level)
    return dict(zip(names, np.asarray(bounds).tolist(), strict=True))


def _numbers(found: TeamEstimate) -> list[str]:
    return [name for name, number in zip(found.state_names, found.types.is_number, strict=True) if number]


def _bounds(found: TeamEstimate, level: float) -> Any:
    stack = np.stack if isinstance(found.mean, np.ndarray) else jnp.stack
    return stack([stack(found.interval(name, level)) for name in _numbers(found)])


_compiled_bounds = jax.jit(_bounds, static_argnames="level")  # a call for each number takes long
