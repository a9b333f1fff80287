"""Training a policy from start to end: progress, learning curves, checkpoints.

A run that was interrupted at any moment and resumed ends, on the same machine, in the same bits as one that was not:
an update depends on the key and its own number alone (`mappo.py`), and a checkpoint holds all that updates write.
"""

import dataclasses
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from composite_flow.errors import FileError, InputError, MismatchError
from composite_flow.files.checkpoint import load_checkpoint, load_description, save_checkpoint
from composite_flow.files.plain_json import describe_differences, jsonable
from composite_flow.files.run_record import remove_earlier_run
from composite_flow.model import MODEL_FILE, Model
from composite_flow.policy.config import MappoConfig
from composite_flow.policy.curves import CURVES_FILE, Row, TensorBoard, rows_of, write_curves
from composite_flow.policy.inference import Inference
from composite_flow.policy.mappo import MOST_UPDATES, learn, new_learner, team_of
from composite_flow.policy.saving import POLICY_FILE, STATE_VALUES_FILE, VALUES_FILE, save_policy
from composite_flow.policy.setup import Setup, prepare
from composite_flow.policy.trained import TrainedPolicy, team_that_acts, weights_digest
from composite_flow.policy.watch import PolicyListener, inferred_now
from composite_flow.problems.base import Problem, tells_wins
from composite_flow.training.interrupt import interrupt_flag

TRAINING_FILE = "policy_training.safetensors"

_BLOCK_SECONDS = 0.5  # how long one compiled call runs: how soon progress shows and an interrupt is heard
_INIT, _PROBE, _WATCH = 2**32 - 1, 2**32 - 3, 2**32 - 5  # numbers that no update has, folded into the key
_FILES = (POLICY_FILE, TRAINING_FILE, CURVES_FILE, VALUES_FILE, STATE_VALUES_FILE, MODEL_FILE)
_FREE = ("checkpoint_seconds",)  # settings that a resumed run may change

PolicyProgress = Callable[[int, int, list[Row]], None]


@dataclasses.dataclass(frozen=True, eq=False)
class PolicyTraining:
    """What training a policy gives.

    Attributes:
        policy: it draws its actions; greedy is `dataclasses.replace(policy, greedy=True)`.
        curves: a row per update.
    """

    policy: TrainedPolicy
    curves: tuple[Row, ...]


def train_policy(
    problem: Problem,
    config: MappoConfig | None = None,
    *,
    key: PRNGKeyArray,
    denoiser: Model | None = None,
    folder: str | os.PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: PolicyProgress | None = None,
    listener: PolicyListener | None = None,
    seconds: float | None = None,
) -> PolicyTraining:
    """Train a policy by MAPPO (`mappo.py`).

    Args:
        problem: the world; one that tells who won also gets a win rate.
        config: settings.
        key: fixes everything that is drawn at random.
        denoiser: a trained model, from whose denoiser a run starts whose agents infer the state.
        folder: where checkpoints, curves and, at the end, the policy are written.
        resume: go on from the folder's checkpoint, where there is one.
        overwrite: an earlier run in the folder may be replaced.
        progress: called about twice a second with the steps made, the planned steps and all rows so far.
        listener: hears as often of the rows, and of what agents infer of the worlds in play, where they do.
        seconds: of learning, compiling aside, after which it ends earlier; how far it then is depends on the machine.

    Returns:
        The policy and its learning curves.

    Raises:
        InputError: a loss that is not finite, or a denoiser that cannot be used.
        FileError: an earlier run is in the way, or a file cannot be read or written.
        MismatchError: the checkpoint to resume is of another configuration, key, problem or denoiser; or the denoiser
            is of another problem or length of histories.
    """
    run = _Run(problem, config or MappoConfig(), key, denoiser, folder)
    run.prepare(resume, overwrite)
    if listener is not None:
        listener.starts(None if run.inference is None else run.inference.scaling)
    with interrupt_flag() as interrupted:
        while not run.finished and (seconds is None or run.seconds < seconds):
            run.learn_block()
            if progress is not None:
                progress(run.steps, run.config.num_updates * run.config.steps_per_update, run.rows)
            if listener is not None:
                run.tell(listener)
            if run.checkpoint_is_due or interrupted.is_set():
                run.save()
            if interrupted.is_set():
                run.tensorboard.close()
                raise KeyboardInterrupt
    return run.close()


class _Run:
    """A run between its start and its end: what changes, on the host."""

    def __init__(self, problem: Problem, config: MappoConfig, key: PRNGKeyArray, denoiser: Model | None, folder):
        self.problem, self.config, self.key, self.denoiser = problem, config, key, denoiser
        self.setup: Setup = prepare(problem, config, jax.random.fold_in(key, _PROBE), denoiser)
        self.folder = None if folder is None else Path(folder)
        self.rows: list[Row] = []
        self.saved, self.update, self.seconds = time.monotonic(), 0, 0.0
        self.pace = 0  # updates of the next compiled call; the first makes none, as it takes the time of compiling

    # --- start

    def prepare(self, resume: bool, overwrite: bool) -> None:
        """Take up the folder's checkpoint, or start anew."""
        if resume and self.folder is None:
            raise InputError("To resume a run, give the folder that it was started with.")
        if resume and self.folder is not None and (self.folder / TRAINING_FILE).exists():
            self.restore(self.folder / TRAINING_FILE)
        else:
            if self.folder is not None:
                remove_earlier_run(self.folder, _FILES, overwrite)
            self.learner = self.start()
        self.tensorboard = TensorBoard(self.folder, self.steps)

    def start(self):
        """The learner before the first update."""
        return new_learner(self.problem, self.config, self.setup, jax.random.fold_in(self.key, _INIT))

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint of the same run."""
        stored = load_description(path)
        if stored.get("kind") != "policy training":
            raise FileError(f"{path} is not a checkpoint of a policy's training.")
        for name, value in jsonable(self.identity()).items():
            # a setting that did not exist yet had its default
            if stored.get(name, jsonable(getattr(MappoConfig, name, None))) != value:
                told = describe_differences({name: stored.get(name)}, {name: value})
                raise MismatchError(
                    f"{path} was written by another run: {told}; resume it with the same problem, settings and key, or "
                    "start anew in another folder."
                )
        self.learner = load_checkpoint(path, eqx.filter_eval_shape(self.start))
        self.rows, self.seconds, self.update = stored["curves"], stored["seconds"], int(self.learner.update)

    def identity(self) -> dict[str, Any]:
        """What a resumed run must share with the one that it goes on from."""
        settings = {name: value for name, value in self.config.flat().items() if name not in _FREE}
        key = np.asarray(jax.random.key_data(self.key)).tolist()
        denoiser = None if self.denoiser is None else weights_digest(self.setup.denoiser)
        return {**settings, "key": key, "problem": jsonable(self.problem.description), "denoiser": denoiser}

    # --- where it stands

    @property
    def steps(self) -> int:
        return self.update * self.config.steps_per_update

    @property
    def inference(self) -> Inference | None:
        return self.setup.inputs.inference

    @property
    def finished(self) -> bool:
        return self.update >= self.config.num_updates

    @property
    def checkpoint_is_due(self) -> bool:
        return self.folder is not None and time.monotonic() - self.saved >= self.config.checkpoint_seconds

    # --- what it does

    def learn_block(self) -> None:
        """About half a second of updates."""
        count = min(self.pace, MOST_UPDATES, self.config.num_updates - self.update)
        started = time.monotonic()
        self.learner, measures = learn(self.problem, self.config, self.setup, self.key, self.learner, jnp.int32(count))
        jax.block_until_ready(measures)
        seconds = time.monotonic() - started
        self.pace = 1 if count == 0 else max(1, min(int(_BLOCK_SECONDS * count / seconds), 4 * count))
        if count == 0:
            return
        rows = rows_of(measures, self.update, count, self.config.steps_per_update, tells_wins(self.problem))
        self.update, self.seconds = self.update + count, self.seconds + seconds
        for row in rows:
            row["seconds"] = self.seconds
            row["steps_per_second"] = count * self.config.steps_per_update / seconds
            self.check_finite(row)
        self.rows += rows
        self.tensorboard.add(rows)

    def check_finite(self, row: Row) -> None:
        if not all(math.isfinite(row[name] or 0.0) for name in ("policy_loss", "value_loss", "entropy")):
            raise InputError(
                f"The losses are no longer finite at update {row['update']}; lower learning_rate and "
                "critic_learning_rate, or check the problem's rewards, observations and states."
            )

    def tell(self, listener: PolicyListener) -> None:
        """All rows so far, and what agents infer now."""
        listener.curve("policy", self.rows)
        if self.inference is not None:
            team = team_of(self.setup, self.learner.networks, self.learner.teaching)
            key = jax.random.fold_in(jax.random.fold_in(self.key, _WATCH), self.update)
            listener.infers(self.steps, inferred_now(self.problem, team, self.learner.live, key))

    def save(self) -> None:
        """Write the checkpoint that `restore` reads, and the curves."""
        if self.folder is None:
            return
        description = {"kind": "policy training", **self.identity(), "curves": self.rows, "seconds": self.seconds}
        save_checkpoint(self.folder / TRAINING_FILE, self.learner, description, overwrite=True)
        write_curves(self.folder / CURVES_FILE, self.rows)
        self.saved = time.monotonic()

    def close(self) -> PolicyTraining:
        """The policy, written where the run has a folder."""
        self.save()
        self.tensorboard.close()
        problem, learner = self.problem, self.learner
        sizes = problem.num_agents, problem.num_actions, problem.observation_size
        team = team_that_acts(team_of(self.setup, learner.networks, learner.teaching))
        policy = TrainedPolicy(team, *sizes, steps=self.steps)
        if self.folder is not None:
            description = {"training": self.identity(), "steps": self.steps}
            save_policy(self.folder, policy, problem, self.config, description, overwrite=True)
        return PolicyTraining(policy, tuple(self.rows))
