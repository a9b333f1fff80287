"""A cell of Figure 5: one team trained in one world with one input of its actors, then evaluated.

The run is that of `train-policy` with the same settings and seed; its folder keeps the policy with its denoiser, and
an interrupted training. Evaluation plays episodes that no training has seen, the same starts for every curve.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from composite_flow.metrics import decibels
from composite_flow.model import Model
from composite_flow.policy.curves import Row, recent
from composite_flow.policy.evaluation import PolicyEvaluation, evaluate_policy
from composite_flow.policy.pretraining import pretrained_in
from composite_flow.policy.run import train_policy
from composite_flow.policy.saving import start_or_resume
from composite_flow.policy.trained import TrainedPolicy
from composite_flow.problems import problem_from_text
from composite_flow.problems.base import Problem, tells_wins
from composite_flow.problems.smax_sight import OtherSight
from composite_flow_paper.figure5.team import Team, weights_that_act
from composite_flow_paper.shared.cells import Progress, Workspace, told_steps


def compute(team: Team, workspace: Workspace) -> dict[str, Any]:
    """Train, or go on training, and evaluate."""
    problem, config, folder = problem_from_text(team.world.problem), team.config, team.folder(workspace.folder)
    options: dict[str, Any] = {"resume": not workspace.overwrite, "overwrite": workspace.overwrite}
    start_or_resume(folder, team.settings, **options)
    measure = measure_of(problem)

    def tell(steps, total, rows):
        workspace.progress(
            f"training: step {steps:,} of {total:,}, {measure.replace('_', ' ')} {recent(rows, measure)}"
        )

    key, denoiser = jax.random.key(team.seed), learned_before(team, problem, workspace)
    trained = train_policy(problem, config, key=key, denoiser=denoiser, folder=folder, progress=tell, **options)
    last: dict[str, Any] = trained.curves[-1]
    return {
        "measure": measure,
        "steps": last["steps"],
        "steps_per_second": last["steps"] / last["seconds"],
        "weights": weights_that_act(problem, config, trained.policy),
        "actor_width": config.actor_width or config.width,
        "curve": thinned(trained.curves, team.points),
        **evaluated(team, problem, trained.policy, workspace.progress),
    }


def learned_before(team: Team, problem: Problem, workspace: Workspace) -> Model | None:
    """What a team infers by, where it learns before the policy."""
    if not team.learns_before:
        return None
    options: dict[str, Any] = {"resume": not workspace.overwrite, "overwrite": workspace.overwrite}
    run, progress = team.folder(workspace.folder), told_steps(workspace.progress)
    return pretrained_in(run, problem, team.config, team.pretraining, team.seed, progress=progress, **options)


def measure_of(problem: Problem) -> str:
    """What is drawn: the win rate where there is one, else the return."""
    return "win_rate" if tells_wins(problem) else "return"


def evaluated(team: Team, problem: Problem, policy: TrainedPolicy, progress: Progress) -> dict[str, Any]:
    """As it was trained; and, of some curves, with other sights and lost messages."""
    settings, key = team.evaluation, jax.random.key(team.seed)

    def judge(problem: Problem, lost: float, samples: int) -> dict[str, Any]:
        result = evaluate_policy(
            problem, policy, key=key, num_episodes=settings.episodes, lost=lost, num_samples=samples,
            certain_radius=settings.radius,
        )  # fmt: skip
        return told(result)

    progress("evaluation")
    final, changed = judge(problem, 0.0, settings.samples), {}
    if team.curve in settings.robust:
        for sight in team.world.sights:
            progress(f"evaluation at sight {sight:g}")
            changed[f"sight {sight:g}"] = judge(OtherSight(problem, sight), 0.0, 0)  # pyright: ignore[reportArgumentType]
    if team.curve == "composite":
        for lost in settings.lost:
            progress(f"evaluation with {lost:.0%} of the messages lost")
            changed[f"{lost:.0%} of the messages lost"] = judge(problem, lost, 0)
    return {"final": final, "changed": changed}


def told(evaluation: PolicyEvaluation) -> dict[str, Any]:
    """Means over episodes with their standard errors, and what agents know."""
    means = {"return": evaluation.returns, "win_rate": evaluation.wins, "length": evaluation.lengths}
    return {
        "episodes": len(evaluation.returns),
        **{name: None if values is None else float(np.mean(values)) for name, values in means.items()},
        "standard_errors": {name: _standard_error(values) for name, values in means.items() if values is not None},
        **{
            name: getattr(evaluation, name)
            for name in ("psnr", "certain", "right_when_certain", "messages", "message_bytes")
        },
    }


def _standard_error(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def thinned(rows: Sequence[Row], points: int) -> dict[str, list[float | None]]:
    """A learning curve of about so many points, each of equally many updates, give or take one.

    Returns and win rates are means over the episodes that ended in these updates, PSNR is that of their mean squared
    error. None where no episode ended, or nothing is inferred.
    """
    parts = [[rows[place] for place in part] for part in np.array_split(np.arange(len(rows)), min(points, len(rows)))]
    return {
        "steps": [part[-1]["steps"] for part in parts],
        **{name: [_weighted(part, name) for part in parts] for name in ("return", "win_rate")},
        "psnr": [_mean_psnr(part) for part in parts],
        "entropy": [float(np.mean([row["entropy"] for row in part])) for part in parts],
        "steps_per_second": [float(1.0 / np.mean([1.0 / row["steps_per_second"] for row in part])) for part in parts],
    }


def _weighted(rows: Sequence[Row], name: str) -> float | None:
    """Mean over episodes."""
    known = [row for row in rows if row[name] is not None]
    weights = [row["episodes"] for row in known]
    return float(np.average([row[name] for row in known], weights=weights)) if known else None  # pyright: ignore


def _mean_psnr(rows: Sequence[Row]) -> float | None:
    errors = [10.0 ** (-row["psnr"] / 10.0) for row in rows if row["psnr"] is not None]
    return float(decibels(float(np.mean(errors)))) if errors else None
