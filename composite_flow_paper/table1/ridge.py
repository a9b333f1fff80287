"""Ridge regression at Table 1's default, beside fusion: linear, of all histories and of each agent's own.

There is a map for each number of steps that histories hold, as early in a battle they hold fewer.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from composite_flow.baselines.ridge import fit_ridge_by_age
from composite_flow.data.dataset import JointBatch
from composite_flow_paper.shared.cells import Workspace
from composite_flow_paper.table1.cell import Setting, Table1Settings, divided, judged


def compute_ridge(settings: Table1Settings, setting: Setting, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Ridge regression of all histories, and of each agent's own by a map for each; as in `cell.compute`."""
    played, division = divided(settings.worlds, setting, seed, workspace)
    layout = division.train.layout
    options = {"most_steps": setting.samples}
    together = fit_ridge_by_age(division.train, division.validation, together=True, **options)
    each = fit_ridge_by_age(division.train, division.validation, together=False, **options)

    def estimate(joint: JointBatch) -> dict[str, Float[Array, "steps _ state"]]:
        own = np.asarray(layout.encode_own(joint.structured), np.float64)
        known = np.asarray(joint.structured.mask).any(axis=1).sum(axis=1)
        found = {"joint": together(own.reshape(len(own), 1, -1), known), "individual": each(own, known)}
        return {name: jnp.asarray(values, jnp.float32) for name, values in found.items()}

    return {
        "world": played.facts,
        "parameters": sum(ridge.weights.size + ridge.mean.size for ridge in together.maps),
        **judged(settings, division, seed, estimate, None),
    }
