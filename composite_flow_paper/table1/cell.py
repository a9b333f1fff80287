"""A cell of Table 1: one denoiser trained and judged at one setting and seed.

It is trained on the setting's samples; individual and composite diffusion and all baselines then get the same number of
its calls, from the same noises, at joint histories that it was trained on and at held-out ones.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.baselines.flows import BASELINES, baseline_batch
from composite_flow.baselines.training import num_parameters
from composite_flow.composite.reconstruct import reconstruct_batch
from composite_flow.data.dataset import HistoryDataset, JointBatch
from composite_flow.denoiser import Denoiser
from composite_flow.files.plain_json import LATER
from composite_flow.metrics import decibels
from composite_flow.problems.smax import SMAX
from composite_flow.training.fit import TrainingConfig, fit
from composite_flow_paper.shared.cells import Workspace, told_steps
from composite_flow_paper.shared.paired_error import EpisodeErrors, psnr_difference
from composite_flow_paper.table1.battles import (
    Battle,
    BattleEpisodes,
    Division,
    EpisodeSettings,
    battle_episodes,
    divide,
)
from composite_flow_paper.table1.common_information import saved
from composite_flow_paper.table1.sample_scores import scores_told

RIVALS = ("plain", "stronger", "joint_regression", "variational")
ABLATIONS = ("without_centring", "one_precision", "whole_teams")
FEW_SEEDS = (
    "singly",
    "transformer",
    "transformer_of_any_team",
    "latent_diffusion",
    "joint_samples",
    "composite_samples",
    "intervals",
    *ABLATIONS,
)
BEYOND = (
    "fusion",
    "joint_of_equal_weights",
    "chain",
    "ridge",
    "joint_tuned",
    "joint_tuned_of_equal_weights",
    *FEW_SEEDS,
)


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
        """Of its cells."""
        return f"{self.race}-sight{self.sight:g}-width{self.width}-samples{self.samples}-length{self.length}"

    @property
    def battle(self) -> Battle:
        """Where it is trained and tested."""
        return Battle(self.race, self.sight)


@dataclass(frozen=True)
class Table1Settings:
    """What Table 1 depends on.

    Attributes:
        default: the setting that all panels share.
        width, samples, length, sight, race: each panel's values, the default's among them.
        worlds: policies and episodes of the battles.
        training: of every network, but for the width.
        num_histories: joint histories of each part that are reconstructed.
        num_samples: samples of each; a multiple of the agents gives each agent as many individual flows.
        num_sweeps: of composite diffusion; sets the number of calls of everything else.
        rivals: which are trained, at the default.
        num_seeds: of divisions of the episodes and of training.
        beyond: what is beyond the paper, at the default.
        fusion_width: units a layer of fusion's networks, in all columns.
        beyond_seeds: as many of these,
        rival_seeds: but for these, of which there are as many: `FEW_SEEDS`, and fusion in the other columns.
        calibration_episodes, fresh_episodes: from which intervals are taken, and on which they are judged.
    """

    default: Setting = Setting(512, 100_000, 5, 9, "zerg")
    width: tuple[int, ...] = (128, 256, 512)
    samples: tuple[int, ...] = (10, 10_000, 100_000)
    length: tuple[int, ...] = (1, 5, 10)
    sight: tuple[float, ...] = (5, 9)
    race: tuple[str, ...] = ("zerg", "terran", "protoss")
    worlds: EpisodeSettings = field(default_factory=EpisodeSettings)
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
    beyond: tuple[str, ...] = field(default=BEYOND, metadata=LATER)
    fusion_width: int = field(default=128, metadata=LATER)
    beyond_seeds: int = field(default=8, metadata=LATER)
    rival_seeds: int = field(default=3, metadata=LATER)
    calibration_episodes: int = field(default=2000, metadata=LATER)
    fresh_episodes: int = field(default=400, metadata=LATER)


def columns_of(settings: Table1Settings) -> dict[str, list[Setting]]:
    """The settings of each panel."""
    return {
        panel: [replace(settings.default, **{panel: value}) for value in getattr(settings, panel)]
        for panel in ("width", "samples", "length", "sight", "race")
    }


def group_of(settings: Table1Settings, setting: Setting, kind: str | None) -> str:
    """The name of cells: of the setting, of what is trained, or of both in the columns beside the default."""
    if kind is None:
        return setting.name
    return kind if setting == settings.default else f"{kind}-{setting.name}"


def divided(
    settings: EpisodeSettings, setting: Setting, seed: int, workspace: Workspace
) -> tuple[BattleEpisodes, Division]:
    """The episodes of the setting's battle, and one seed's division of them."""
    played = battle_episodes(settings, setting.battle, workspace.folder, workspace.progress)
    return played, divide(played.episodes, settings, setting.samples, setting.length, seed)


def compute(
    settings: Table1Settings, setting: Setting, seed: int, workspace: Workspace, *, extras: bool = False
) -> dict[str, Any]:
    """Train one network and reconstruct; an interrupted training goes on from the scratch folder.

    Args:
        settings: of the experiment.
        setting: of this cell.
        seed: of the division of the episodes and of training.
        workspace: where episodes are.
        extras: all baselines as well, and what common information saves.
    """
    key_fit, key_judge = jax.random.split(jax.random.key(seed))
    played, division = divided(settings.worlds, setting, seed, workspace)
    model = fit(
        division.train,
        None,
        replace(settings.training, width=setting.width),
        key=key_fit,
        folder=workspace.scratch,
        resume=True,
        history_range=division.history_range,
        progress=told_steps(workspace.progress),
    )
    workspace.progress("reconstruction")
    estimator = denoising(model.denoiser, settings, key_judge, tuple(BASELINES) if extras else ("individual_flow",))
    return {
        "world": played.facts,
        "parameters": num_parameters(model.denoiser),
        "train_seconds": model.curves[-1]["seconds"],
        "final_loss": model.curves[-1]["loss"],
        **judged(settings, division, seed, estimator, ("individual", "composite")),
        "common": common_information(settings, played.problem, division, seed, model.denoiser, key_judge)
        if extras
        else None,
    }


def common_information(
    settings: Table1Settings, problem: SMAX, division: Division, seed: int, denoiser: Denoiser, key: PRNGKeyArray
) -> dict[str, Any]:
    """What it saves at the test steps."""
    joint = division.test.joint(division.test_steps(settings.num_histories, seed))
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
    settings: Table1Settings,
    division: Division,
    seed: int,
    estimator: Estimator,
    pair: tuple[str, str] | None,
    scored: Sequence[str] = (),
) -> dict[str, Any]:
    """PSNR of each estimator on training and test steps, a pair's difference, and the test episodes' errors.

    Those that are scored draw samples, whose scores at the test steps are told as well.
    """
    count = settings.num_histories
    train, _ = errors_at(division.train, division.train_steps(count, seed), estimator)
    test, scores = errors_at(division.test, division.test_steps(count, seed), estimator, scored)
    found = {
        "train": {"psnr": psnrs(train), "gap": psnr_difference(train, *pair) if pair else None},
        "test": {
            "psnr": psnrs(test),
            "gap": psnr_difference(test, *pair) if pair else None,
            "episodes": test.to_json(),
        },
    }
    return {**found, "scores": scores} if scored else found


def errors_at(
    part: HistoryDataset, steps: Int[Array, " steps"], estimator: Estimator, scored: Sequence[str] = ()
) -> tuple[EpisodeErrors, dict[str, dict[str, float]]]:
    """Squared error of each estimator at these steps, averaged over samples and features; scores of those asked for."""
    joint = part.joint(steps)
    found = estimator(joint)
    errors = {name: jnp.mean((samples - joint.states[:, None]) ** 2, axis=(1, 2)) for name, samples in found.items()}
    scores = {name: scores_told(found[name], joint.states) for name in scored}
    return EpisodeErrors.of_steps(errors, part.windows.episode_of_step[steps]), scores


def psnrs(errors: EpisodeErrors) -> dict[str, float]:
    """PSNR of each estimator: −10 log10 of the mean squared error over all steps, samples and features."""
    return {name: float(decibels(errors.mean(name))) for name in errors.means}
