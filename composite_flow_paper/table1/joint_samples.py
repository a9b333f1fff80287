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

from composite_flow.baselines.training import num_parameters
from composite_flow.data.dataset import JointBatch
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.fuse import fuse_each
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.team_denoiser import TeamDenoiser
from composite_flow.fusion.team_sampling import sample_conditional
from composite_flow.metrics import sample_scores
from composite_flow_paper.shared.cells import Workspace
from composite_flow_paper.shared.joint_samples import draw_joint_samples
from composite_flow_paper.table1.battles import Division
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
        **judged(settings, division, seed, means_of(draws), None),
        "scores": scores_of(draws, settings, division, seed),
    }


def means_of(draws: Mapping[str, Draw]) -> Estimator:
    """One sample of each way to draw them, and the mean of its samples."""

    def estimate(joint: JointBatch) -> Mapping[str, Float[Array, "steps 1 state"]]:
        found = {name: draw(joint) for name, draw in draws.items()}
        means = {f"mean_of_{name}": jnp.mean(drawn, axis=1, keepdims=True) for name, drawn in found.items()}
        return {**{name: drawn[:, :1] for name, drawn in found.items()}, **means}

    return estimate


def scores_of(
    draws: Mapping[str, Draw], settings: Table1Settings, division: Division, seed: int
) -> dict[str, dict[str, float]]:
    """Energy and variogram score of each way to draw samples, at the test steps."""
    joint = division.test.joint(division.test_steps(settings.num_histories, seed))
    found = {name: sample_scores(draw(joint), joint.states) for name, draw in draws.items()}
    return {name: {"energy": float(energy), "variogram": float(spread)} for name, (energy, spread) in found.items()}


def marginal_samples(
    types: FeatureTypes,
    mean: Float[Array, " state"],
    variance: Float[Array, " state"],
    num_samples: int,
    key: PRNGKeyArray,
) -> Float[Array, "{num_samples} state"]:
    """Every feature drawn by itself: numbers from Gaussians, binary features from coins, groups as one of k."""
    key_number, key_coin, *keys = jax.random.split(key, 2 + len(types.groups))
    shape = num_samples, len(mean)
    numbers = mean[None] + jnp.sqrt(variance)[None] * jax.random.normal(key_number, shape)
    coins = (jax.random.uniform(key_coin, shape) < mean[None]).astype(mean.dtype)
    drawn = jnp.where(types.is_number, numbers, coins)
    for (first, stop), key in zip(types.groups, keys, strict=True):
        logits = jnp.log(jnp.maximum(mean[first:stop], jnp.finfo(mean.dtype).tiny))
        chosen = jax.random.categorical(key, logits, shape=(num_samples,))
        drawn = drawn.at[:, first:stop].set(jax.nn.one_hot(chosen, stop - first, dtype=mean.dtype))
    return drawn


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
    keys = jax.random.split(key, len(joint.states))
    draw = partial(marginal_samples, answers.prior.types)
    return jax.vmap(lambda mean, variance, key: draw(mean, variance, NUM_SAMPLES, key))(told.mean, told.variance, keys)


def _seconds_of_networks(curves: Sequence[Mapping[str, float]]) -> list[float]:
    """Of training one network after the other; with each, steps begin anew."""
    following = [*(point["step"] for point in curves[1:]), 0]
    return [point["seconds"] for point, step in zip(curves, following, strict=True) if step <= point["step"]]
