"""A cell of this experiment: one world is learned once, and samples are held against the exact joint posterior.

team denoiser      as `fit` trains it, 16 free numbers in each answer
without one agent  the same network, where one agent is not heard; its exact posterior is uniform
no free numbers    a team denoiser of the same training, whose message has no free numbers
summed answers     independent draws of each feature or group from the fused probabilities
composite          composite diffusion
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.baselines.training import train_baseline
from composite_flow.belief import exact_belief
from composite_flow.composite.reconstruct import reconstruct_batch
from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.windows import JointBatch
from composite_flow.fusion.fuse import fuse_each
from composite_flow.fusion.joint_steps import JointSteps
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.team_denoiser import TeamDenoiser, build_team_denoiser
from composite_flow.fusion.team_loss import team_denoiser_losses
from composite_flow.fusion.team_sampling import sample_conditional
from composite_flow.problems.tabular import TabularProblem
from composite_flow.training.config import TrainingConfig
from composite_flow.training.fit import fit
from composite_flow_paper.jointly.problems import PROBLEMS, build_problem, team_posterior_each
from composite_flow_paper.shared.cells import Progress, Workspace, told_steps
from composite_flow_paper.shared.joint_samples import draw_joint_samples, judge_samples
from composite_flow_paper.shared.marginal_samples import draw_marginals
from composite_flow_paper.shared.sensor_runs import choose_steps

TRAINING = TrainingConfig(
    learn="both",
    width=64,
    depth=2,
    batch=128,
    steps=1000,
    fusion_steps=4000,
    learning_rate=4e-3,
    warmup=100,
    average=0.98,
    record_every=500,
    evaluate_every=500,
)


@dataclass(frozen=True)
class JointlySettings:
    """What the experiment depends on.

    Attributes:
        problems: names of worlds.
        num_episodes: collected at random.
        training: of the denoiser, the answers and the team denoiser.
        num_joint: test joint histories.
        num_samples: of each of them.
        num_steps: calls of the team denoiser for each sample.
        num_sweeps: of composite diffusion.
        num_seeds: training seeds.
    """

    problems: tuple[str, ...] = PROBLEMS
    num_episodes: int = 256
    training: TrainingConfig = field(default_factory=lambda: TRAINING)
    num_joint: int = 50
    num_samples: int = 400
    num_steps: int = 30
    num_sweeps: int = 6
    num_seeds: int = 3


def compute(settings: JointlySettings, name: str, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Learn one world, sample, and compare with the exact posteriors."""
    started = time.process_time()
    problem = build_problem(name)
    key_data, key_train, key_choice, key_samples = jax.random.split(jax.random.key(seed), 4)
    train, validation, test = _collected(problem, settings.num_episodes, key_data)
    model = fit(train, validation, settings.training, key=key_train, progress=told_steps(workspace.progress))
    assert model.fusion is not None
    without = _without_free_numbers(model.fusion, train, settings.training, key_train, workspace.progress)
    joint = test.joint(choose_steps(test, settings.num_joint, key_choice))
    trained = time.process_time() - started
    workspace.progress("drawing samples")
    samples = _samples(settings, model.denoiser, model.fusion, without, joint, key_samples)
    return {
        "agents": problem.num_agents,
        "states": problem.num_states,
        "joint_histories": len(np.unique(np.asarray(joint.histories), axis=0)),
        **judged(problem, joint, samples),
        "team_denoiser_loss": model.curves[-1]["validation_loss"],
        "train_seconds": trained,
        "seconds": time.process_time() - started,
    }


def judged(
    problem: TabularProblem, joint: JointBatch, samples: Mapping[str, Float[Array, "joint samples state"]]
) -> dict[str, Any]:
    """Samples of each way held against the exact posteriors, and what guesses come to.

    Each sample counts as the state nearest to it; `undecided` is the share that rounding at 0.5 would make no state.
    """
    belief = exact_belief(problem, joint.structured, joint=True)
    whole, heard = belief.probabilities, all_but_one(*joint.histories.shape[:2])
    # one observation each; the states in the order of `belief`, hidden states being distinct
    part = team_posterior_each(problem, joint.structured.observations[:, :, 0], heard)
    ways = {}
    for way, drawn in samples.items():
        posterior = part if way == "without_one_agent" else whole
        decided = jnp.all((drawn > 0.5) == (_nearest(drawn, belief.states) > 0.5), axis=-1)
        scores = judge_samples(_nearest(drawn, belief.states), belief.states, posterior)
        ways[way] = {**scores.means(), "undecided": 1.0 - float(jnp.mean(decided))}
    return {"ways": ways, "chance": chance(whole), "states_allowed": float(jnp.mean(jnp.sum(whole > 0, axis=1)))}


def chance(posteriors: Float[Array, "joint states"]) -> float:
    """Total variation of uniform guesses, ½ Σ_s |1/S − p(s | τ)|, averaged over joint histories."""
    exact = np.asarray(posteriors, np.float64)
    return float(np.mean(0.5 * np.abs(exact - 1.0 / exact.shape[1]).sum(axis=1)))


def all_but_one(num_joint: int, num_agents: int) -> Bool[Array, "joint agents"]:
    """Participants: every agent but one, which changes from one joint history to the next."""
    return jnp.arange(num_joint)[:, None] % num_agents != jnp.arange(num_agents)[None]


def _collected(
    problem: TabularProblem, num_episodes: int, key: PRNGKeyArray
) -> tuple[HistoryDataset, HistoryDataset, HistoryDataset]:
    key_episodes, key_split = jax.random.split(key)
    dataset = HistoryDataset(collect(problem, num_episodes, key=key_episodes), length=1)
    train, validation, test = dataset.split(key=key_split)
    return train, validation, test


def _without_free_numbers(
    fusion: LearnedFusion, train: HistoryDataset, config: TrainingConfig, key: PRNGKeyArray, progress: Progress
) -> TeamDenoiser:
    """A team denoiser over the same answers and with the same training, but no free numbers."""
    steps, answers = config.fusion_steps, fusion.learned_team_denoiser.answers
    tell = told_steps(lambda sentence: progress(f"without free numbers, {sentence}"))
    return train_baseline(
        lambda key: build_team_denoiser(answers, config.width, num_free=0, speaker_width=config.width, key=key),
        JointSteps(train),
        TrainingConfig(**{**vars(config), "steps": steps, "batch": config.batch // train.num_agents}),
        key=key,
        losses=team_denoiser_losses,
        progress=tell,
    ).last


def _samples(
    settings: JointlySettings, denoiser, fusion: LearnedFusion, without: TeamDenoiser, joint: JointBatch, key
) -> dict[str, Float[Array, "joint samples state"]]:
    """As many samples of each joint history, by every way."""
    histories, count, keys = joint.histories, settings.num_samples, jax.random.split(key, 5)
    everyone = jnp.ones(histories.shape[:2], bool)
    draw = partial(sample_conditional, num_steps=settings.num_steps)
    team = fusion.learned_team_denoiser
    heard = all_but_one(*everyone.shape)
    fused = fuse_each(fusion.answers, histories, everyone)
    composite = reconstruct_batch(
        denoiser, histories, key=keys[4], num_samples=count, num_sweeps=settings.num_sweeps
    ).samples
    return {
        "team_denoiser": draw_joint_samples(team, histories, everyone, count, draw, key=keys[0]),
        "without_one_agent": draw_joint_samples(team, histories, heard, count, draw, key=keys[1]),
        "no_free_numbers": draw_joint_samples(without, histories, everyone, count, draw, key=keys[2]),
        "summed_answers": draw_marginals(fused.mean, fused.variance, fused.types, count, key=keys[3]),
        "composite": composite,
    }


def _nearest(
    samples: Float[Array, "joint samples state"], states: Float[Array, "states state"]
) -> Float[Array, "joint samples state"]:
    """The state nearest to each sample; the first of them where there are several."""
    return jax.lax.map(jax.vmap(lambda one: states[jnp.argmin(jnp.sum((states - one) ** 2, axis=1))]), samples)
