"""What stands beside exported functions: all that an agent in NumPy needs to know of its model."""

import dataclasses
from typing import Any

import numpy as np

import composite_flow
from composite_flow.fusion.calibration import LEVELS
from composite_flow.fusion.sparse import SparseAnswers
from composite_flow.model import Model
from composite_flow.runtime.identity import model_checksum, sent_shapes

FORMAT = 1
"""Of the folder; an agent refuses every other one."""


def manifest_of(model: Model, form: str, functions: list[str]) -> dict[str, Any]:
    """Sizes, names and shapes; JSON-able."""
    about = {"format": FORMAT, "version": composite_flow.__version__, "form": form, "functions": functions}
    about |= {"checksum": model_checksum(model).hex(), "layout": dataclasses.asdict(model.layout)}
    about |= {"state_names": list(model.state_names), "radius": model.radius}
    about["scaling"] = {end: np.asarray(getattr(model.scaling, end)).tolist() for end in ("minimum", "maximum")}
    if model.fusion is None:
        return about
    answers = model.fusion.answers
    shapes = [
        {"is_number": one.is_number.tolist(), "unit": one.unit.tolist(), "rest": one.rest} for one in sent_shapes(model)
    ]
    slots = np.asarray(answers.slots, int).tolist() if isinstance(answers, SparseAnswers) else None
    prior = np.asarray(answers.prior.precision).tolist()
    numbers = np.asarray(answers.prior.types.is_number).tolist()
    return {**about, "answers": shapes, "slots": slots, "prior_precision": prior, "is_number": numbers}


def calibration_of(model: Model) -> dict[str, np.ndarray]:
    """How far errors of numbers reach in a step: levels, sizes of team, and a quantile for each and each feature."""
    fusion = model.fusion
    if fusion is None:
        return {}
    if (found := fusion.calibration) is not None:
        promised = [level for level in LEVELS if found.promises(level)]
        rows = [LEVELS.index(level) for level in promised]
        return {
            "levels": np.asarray(promised),
            "sizes": np.asarray(found.sizes),
            "step": np.asarray(found.step)[:, rows],
        }
    if (pooled := fusion.quantiles) is None:
        return {}
    values = np.repeat(np.asarray(pooled.values)[:, :, None], len(model.state_names), axis=2)
    return {"levels": np.asarray(LEVELS), "sizes": np.asarray(pooled.sizes), "step": values}
