"""Ridge regression at Table 1's default, beside fusion: linear, of all histories and of each agent's own."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from composite_flow.baselines.regression import concatenated_histories
from composite_flow.baselines.ridge import Moments, best_ridge
from composite_flow.data.dataset import JointBatch
from composite_flow.network import scaling_range
from composite_flow_paper.shared.cells import Workspace
from composite_flow_paper.table1.cell import Setting, Table1Settings, divided, judged
from composite_flow_paper.table1.tuning import validation_steps

PENALTIES = (1.0, 10.0, 100.0, 1000.0)  # for histories scaled to [0, 1]; the best on validation steps is taken
_BLOCK = 4096  # steps at once


def compute_ridge(settings: Table1Settings, setting: Setting, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Ridge regression of all histories, and of each agent's own with weights of its own; as in `cell.compute`."""
    played, division = divided(settings.worlds, setting, seed, workspace)
    num_agents, columns = division.train.num_agents, division.train.layout.size
    low, high = (np.tile(np.asarray(limit), num_agents) for limit in scaling_range(*division.history_range))

    def rows(joint: JointBatch) -> Float[np.ndarray, "steps joint"]:
        return (np.asarray(concatenated_histories(joint.histories), np.float64) - low) / (high - low)

    steps = np.asarray(division.train.steps)
    blocks = (division.train.joint(steps[first : first + _BLOCK]) for first in range(0, len(steps), _BLOCK))
    moments = Moments.of((rows(joint), np.asarray(joint.states)) for joint in blocks)
    workspace.progress("regression")
    held_out = validation_steps(settings, division)
    inputs, states = rows(held_out), np.asarray(held_out.states, np.float64)
    parts = [slice(agent * columns, (agent + 1) * columns) for agent in range(num_agents)]
    everything = best_ridge(moments, PENALTIES, inputs, states)
    each = [best_ridge(moments.part(part), PENALTIES, inputs[:, part], states) for part in parts]

    def estimate(joint: JointBatch) -> dict[str, Float[Array, "steps _ state"]]:
        seen = rows(joint)
        alone = np.stack([one(seen[:, part]) for one, part in zip(each, parts, strict=True)], axis=1)
        found = {"joint": everything(seen)[:, None], "individual": alone}
        return {name: jnp.asarray(values, jnp.float32) for name, values in found.items()}

    return {
        "world": played.facts,
        "parameters": everything.num_parameters,
        "penalties": {"joint": everything.penalty, "individual": [one.penalty for one in each]},
        **judged(settings, division, seed, estimate, None),
    }
