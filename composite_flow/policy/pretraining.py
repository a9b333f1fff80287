"""Learning what agents infer by before they learn to act, from episodes under random actions.

What was learned before need not change under a policy that learns to act on it. Own episodes serve as well:
`composite-flow train` learns from them, and `--denoiser` takes the run.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PRNGKeyArray

from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow.errors import InputError
from composite_flow.files.plain_json import jsonable
from composite_flow.model import MODEL_FILE, Model, load
from composite_flow.policy.config import MappoConfig
from composite_flow.policy.inputs import input_class
from composite_flow.policy.watch import PolicyListener
from composite_flow.problems.base import Problem
from composite_flow.training.config import TrainingConfig
from composite_flow.training.fit import fit
from composite_flow.training.progress import Progress

INFERENCE_FOLDER = "inference"
"""In a policy's run, the run of what its agents infer by."""
_PRETRAIN = 2**32 - 7  # folded into the key; no update has this number
_LOST = 0.5  # most of the answers that a chain loses in training, where messages are lost to the policy


@dataclasses.dataclass(frozen=True)
class Pretraining:
    """How much is learned before the policy.

    Raises:
        InputError: a number is out of range.
    """

    pretrain: int = 0
    """Episodes under random actions from which agents learn to infer before they learn to act; with 0 they do not."""
    pretrain_steps: int = 8_000
    """Steps of the optimiser for that."""

    def __post_init__(self):
        if self.pretrain < 0 or 0 < self.pretrain < 3:
            raise InputError(f"The setting pretrain must be 0, or at least 3 episodes, not {self.pretrain}.")
        if self.pretrain_steps < 1:
            raise InputError(f"The setting pretrain_steps must be positive, not {self.pretrain_steps}.")


def pretrained(
    problem: Problem,
    config: MappoConfig,
    pretraining: Pretraining,
    *,
    key: PRNGKeyArray,
    folder: str | os.PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | bool | None = True,
    listener: PolicyListener | None = None,
) -> Model:
    """The model that a policy with these settings infers by.

    A chain over time for beliefs, fusion for samples of the team, and a denoiser otherwise.

    Args:
        problem: the world.
        config: of the policy.
        pretraining: episodes and steps.
        key: of episodes and training.
        folder, resume, overwrite, progress: as of `fit`.
        listener: hears of its learning curves.

    Raises:
        InputError: agents of this input infer nothing, or nothing is to be learned.
    """
    check_pretraining(config, pretraining)
    length = 1 if input_class(config.inputs).carries else config.inference.history
    key_data, key_split, key_fit = jax.random.split(key, 3)
    dataset = HistoryDataset(collect(problem, pretraining.pretrain, key=key_data), length)
    train, validation, _ = dataset.split(key=key_split)
    if listener is not None:
        listener.starts(train.scaling)
    return fit(
        train,
        validation,
        training_of(config, pretraining.pretrain_steps),
        key=key_fit,
        folder=folder,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
        record=None if listener is None else listener.curve,
        description={"problem": jsonable(problem.description)},
    )


def pretrained_in(
    run: Path,
    problem: Problem,
    config: MappoConfig,
    pretraining: Pretraining,
    seed: int,
    *,
    resume: bool,
    overwrite: bool,
    progress: Progress,
    listener: PolicyListener | None = None,
) -> Model:
    """What a policy's run infers by: as its folder has it where it is resumed, or learned now.

    Args:
        run: folder of the policy's run.
        problem, config, pretraining, progress, listener: as of `pretrained`.
        seed: of the policy's run.
        resume: go on with what is there.
        overwrite: what is there may be replaced.
    """
    folder, key = run / INFERENCE_FOLDER, jax.random.fold_in(jax.random.key(seed), _PRETRAIN)
    if resume and (folder / MODEL_FILE).exists():
        return load(folder)
    options: dict[str, Any] = {"resume": resume, "overwrite": overwrite, "progress": progress, "listener": listener}
    return pretrained(problem, config, pretraining, key=key, folder=folder, **options)


def check_pretraining(config: MappoConfig, pretraining: Pretraining) -> None:
    """Refuse what cannot be learned before a policy.

    Raises:
        InputError: agents of this input infer nothing, or nothing is to be learned.
    """
    if not input_class(config.inputs).infers:
        raise InputError(
            f"With the input '{config.inputs}' agents infer nothing that could be learned; leave pretrain out."
        )
    if not pretraining.pretrain:
        raise InputError("To learn what agents infer by, say from how many episodes: pretrain is 0.")


def training_of(config: MappoConfig, steps: int) -> TrainingConfig:
    """What is trained: the settings of a gated chain are those that reproduce `over_time`."""
    chosen, settings = input_class(config.inputs), config.inference
    if config.samples_of == "team":
        return TrainingConfig(learn="fusion", width=settings.denoiser_width, depth=settings.denoiser_depth, steps=steps)
    if not chosen.carries:
        return TrainingConfig(width=settings.denoiser_width, depth=settings.denoiser_depth, steps=steps)
    return TrainingConfig(
        learn="fusion",
        team_denoiser=False,
        over_time="gated",
        width=128,
        depth=3,
        steps=steps,
        learning_rate=2e-3,
        warmup=100,
        lost=max(_LOST, settings.lost) if settings.lost else 0.0,
        alone=0.0 if chosen.together else 1.0,
    )
