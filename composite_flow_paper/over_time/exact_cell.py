"""A cell of this experiment: what agents earn who act on exact filters, at each share of lost messages."""

from typing import Any

import jax
import numpy as np

from composite_flow.problems.kinds import problem_from_text
from composite_flow.problems.sensor import SensorNetwork
from composite_flow_paper.over_time.acting import OverTimeAndActing
from composite_flow_paper.over_time.cell import WORLDS
from composite_flow_paper.over_time.exact_acting import exact_acting
from composite_flow_paper.shared.cells import Workspace


def exact_cell(settings: OverTimeAndActing, seed: int, workspace: Workspace) -> dict[str, Any]:
    """A cell of this experiment: what exact filters earn on 3×3 sensors at each share of lost messages, 0 to all."""
    problem, key = problem_from_text(WORLDS["3x3"]), jax.random.key(seed)
    assert isinstance(problem, SensorNetwork)
    told = []
    for place, lost in enumerate((0.0, *settings.acting.lost, 1.0)):
        workspace.progress(f"exact filters, {lost:.0%} lost")
        returns = exact_acting(problem, lost, jax.random.fold_in(key, place), settings.acting.num_exact)
        error = float(returns.std(ddof=1) / np.sqrt(len(returns)))
        told.append({"lost": lost, "return": float(returns.mean()), "standard_error": error})
    return {"returns": told}
