"""The one training loop: a budget, a learning curve, checkpoints.

A run that was interrupted at any moment and resumed ends, on the same machine, in the same bits as one that was not:
a step depends on the key and its own number alone (`optimiser.py`), and a checkpoint holds all that steps write. A
budget in minutes is the one exception, as how many steps fit into it depends on the machine. All devices and hosts
that JAX knows of train together (`devices.py`).
"""

import dataclasses
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.denoiser import Denoiser
from composite_flow.deviation import measured_radius
from composite_flow.errors import FileError, InputError, MismatchError
from composite_flow.files.checkpoint import load_checkpoint, load_description, save_checkpoint
from composite_flow.files.run_record import FREE_SETTINGS, remove_earlier_run
from composite_flow.model import MODEL_FILE, Model, default_state_names
from composite_flow.network import Network
from composite_flow.training.config import TrainingConfig
from composite_flow.training.devices import (
    from_first_process,
    in_any_process,
    is_first_process,
    mesh_of_all,
    on_all,
    on_one,
)
from composite_flow.training.interrupt import interrupt_flag
from composite_flow.training.loss import Pairs, arrays_of, denoising_loss, sample_pairs
from composite_flow.training.optimiser import Task, TrainingState, initial_state, train_steps
from composite_flow.training.progress import Progress, training_progress
from composite_flow.training.streaming import DataStream, probe_pairs

TRAINING_FILE = "training.safetensors"

_BLOCK_SECONDS = 0.5  # how long one compiled call runs: how soon progress shows and an interrupt is heard
_RADIUS_PAIRS = 1024  # validation pairs whose deviations give the radius
_INIT, _STREAM = 2**32 - 1, 2**32 - 2  # numbers that no step has, folded into the key

Evaluate = Callable[[Denoiser, int], Mapping[str, float]]
HistoryRange = tuple[Float[Array, " history"], Float[Array, " history"]]


def fit(
    train: Pairs,
    validation: Pairs | None,
    config: TrainingConfig | None = None,
    *,
    key: PRNGKeyArray,
    folder: str | os.PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    evaluate: Evaluate | None = None,
    until: Callable[[Mapping[str, float]], bool] | None = None,
    progress: Progress | bool | None = True,
    ideal_loss: float | None = None,
    state_names: Sequence[str] | None = None,
    description: Mapping[str, Any] | None = None,
    history_range: HistoryRange | None = None,
) -> Model:
    """Train a network on (history, state) pairs of all agents by Eq. (1), as `config` says.

    Args:
        train: pairs to fit.
        validation: pairs to report the loss on, or None.
        key: initial weights, batches and noise follow from it.
        folder: where `training.safetensors` (while it runs) and `model.safetensors` (at the end) are written.
        resume: whether to go on from the folder's checkpoint, where there is one.
        overwrite: whether an earlier run in the folder may be replaced.
        evaluate: called now and then with the denoiser and the step; what it returns joins the learning curve.
        until: called with each point of the learning curve; training ends once it returns True.
        progress: a bar on standard error, in a log a line a minute; False for none; or a function that is called about
            twice a second with the step, the planned steps and the loss.
        ideal_loss: floor of the loss; the learning curve then has the excess over it.
        state_names: a name for each feature of the state, for the model; "state 0", "state 1", … by default.
        description: what else the model is to remember, such as problem and split; JSON-able.
        history_range: smallest and largest value of each history column; by default those of the training data.

    Returns:
        The model, with its learning curve and its radius, measured on validation pairs.

    Raises:
        InputError: data that are empty or not finite, or a loss that is not finite.
        FileError: an earlier run is in the way, or a file cannot be read or written.
        MismatchError: the checkpoint to resume is of another configuration, key or data set.
    """
    run = _Run(train, validation, config or TrainingConfig(), key, folder, ideal_loss, history_range)
    run.prepare(resume, overwrite)
    with run.stream, interrupt_flag() as interrupted, training_progress(progress) as tell:
        reached = False
        while not (run.finished or reached):
            run.train_block()
            if run.at_record:
                run.record(evaluate)
                reached = in_any_process(until is not None and until(run.curves[-1]))
            if tell is not None:
                tell(run.step, run.planned_steps, run.loss)
            stops = in_any_process(interrupted.is_set())
            if run.checkpoint_is_due or stops:
                run.save()
            if stops:
                raise KeyboardInterrupt
    return run.close(state_names, description or {})


class _Run:
    """A run between its start and its end: what changes, on the host."""

    def __init__(self, train, validation, config: TrainingConfig, key, folder, floor: float | None, history_range):
        self.config, self.key, self.floor = config, key, floor
        self.train, self.mesh = train, mesh_of_all(config.batch)
        self.folder = None if folder is None else Path(folder)
        self.total = config.total_steps(train.num_steps * train.layout.num_agents)
        num_bytes, key_probe = int(1e9 * config.resident_gigabytes), jax.random.key(0)
        self.validation = None if validation is None else validation.resident(key_probe, num_bytes)
        self.stream = DataStream(
            train,
            jax.random.fold_in(key, _STREAM),
            num_bytes,
            config.evaluate_every,
            self.total,
            prepare=lambda share: on_all(arrays_of(share), self.mesh),
        )
        self.curves: list[dict[str, int | float]] = []
        self.seconds, self.saved, self.loss = 0.0, time.monotonic(), math.nan
        self.pace = 1  # steps of the next compiled call
        histories, states, self.fingerprint = probe_pairs(train.resident(key_probe, num_bytes))
        limits = history_range or (histories.min(axis=0), histories.max(axis=0))
        self.start = partial(_fresh_state, key, config, *limits, states.shape[1])

    # --- start

    def prepare(self, resume: bool, overwrite: bool) -> None:
        """Take up the folder's checkpoint, or start anew."""
        if self.folder is None:
            if resume:
                raise InputError("To resume a run, give the folder that it was started with.")
        elif resume and (self.folder / TRAINING_FILE).exists():
            self.restore(self.folder / TRAINING_FILE)
            return
        else:
            remove_earlier_run(self.folder, (MODEL_FILE, TRAINING_FILE), overwrite)
        self.state = on_all(self.start(), self.mesh)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint of the same run."""
        stored = load_description(path)
        if stored.get("kind") != "training":
            raise FileError(f"{path} is not a checkpoint of a training run.")
        for name, value in self.identity().items():
            if stored.get(name) != value:
                raise MismatchError(
                    f"{path} was written by a run with {name} = {stored.get(name)}, not {value}; "
                    "resume it with the same settings, key and data, or start anew in another folder."
                )
        self.state = on_all(load_checkpoint(path, eqx.filter_eval_shape(self.start)), self.mesh)
        self.curves, self.seconds = stored["curves"], stored["seconds"]

    def identity(self) -> dict[str, Any]:
        """What a resumed run must share with the one that it goes on from."""
        settings = {name: value for name, value in dataclasses.asdict(self.config).items() if name not in FREE_SETTINGS}
        return {**settings, "key": np.asarray(jax.random.key_data(self.key)).tolist(), "data": self.fingerprint}

    # --- where it stands

    @property
    def step(self) -> int:
        return int(self.state.step)

    @property
    def denoiser(self) -> Network:
        return on_one(self.state.denoiser, self.mesh)

    @property
    def elapsed(self) -> float:
        """Share of the budget in time that is used."""
        return 0.0 if self.config.minutes is None else min(1.0, self.seconds / (60 * self.config.minutes))

    @property
    def finished(self) -> bool:
        return self.elapsed >= 1.0 or (self.total is not None and self.step >= self.total)

    @property
    def planned_steps(self) -> int:
        """Steps that the budget allows, by the present speed where it is limited in time."""
        by_time = math.ceil(self.step / self.elapsed) if self.elapsed > 0 else None
        return min(steps for steps in (self.total, by_time, 2**31 - 1) if steps is not None)

    @property
    def at_record(self) -> bool:
        return self.finished or self.step % self.config.record_every == 0

    @property
    def checkpoint_is_due(self) -> bool:
        return self.folder is not None and time.monotonic() - self.saved >= self.config.checkpoint_seconds

    # --- what it does

    def train_block(self) -> None:
        """About half a second of steps, up to the next point of the learning curve."""
        boundary = (self.step // self.config.record_every + 1) * self.config.record_every
        count = min(self.pace, min(boundary, self.total or boundary) - self.step)
        started = time.monotonic()
        self.state = train_steps(self.task(), self.state, on_all(jnp.array(count), self.mesh))
        loss_sum = float(self.state.loss_sum)  # waits for the steps
        seconds = from_first_process(time.monotonic() - started)
        self.seconds += seconds
        self.pace = max(1, min(int(_BLOCK_SECONDS * count / seconds), 4 * self.pace))
        if not math.isfinite(loss_sum):
            raise InputError(
                f"The loss is no longer finite near step {self.step}; lower learning_rate, or check the data's values."
            )
        self.loss = loss_sum / (self.step - (self.curves[-1]["step"] if self.curves else 0))

    def task(self) -> Task:
        config = self.config
        key, schedule = on_all((self.key, config.rate_schedule(self.total, self.elapsed)), self.mesh)
        options = {"losses": config.losses, "precision": config.precision, "mesh": self.mesh}
        return Task(self.stream.at(self.step), key, schedule, config.drawn, config.average, **options)

    def record(self, evaluate: Evaluate | None) -> None:
        """Add a point to the learning curve."""
        point, denoiser = {"step": self.step, "seconds": self.seconds, "loss": self.loss}, self.denoiser
        if self.validation is not None:
            point["validation_loss"] = denoising_loss(denoiser, self.validation).value
        if self.floor is not None:
            point["excess"] = point.get("validation_loss", self.loss) - self.floor
        if evaluate is not None and (self.finished or self.step % self.config.evaluate_every == 0):
            point.update({name: float(value) for name, value in evaluate(denoiser, self.step).items()})
        self.curves.append(point)
        self.state = eqx.tree_at(lambda state: state.loss_sum, self.state, on_all(jnp.float32(0.0), self.mesh))

    def save(self) -> None:
        """Write the checkpoint that `restore` reads."""
        if self.folder is None or not is_first_process():
            return
        description = {"kind": "training", **self.identity(), "curves": self.curves, "seconds": self.seconds}
        save_checkpoint(self.folder / TRAINING_FILE, self.state, description, overwrite=True)
        self.saved = time.monotonic()

    def radius(self) -> float | None:
        """D_φ on validation pairs; None without them, or where a flow leaves for infinity."""
        if self.validation is None:
            return None
        histories, states = sample_pairs(self.validation, jax.random.key(1), _RADIUS_PAIRS)
        radius = measured_radius(self.denoiser, histories, states)
        return radius if math.isfinite(radius) else None

    def close(self, state_names: Sequence[str] | None, description: Mapping[str, Any]) -> Model:
        """The model, written where the run has a folder."""
        self.save()
        model = Model(
            denoiser=self.denoiser,
            layout=self.train.layout,
            scaling=self.train.scaling,
            radius=self.radius(),
            curves=tuple(self.curves),
            state_names=tuple(state_names or default_state_names(self.state.network.state_size)),
            description={"config": dataclasses.asdict(self.config), "data": self.fingerprint, **description},
        )
        if self.folder is not None and is_first_process():
            model.save(self.folder, overwrite=True)
        return model


@eqx.filter_jit
def _fresh_state(
    key: PRNGKeyArray,
    config: TrainingConfig,
    minimum: Float[Array, " history"],
    maximum: Float[Array, " history"],
    state_size: int,
) -> TrainingState:
    """The state before the first step, for histories of this range."""
    options = (config.width, config.depth, config.history_at, config.activation)
    network = Network(len(minimum), state_size, *options, key=jax.random.fold_in(key, _INIT), initial=config.initial)
    return initial_state(network.with_history_range(minimum, maximum), config.average > 0)
