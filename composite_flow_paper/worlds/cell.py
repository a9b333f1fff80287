"""A cell: one world is collected and learned once, and every way estimates the states of the same test steps.

constant          the mean state of training
ridge alone       each agent's own linear estimate; its error is the mean over agents
ridge             the linear estimate from all histories
individual        each agent's own flows, at as many calls as composite diffusion; the mean over samples
composite         composite diffusion (Definition 6); the mean over samples
fusion            the sum of the agents' answers
joint regression  one network that reads all histories at once, with as many units

Actions are random, so that episodes tell of the world and not of a policy. Costs are CPU seconds of training.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.baselines.flows import BASELINES, baseline_batch
from composite_flow.baselines.regression import (
    JointPairs,
    concatenated_histories,
    joint_regression,
    regression_estimates,
    regression_losses,
)
from composite_flow.baselines.ridge import fit_ridge
from composite_flow.baselines.training import train_baseline
from composite_flow.composite.reconstruct import reconstruct_batch
from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.episodes import Episodes
from composite_flow.model import Model
from composite_flow.problems.host import closing
from composite_flow.problems.kinds import world_from_text
from composite_flow.training.config import TrainingConfig
from composite_flow.training.fit import fit
from composite_flow_paper.shared.cells import Progress, Workspace, told_steps
from composite_flow_paper.shared.fusion_runs import fused_means, joint_arrays

TRAINING = TrainingConfig(
    learn="both",
    team_denoiser=False,
    width=256,
    batch=256,
    steps=10_000,
    fusion_steps=10_000,
    learning_rate=2e-3,
    record_every=1000,
    evaluate_every=1000,
)


@dataclass(frozen=True)
class World:
    """A world and how much is collected in it.

    Attributes:
        name: of its cells.
        text: as the command line names it.
        num_episodes, num_steps: episodes, and most steps of each.
        length: H, of histories.
    """

    name: str
    text: str
    num_episodes: int
    num_steps: int
    length: int = 2


@dataclass(frozen=True)
class WorldsSettings:
    """What the experiment depends on.

    Attributes:
        worlds: those that are computed.
        training: of denoiser and answers; joint regression has its width, depth, batch and steps.
        num_joint: test joint histories.
        num_samples, num_sweeps: of composite diffusion.
        num_seeds: of episodes and training.
    """

    worlds: tuple[World, ...]
    training: TrainingConfig = field(default_factory=lambda: TRAINING)
    num_joint: int = 1000
    num_samples: int = 4
    num_sweeps: int = 6
    num_seeds: int = 3


def compute(settings: WorldsSettings, world: World, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Collect, learn, estimate: squared errors of every way, by test episode."""
    key_data, key_split, key_train, key_choice, key_flow = jax.random.split(jax.random.key(seed), 5)
    workspace.progress("collecting")
    episodes = collected(world, key_data)
    dataset = HistoryDataset(episodes, length=world.length)
    train, validation, test = dataset.split(key=key_split)
    chosen = jax.random.choice(key_choice, test.steps, (min(settings.num_joint, test.num_steps),), replace=False)
    steps = np.sort(np.asarray(chosen))
    started = time.process_time()
    model = fit(train, validation, settings.training, key=key_train, progress=told_steps(workspace.progress))
    learned = time.process_time()
    regressed = joint_estimates(settings.training, train, test, steps, key_train, workspace.progress)
    costs = {"train_seconds": learned - started, "joint_regression_seconds": time.process_time() - learned}
    found = estimates(settings, model, (train, validation, test), steps, key_flow, workspace.progress)
    truth = np.asarray(test.joint(steps).states)
    which = np.unique(np.searchsorted(np.asarray(episodes.starts), steps, side="right"), return_inverse=True)[1]
    ways = {**found, "joint_regression": regressed[:, None]}
    return {
        "sizes": {
            "agents": dataset.num_agents,
            "observation": dataset.layout.observation_size,
            "state": truth.shape[1],
        },
        "varying": int((np.ptp(truth, axis=0) > 0).sum()),
        "steps": np.bincount(which).tolist(),
        "errors": {name: by_episode(each, truth, which) for name, each in ways.items()},
        **costs,
    }


def collected(world: World, key: PRNGKeyArray) -> Episodes:
    """Random episodes."""
    problem = world_from_text(world.text)
    with closing(problem):
        return collect(problem, world.num_episodes, key=key, num_steps=world.num_steps)


def estimates(
    settings: WorldsSettings,
    model: Model,
    parts: tuple[HistoryDataset, HistoryDataset, HistoryDataset],
    steps: Int[np.ndarray, " steps"],
    key: PRNGKeyArray,
    progress: Progress,
) -> Mapping[str, Float[np.ndarray, "steps estimates state"]]:
    """Every way's estimates, but for joint regression; of several each counts."""
    train, validation, test = parts
    progress("ridge regression")
    alone = fit_ridge(train, validation, together=False)
    together = fit_ridge(train, validation, together=True)
    joint = test.joint(steps)
    histories = jnp.asarray(joint.histories)
    count, sweeps = settings.num_samples, settings.num_sweeps
    progress("flows")
    samples = reconstruct_batch(model.denoiser, histories, key=key, num_samples=count, num_sweeps=sweeps).samples
    flow = BASELINES["individual_flow"]
    individual = baseline_batch(
        flow, model.denoiser, histories, key=key, num_samples=count, num_sweeps=sweeps, sigma=1.0
    )
    assert model.answers is not None, "the settings say so"
    fused = fused_means(model.answers, joint_arrays(model.answers, test, jnp.asarray(steps))[0])
    mean = np.broadcast_to(np.asarray(together.mean), (len(steps), 1, test.state_size))
    return {
        "constant": mean,
        "ridge_alone": alone.estimates(test, steps),
        "ridge": together.estimates(test, steps),
        "individual": np.asarray(individual).mean(axis=1, keepdims=True),
        "composite": np.asarray(samples).mean(axis=1, keepdims=True),
        "fusion": np.asarray(fused)[:, None],
    }


def joint_estimates(
    training: TrainingConfig,
    train: HistoryDataset,
    test: HistoryDataset,
    steps: Int[np.ndarray, " steps"],
    key: PRNGKeyArray,
    progress: Progress,
) -> Float[np.ndarray, "steps state"]:
    """Joint regression: trained on all histories side by side."""
    pairs = JointPairs(train)
    low, high = pairs_range(train)

    def build(key: PRNGKeyArray):
        return joint_regression(low, high, train.state_size, training.width, training.depth, key=key)

    network = train_baseline(
        build,
        pairs,
        training,
        key=key,
        losses=regression_losses,
        progress=told_steps(lambda sentence: progress(f"joint regression, {sentence}")),
    ).last
    rows = concatenated_histories(jnp.asarray(test.joint(steps).histories))
    return np.asarray(regression_estimates(network, rows))


def pairs_range(train: HistoryDataset) -> tuple[Float[Array, " joint"], Float[Array, " joint"]]:
    """The range of each column of joint histories, of at most 4,096 training steps."""
    steps = np.asarray(train.steps)
    some = np.sort(np.random.default_rng(0).choice(steps, min(4096, len(steps)), replace=False))
    rows = concatenated_histories(jnp.asarray(train.joint(some).histories))
    return jnp.min(rows, axis=0), jnp.max(rows, axis=0)


def by_episode(
    found: Float[np.ndarray, "steps estimates state"],
    truth: Float[np.ndarray, "steps state"],
    which: Int[np.ndarray, " steps"],
) -> list[float]:
    """The sum over the steps of each test episode of the squared error of a feature."""
    errors = np.mean((found.astype(np.float64) - truth[:, None]) ** 2, axis=(1, 2))
    return np.bincount(which, errors).tolist()
