"""`evaluate`: measure a trained model on episodes that it has not seen, beside the baselines."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray
from tyro.conf import OmitArgPrefixes

from composite_flow.analysis.comparison import JOINT_SAMPLES, compare_ways
from composite_flow.cli.error_tables import answering_table, error_tables
from composite_flow.cli.options import DataFolder, RunFolder, Shared, part_in_words, refuse_existing
from composite_flow.cli.reporting import show, status, table
from composite_flow.errors import InputError
from composite_flow.evaluation import draw_joint
from composite_flow.evaluation import evaluate as evaluate_model
from composite_flow.files.plain_json import write_json
from composite_flow.fusion.evaluation import evaluate_fusion
from composite_flow.runs import RunData, open_run

EVALUATION_FILE = "evaluation.json"
_TELLS_NOTHING = 0.5  # where a guess is right as often, "right" tells nothing of an estimate


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
    told = {"part": opened.part, "joint_histories": len(steps), "units": opened.model.description.get("units", {})}
    return {**found, **asdict(compared), **told}


def evaluation_tables(result: dict[str, Any]):
    """All ways side by side, errors by feature, fusion by size of team, and the checks of composite diffusion."""
    fusion = [] if "fusion" not in result else _fusion_tables(result["fusion"])
    checks = [] if "psnr_composite" not in result else [_checks_table(result)]
    if "ways" not in result:
        return [*fusion, _baselines_table(result), *checks]
    answering = [answering_table(result["answering"])] if result["answering"] else []
    return [_ways_table(result), *error_tables(result["errors"], result["units"]), *fusion, *answering, *checks]


def _ways_table(result: dict[str, Any]):
    """Every way with its cost, and what was left out."""
    rows = [(_NAMES.get(name, name.replace("_", " ")), *way.values()) for name, way in result["ways"].items()]
    title = f"Reconstruction of {result['joint_histories']} joint histories"
    title += "".join(f"\n({reason})" for reason in result["left_out"].values())
    return table(title, ("", "PSNR (dB)", "exact states", "calls", "messages", "bytes each"), rows)


_NAMES = {
    "composite": "composite diffusion",
    "chain": "gated chain",
    "filter": "filter over time",
    "mean_of_joint_samples": f"mean of {JOINT_SAMPLES} joint samples",
    "ridge_of_all_histories": "ridge, all histories",
    "ridge_of_own_history": "ridge, each agent's own",
    "constant": "training mean",
}


def _fusion_tables(found: dict[str, Any]):
    """Fusion by size of the team."""
    sizes = [(str(size), *scores.values(), size) for size, scores in found["sizes"].items()]
    title = f"Fusion: one answer an agent, {found['message_bytes']} bytes each (the training mean: "
    title += f"{found['psnr_constant']:.4g} dB)"
    return [table(title, ("agents that answer", "PSNR (dB)", "exact states", "messages"), sizes)]


def _baselines_table(result: dict[str, Any]):
    """Composite diffusion beside the baselines that use its denoiser, as in the demo."""
    rows = [("composite diffusion", result["psnr_composite"], result["exact_rate_composite"], result["denoiser_calls"])]
    for name, scores in result["baselines"].items():
        rows.append((name.replace("_", " "), scores["psnr"], scores["exact_rate"], scores["denoiser_calls"]))
    return table("Reconstruction", ("", "PSNR (dB)", "exact states", "denoiser calls"), rows)


def _checks_table(result: dict[str, Any]):
    """What the checks said, and whether that means anything."""
    guessing = result["right_by_guessing"]
    title = "Checks of composite diffusion"
    if guessing >= _TELLS_NOTHING:
        told = f"The checks below tell nothing: the mean state alone is right at {guessing:.0%} of the steps"
        title = f"{told}\n{title}"
    checks = [
        ("samples that pass", result["accepted_share"]),
        ("wrong among these", result["wrong_among_accepted"]),
        ("exact rate in states withheld from training", result["exact_rate_unseen_states"]),
    ]
    return table(f"{title}\n(right: {result['right_means']})", ("", "share"), checks)
