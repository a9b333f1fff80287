"""`evaluate`: measure a trained model on episodes that it has not seen, beside the baselines."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray
from tyro.conf import OmitArgPrefixes

from composite_flow.analysis.comparison import compare_ways
from composite_flow.cli.evaluation_tables import evaluation_tables
from composite_flow.cli.options import DataFolder, RunFolder, Shared, part_in_words, refuse_existing
from composite_flow.cli.reporting import show, status
from composite_flow.data.angles import units_of_angles
from composite_flow.errors import InputError
from composite_flow.evaluation import draw_joint
from composite_flow.evaluation import evaluate as evaluate_model
from composite_flow.files.plain_json import write_json
from composite_flow.fusion.evaluation import evaluate_fusion
from composite_flow.runs import RunData, open_run

EVALUATION_FILE = "evaluation.json"


def evaluate(
    run: RunFolder,
    data: DataFolder,
    /,
    *,
    joint: int = 200,
    samples: int = 4,
    sweeps: int = 6,
    stir: float = 0.0,
    radius: float | None = None,
    out: Path | None = None,
    shared: OmitArgPrefixes[Shared] = Shared(),  # noqa: B008 (frozen)
) -> None:
    """Measure a run on episodes it has not seen: all that it learned, beside baselines and linear regressions.

    On the data that it was trained on these are the run's test episodes; of any other folder of the same problem all.
    What each line of the result means stands in docs/evaluate.md.

    Args:
        run: folder of a finished run.
        data: folder of episodes.
        joint: joint histories to draw, at most.
        samples: noises per joint history.
        sweeps: passes through the agents.
        stir: noise that keeps flows from resting between states, such as 0.2 with 30 sweeps and more.
        radius: of the checks, in scaled units; the run's own where not given.
        out: folder for evaluation.json; nothing is written where not given.
    """
    if out is not None:
        refuse_existing(out / EVALUATION_FILE, overwrite=shared.overwrite)
    opened = open_run(run, data)
    with status() as tell:
        tell(f"Measuring {run} on {part_in_words(opened)} of {data}; what was never run before is compiled first.")
        options = {"num_samples": samples, "num_sweeps": sweeps, "stir": stir}
        result = _measured(opened, jax.random.key(shared.seed), joint, radius, options)
    if out is not None:
        write_json(out / EVALUATION_FILE, result)
    show(result, evaluation_tables(result), as_json=shared.json)


def _measured(opened: RunData, key: PRNGKeyArray, joint: int, radius: float | None, options) -> dict[str, Any]:
    """Composite diffusion, its baselines and fusion, or what of them the run learned; beside these other ways."""
    evaluation, fused = None, None
    if opened.model.has_denoiser:
        radius = opened.radius(radius)
        evaluation = evaluate_model(opened.model, opened.dataset, key=key, num_joint=joint, radius=radius, **options)
        steps, fused, found = evaluation.steps, evaluation.fusion, evaluation.summary()
    elif (answers := opened.model.answers) is not None:
        key_steps, key_teams = jax.random.split(key)
        steps, histories, states = draw_joint(opened.dataset, key_steps, joint)
        fused = evaluate_fusion(answers, histories, states, key=key_teams)
        found = {"fusion": asdict(fused)}
    else:
        raise InputError("This model learned neither a denoiser nor fusion.")
    compared = compare_ways(
        opened.model,
        opened.dataset,
        np.asarray(steps),
        evaluation=evaluation,
        fusion=fused,
        linear=opened.linear(),
        key=jax.random.fold_in(key, 1),
    )
    units = units_of_angles(opened.model.state_names) | opened.model.description.get("units", {})
    told = {"part": opened.part, "joint_histories": len(steps), "units": units}
    calibration = None if opened.model.fusion is None else opened.model.fusion.calibration
    episodes = {
        "episodes": len(np.unique(np.asarray(opened.dataset.windows.episode_of_step)[np.asarray(steps)])),
        "calibration_episodes": None if calibration is None else calibration.num_episodes,
    }
    return {**found, **asdict(compared), **told, **episodes}
