"""Ridge regression at Table 1's default, beside fusion: linear, of all histories and of each agent's own."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from composite_flow.baselines.ridge import fit_ridge
from composite_flow.data.dataset import JointBatch
from composite_flow_paper.shared.cells import Workspace
from composite_flow_paper.table1.cell import Setting, Table1Settings, divided, judged


def compute_ridge(settings: Table1Settings, setting: Setting, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Ridge regression of all histories, and of each agent's own by a map for each; as in `cell.compute`."""
    played, division = divided(settings.worlds, setting, seed, workspace)
    layout = division.train.layout
    options = {"most_steps": setting.samples}
    together = fit_ridge(division.train, division.validation, together=True, **options)
    each = fit_ridge(division.train, division.validation, together=False, **options)

    def estimate(joint: JointBatch) -> dict[str, Float[Array, "steps _ state"]]:
        own = np.asarray(layout.encode_own(joint.structured), np.float64)
        found = {"joint": together(own.reshape(len(own), 1, -1)), "individual": each(own)}
        return {name: jnp.asarray(values, jnp.float32) for name, values in found.items()}

    return {
        "world": played.facts,
        "parameters": together.weights.size + together.mean.size,
        "penalties": {"joint": together.penalty, "individual": each.penalty},
        **judged(settings, division, seed, estimate, None),
    }
