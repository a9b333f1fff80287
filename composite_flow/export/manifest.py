"""What stands beside exported functions: all that an agent in NumPy needs to know of its model."""

from typing import Any

import numpy as np

import composite_flow
from composite_flow.data.angles import as_called
from composite_flow.fusion.calibration import USUAL_WIDTH, Calibration
from composite_flow.fusion.doubts import USUAL
from composite_flow.fusion.levels import LEVELS
from composite_flow.fusion.sparse import SparseAnswers
from composite_flow.model import Model
from composite_flow.runtime.identity import carries, model_checksum, sent_shapes

FORMAT = 3
"""Of the folder; an agent refuses every other one."""


def manifest_of(model: Model, form: str, functions: list[str]) -> dict[str, Any]:
    """Sizes, names and shapes; JSON-able."""
    about = {"format": FORMAT, "version": composite_flow.__version__, "form": form, "functions": functions}
    about |= {"checksum": model_checksum(model).hex(), "layout": model.layout.settings}
    about |= {"state_names": list(model.state_names), "radius": model.radius}
    agents = [model.names.agent(agent) for agent in range(model.layout.num_agents)]
    about["called"] = {"agents": agents, "features": list(as_called(model.state_names))}
    about["scaling"] = {end: np.asarray(getattr(model.scaling, end)).tolist() for end in ("minimum", "maximum")}
    if model.fusion is None:
        return about
    answers = model.fusion.answers
    shapes = [
        {"is_number": one.is_number.tolist(), "unit": one.unit.tolist(), "rest": one.rest, "checks": one.checks}
        for one in sent_shapes(model)
    ]
    slots = np.asarray(answers.slots, int).tolist() if isinstance(answers, SparseAnswers) else None
    prior = {name: np.asarray(getattr(answers.prior, name)).tolist() for name in ("mean", "precision", "logits")}
    prior["groups"] = [list(group) for group in answers.prior.types.groups]
    numbers = np.asarray(answers.prior.types.is_number).tolist()
    about |= {"answers": shapes, "slots": slots, "prior": prior, "is_number": numbers}
    return {**about, "over_time": _over_time_of(model), "chain": _chain_of(model)}


def _over_time_of(model: Model) -> dict[str, Any] | None:
    """The kind of the filter, what is known before an episode, scaled, and the checksum of those who carry it."""
    learned = None if model.fusion is None else model.fusion.over_time
    if learned is None:
        return None
    known = learned.initial
    initial = {name: np.asarray(getattr(known, name)).tolist() for name in ("mean", "weight", "precision")}
    return {"kind": carries(model), "initial": initial, "checksum": model_checksum(model, over_time=True).hex()}


def _chain_of(model: Model) -> dict[str, Any] | None:
    """Where the gated chain's message begins, scaled, and the checksum of those who hand it on."""
    chain = None if model.fusion is None else model.fusion.chain
    if chain is None:
        return None
    return {"start": np.asarray(chain.prior_mean).tolist(), "checksum": model_checksum(model, by_chain=True).hex()}


def measured_of(model: Model) -> dict[str, np.ndarray]:
    """How far errors reach, and what is usual among sound agents, as far as they were measured.

    `levels`, `sizes` of teams, and a quantile for each of these and each feature (`step`); the share of answers that
    were lost meanwhile (`lost`), the widest uncertainty that is usual for each size (`width`), what is usual of what
    tells of agents (`scale`), and the bounds of their doubts (`bound`, `robust_bound`).
    """
    fusion = model.fusion
    if fusion is None:
        return {}
    found: dict[str, np.ndarray] = {}
    if fusion.calibration is not None:
        found = _calibrated(fusion.calibration)
    elif (pooled := fusion.quantiles) is not None:
        values = np.repeat(np.asarray(pooled.values)[:, :, None], len(model.state_names), axis=2)
        found = {"levels": np.asarray(LEVELS), "sizes": np.asarray(pooled.sizes), "step": values}
    if fusion.watch is not None and fusion.is_watched:
        watch = fusion.watch
        bounds = {"bound": watch.usual_bound, "robust_bound": watch.bounds[LEVELS.index(USUAL)]}
        found |= {name: np.asarray(value) for name, value in {"scale": watch.scale, **bounds}.items()}
    return found


def _calibrated(measured: Calibration) -> dict[str, np.ndarray]:
    promised = [level for level in LEVELS if measured.promises(level)]
    step = np.asarray(measured.step)[:, [LEVELS.index(level) for level in promised]]
    found = {"levels": np.asarray(promised), "sizes": np.asarray(measured.sizes), "step": step}
    width = np.asarray(measured.width)[:, LEVELS.index(USUAL_WIDTH)]
    return {**found, "width": width, "lost": np.asarray(measured.lost)}
