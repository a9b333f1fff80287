"""Samples of what agents know together, at Table 1's default: their mean, and how well they are spread.

Of each step 16 samples of the team denoiser, of all agents and of three of them. Beside them stand as many of fusion's
marginals, each feature drawn by itself. Energy and variogram score are least, in the mean, for samples of the
posterior; the second sees whether features go together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.analysis.sample_scores import scoring_library
from composite_flow.baselines.training import num_parameters
from composite_flow.data.dataset import JointBatch
from composite_flow.fusion.fuse import fuse_each
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.team_denoiser import TeamDenoiser
from composite_flow.fusion.team_sampling import sample_conditional
from composite_flow_paper.shared.cells import Workspace
from composite_flow_paper.shared.joint_samples import draw_joint_samples
from composite_flow_paper.shared.marginal_samples import draw_marginals
from composite_flow_paper.table1.cell import Estimator, Setting, Table1Settings, divided, judged
from composite_flow_paper.table1.fusion import answers_of, fitted, fusion_training, places_in_line, weights_of

NUM_SAMPLES = 16
SMALLER = 3  # agents of the smaller teams
_AT_ONCE = 32  # joint histories

Draw = Callable[[JointBatch], Float[Array, "steps samples state"]]


def compute_joint_samples(
    settings: Table1Settings, setting: Setting, seed: int, workspace: Workspace
) -> dict[str, Any]:
    """Train answers and team denoiser, and judge samples; arguments as in `cell.compute`."""
    scoring_library()  # whoever lacks it hears of that before training
    key_judge = jax.random.split(jax.random.key(seed))[1]
    played, division = divided(settings.worlds, setting, seed, workspace)
    model = fitted(replace(fusion_training(settings), team_denoiser=True), division, seed, workspace)
    workspace.progress("samples")
    if model.fusion is None:
        raise AssertionError("fusion was learned")
    answers, team = answers_of(model), model.fusion.learned_team_denoiser
    num_agents = division.train.num_agents
    fewer = min(SMALLER, num_agents - 1)
    draws: dict[str, Draw] = {}
    for size, suffix in {num_agents: "", fewer: f"_{fewer}_of_{num_agents}"}.items():
        draws[f"samples{suffix}"] = partial(_team_samples, team, size, key_judge)
        draws[f"marginals{suffix}"] = partial(_marginal_samples, answers, size, key_judge)
    return {
        "world": played.facts,
        "parameters": weights_of(answers)
        + weights_of(team.speaker)
        + num_parameters((team.network, team.sigma_network)),
        "train_seconds": sum(_seconds_of_networks(model.curves)),
        "curves": model.curves,
        **judged(settings, division, seed, drawing(draws), None, scored=[*draws]),
    }


def drawing(draws: Mapping[str, Draw]) -> Estimator:
    """The samples of each way to draw them, and their mean."""

    def estimate(joint: JointBatch) -> Mapping[str, Float[Array, "steps _ state"]]:
        found = {name: draw(joint) for name, draw in draws.items()}
        means = {f"mean_of_{name}": jnp.mean(drawn, axis=1, keepdims=True) for name, drawn in found.items()}
        return {**found, **means}

    return estimate


def _teams(joint: JointBatch, size: int, key: PRNGKeyArray) -> Bool[Array, "steps agents"]:
    """So many agents of each step; the first in line are those of fusion's smaller teams."""
    return places_in_line(key, *joint.histories.shape[:2]) < size


def _team_samples(
    team: TeamDenoiser, size: int, key: PRNGKeyArray, joint: JointBatch
) -> Float[Array, "steps samples state"]:
    teams = _teams(joint, size, key)
    return draw_joint_samples(
        team, joint.histories, teams, NUM_SAMPLES, sample_conditional, key=key, batch_size=_AT_ONCE
    )


def _marginal_samples(
    answers: AnswerNetwork, size: int, key: PRNGKeyArray, joint: JointBatch
) -> Float[Array, "steps samples state"]:
    told = fuse_each(answers, joint.histories, _teams(joint, size, key))
    return draw_marginals(told.mean, told.variance, told.types, NUM_SAMPLES, key=key)


def _seconds_of_networks(curves: Sequence[Mapping[str, float]]) -> list[float]:
    """Of training one network after the other; with each, steps begin anew."""
    following = [*(point["step"] for point in curves[1:]), 0]
    return [point["seconds"] for point, step in zip(curves, following, strict=True) if step <= point["step"]]
