"""Composite diffusion's samples at Table 1's default, on the steps that fusion is judged on.

The default column's denoiser, trained once more on the collection of episodes that the cells beyond the paper share.
Of each step 16 samples of composite diffusion, each with an order of its own, and four individual flows of each agent.
"""

from dataclasses import replace
from typing import Any

import jax
from jaxtyping import Array, Float

from composite_flow.analysis.sample_scores import scoring_library
from composite_flow.baselines.flows import BASELINES, baseline_batch
from composite_flow.baselines.training import num_parameters
from composite_flow.composite.reconstruct import reconstruct_batch
from composite_flow.data.dataset import JointBatch
from composite_flow_paper.shared.cells import Workspace
from composite_flow_paper.table1.cell import Setting, Table1Settings, divided, judged
from composite_flow_paper.table1.fusion import fitted
from composite_flow_paper.table1.joint_samples import NUM_SAMPLES, drawing

_FLOWS = 4  # of each agent


def compute_composite_samples(
    settings: Table1Settings, setting: Setting, seed: int, workspace: Workspace
) -> dict[str, Any]:
    """Train the denoiser and judge its samples; arguments as in `cell.compute`."""
    scoring_library()  # whoever lacks it hears of that before training
    key_judge = jax.random.split(jax.random.key(seed))[1]
    played, division = divided(settings.worlds, setting, seed, workspace)
    model = fitted(replace(settings.training, width=setting.width), division, seed, workspace)
    workspace.progress("samples")
    options = {"key": key_judge, "num_sweeps": settings.num_sweeps}

    def composite(joint: JointBatch) -> Float[Array, "steps samples state"]:
        return reconstruct_batch(model.denoiser, joint.histories, num_samples=NUM_SAMPLES, **options).samples

    def individual(joint: JointBatch) -> Float[Array, "steps samples state"]:
        number = _FLOWS * joint.histories.shape[1]
        flows = BASELINES["individual_flow"]
        return baseline_batch(flows, model.denoiser, joint.histories, num_samples=number, **options)

    draws = {"composite": composite, "individual": individual}
    return {
        "world": played.facts,
        "parameters": num_parameters(model.denoiser),
        "train_seconds": model.curves[-1]["seconds"],
        "curves": model.curves,
        **judged(settings, division, seed, drawing(draws), None, scored=[*draws]),
    }
