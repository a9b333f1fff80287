"""A cell of Table 1: one denoiser trained and judged at one setting and seed.

It is trained on the setting's samples; individual and composite diffusion and all baselines then get the same number of
its calls, from the same noises, at joint histories that it was trained on and at held-out ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.baselines.flows import BASELINES, baseline_batch
from composite_flow.baselines.training import num_parameters
from composite_flow.composite.reconstruct import reconstruct_batch
from composite_flow.data.dataset import HistoryDataset, JointBatch
from composite_flow.denoiser import Denoiser
from composite_flow.metrics import decibels
from composite_flow.problems.smax import SMAX
from composite_flow.training.fit import TrainingConfig, fit
from composite_flow_paper.shared.cells import Progress
from composite_flow_paper.shared.paired_error import EpisodeErrors, paired_gap
from composite_flow_paper.table1.common_information import saved
from composite_flow_paper.table1.worlds import Parts, World, Worlds, WorldSettings, divide

RIVALS = ("plain", "stronger", "joint_regression", "variational")


@dataclass(frozen=True)
class Setting:
    """One setting of the table: width, time steps to train on, length of histories, the allies' sight, race."""

    width: int
    samples: int
    length: int
    sight: float
    race: str

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.race}-sight{self.sight:g}-width{self.width}-samples{self.samples}-length{self.length}"

    @property
    def world(self) -> World:
        """Where it is trained and tested."""
        return World(self.race, self.sight)


@dataclass(frozen=True)
class Table1Settings:
    """What Table 1 depends on.

    Attributes:
        default: the setting that all panels share.
        width, samples, length, sight, race: each panel's values, the default's among them.
        worlds: policies and episodes.
        training: of every network, but for the width.
        num_histories: joint histories of each part that are reconstructed.
        num_samples: samples of each; a multiple of the agents gives each agent as many individual flows.
        num_sweeps: of composite diffusion; sets the number of calls of everything else.
        rivals: which are trained, at the default.
        num_seeds: of divisions of the episodes and of training.
    """

    default: Setting = Setting(512, 100_000, 5, 9, "zerg")
    width: tuple[int, ...] = (128, 256, 512)
    samples: tuple[int, ...] = (10, 10_000, 100_000)
    length: tuple[int, ...] = (1, 5, 10)
    sight: tuple[float, ...] = (5, 9)
    race: tuple[str, ...] = ("zerg", "terran", "protoss")
    worlds: WorldSettings = field(default_factory=WorldSettings)
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            batch=256, steps=8000, learning_rate=1e-3, record_every=1000, evaluate_every=1000
        )
    )
    num_histories: int = 1000
    num_samples: int = 5
    num_sweeps: int = 6
    rivals: tuple[str, ...] = RIVALS
    num_seeds: int = 3


def parts_of(settings: WorldSettings, setting: Setting, seed: int, worlds: Worlds) -> Parts:
    """One seed's division of the setting's world."""
    episodes = worlds[setting.world].episodes
    return divide(episodes, settings, setting.samples, setting.length, seed)


def compute(
    settings: Table1Settings,
    setting: Setting,
    seed: int,
    worlds: Worlds,
    progress: Progress,
    folder: Path | None = None,
    extras: bool = False,
) -> dict[str, Any]:
    """Train one network and reconstruct.

    Args:
        settings: of the experiment.
        setting: of this cell.
        seed: of the division of the episodes and of training.
        worlds: where episodes come from.
        progress: told what is going on.
        folder: keeps the training of an interrupted cell.
        extras: all baselines as well, and what common information saves.
    """
    key_fit, key_judge = jax.random.split(jax.random.key(seed))
    parts = parts_of(settings.worlds, setting, seed, worlds)
    model = fit(
        parts.train,
        None,
        replace(settings.training, width=setting.width),
        key=key_fit,
        folder=folder,
        resume=folder is not None,
        history_range=parts.history_range,
        progress=lambda step, total, loss: progress(f"{setting.name}: step {step} of {total}, loss {loss:.3f}"),
    )
    estimator = denoising(model.denoiser, settings, key_judge, tuple(BASELINES) if extras else ("individual_flow",))
    return {
        "world": worlds[setting.world].facts,
        "parameters": num_parameters(model.denoiser),
        "train_seconds": model.curves[-1]["seconds"],
        "final_loss": model.curves[-1]["loss"],
        **judged(settings, parts, seed, estimator, ("individual", "composite")),
        "common": common_information(settings, worlds[setting.world].problem, parts, seed, model.denoiser, key_judge)
        if extras
        else None,
    }


def common_information(
    settings: Table1Settings, problem: SMAX, parts: Parts, seed: int, denoiser: Denoiser, key: PRNGKeyArray
) -> dict[str, Any]:
    """What it saves at the test steps."""
    joint = parts.test.joint(parts.test_steps(settings.num_histories, seed))
    return saved(problem, denoiser, joint, key=key, num_samples=settings.num_samples, num_sweeps=settings.num_sweeps)


Estimator = Callable[[JointBatch], Mapping[str, Float[Array, "steps samples state"]]]


def denoising(
    denoiser: Denoiser, settings: Table1Settings, key: PRNGKeyArray, baselines: tuple[str, ...] = ("individual_flow",)
) -> Estimator:
    """Samples of composite diffusion and of baselines, on equally many calls of a denoiser and from the same noises.

    Beside the parallel mean stand the means of its samples and of composite diffusion's, on as many times the calls: a
    sample errs by its own scatter and that of the truth, a regression, which answers with a mean, by the latter alone.
    """
    options = {"key": key, "num_samples": settings.num_samples, "num_sweeps": settings.num_sweeps}

    def estimate(joint: JointBatch) -> dict[str, Float[Array, "steps samples state"]]:
        found = {name: baseline_batch(BASELINES[name], denoiser, joint.histories, **options) for name in baselines}
        found["individual"] = found.pop("individual_flow")
        found["composite"] = reconstruct_batch(denoiser, joint.histories, **options).samples
        averaged = ("composite", "parallel_mean") if "parallel_mean" in baselines else ()
        means = {f"{name}_averaged": jnp.mean(found[name], axis=1, keepdims=True) for name in averaged}
        return {**found, **means}

    return estimate


def judged(
    settings: Table1Settings, parts: Parts, seed: int, estimator: Estimator, pair: tuple[str, str] | None
) -> dict[str, Any]:
    """PSNR of each estimator on training and test steps, the gap of a pair of them, and the test episodes' errors."""
    count = settings.num_histories
    train = errors_at(parts.train, parts.train_steps(count, seed), estimator)
    test = errors_at(parts.test, parts.test_steps(count, seed), estimator)
    return {
        "train": {"psnr": psnrs(train), "gap": paired_gap(train, *pair) if pair else None},
        "test": {"psnr": psnrs(test), "gap": paired_gap(test, *pair) if pair else None, "episodes": test.to_json()},
    }


def errors_at(part: HistoryDataset, steps: Int[Array, " steps"], estimator: Estimator) -> EpisodeErrors:
    """Squared error of each estimator, averaged over samples and features, at these steps."""
    joint = part.joint(steps)
    errors = {
        name: jnp.mean((samples - joint.states[:, None]) ** 2, axis=(1, 2))
        for name, samples in estimator(joint).items()
    }
    return EpisodeErrors.of_steps(errors, part.windows.episode_of_step[steps])


def psnrs(errors: EpisodeErrors) -> dict[str, float]:
    """PSNR of each estimator: −10 log10 of the mean squared error over all steps, samples and features."""
    return {name: float(decibels(errors.mean(name))) for name in errors.means}
