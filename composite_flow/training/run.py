"""The training of one network of a model: a budget, a learning curve, a checkpoint.

A step depends on the key and its own number alone (`optimiser.py`), and a checkpoint holds all that steps write.
"""

import dataclasses
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.ranges import history_range
from composite_flow.errors import FileError, InputError, MismatchError
from composite_flow.files.checkpoint import load_checkpoint, load_description, save_checkpoint
from composite_flow.files.run_record import FREE_SETTINGS
from composite_flow.training.config import TrainingConfig
from composite_flow.training.devices import (
    from_first_process,
    in_any_process,
    is_first_process,
    mesh_of_all,
    on_all,
    on_one,
)
from composite_flow.training.loss import Pairs, arrays_of
from composite_flow.training.optimiser import Task, fresh_state, train_steps
from composite_flow.training.stages import HistoryRange, stage_of
from composite_flow.training.streaming import DataStream, probe_pairs

_SILENT = (
    "At step {step} {silent}: all units of the last hidden layer are dead, and what they learned is "
    "lost. Lower learning_rate, or raise warmup, and start anew."
)
_BLOCK_SECONDS = 0.5  # how long one compiled call runs: how soon progress shows and an interrupt is heard
_STREAM = 2**32 - 2  # a number that no step has, folded into the key

Evaluate = Callable[[Any, int], Mapping[str, float]]
Until = Callable[[Mapping[str, float]], bool]
Tell = Callable[[int, int, float], None]
Record = Callable[[str, Sequence[Mapping[str, float]]], None]


class TrainingData:
    """The data of all stages, and what is computed from them once."""

    def __init__(self, train: Pairs, validation: Pairs | None, config: TrainingConfig, limits: HistoryRange | None):
        self.num_bytes, self.key_probe = int(1e9 * config.resident_gigabytes), jax.random.key(0)
        self.train = train
        self.validation = None if validation is None else validation.resident(self.key_probe, self.num_bytes)
        histories, states, self.fingerprint = probe_pairs(train.resident(self.key_probe, self.num_bytes))
        self.limits = limits or _limits(train, histories)
        self.state_size = states.shape[1]


class TrainingRun:
    """The training of one network between its start and its end: what changes, on the host."""

    def __init__(
        self,
        data: TrainingData,
        name: str,
        config: TrainingConfig,
        key: PRNGKeyArray,
        folder: str | os.PathLike | None,
        floor: float | None,
        learned: Mapping[str, Any],
        begun: Any = None,
    ):
        self.data, self.floor, self.folder = data, floor, None if folder is None else Path(folder)
        self.stage = stage = stage_of(name, data.train, config, data.limits, data.state_size, learned)
        self.config, self.total, self.mesh = stage.config, stage.total, mesh_of_all(stage.drawn)
        self.key = key if stage.number is None else jax.random.fold_in(key, stage.number)
        self.stream = DataStream(
            stage.samples,
            jax.random.fold_in(self.key, _STREAM),
            data.num_bytes,
            config.evaluate_every,
            self.total,
            prepare=lambda share: on_all(arrays_of(share), self.mesh),
        )
        self.curves: list[dict[str, int | float]] = []
        self.seconds, self.saved, self.loss, self.reached = 0.0, time.monotonic(), math.nan, False
        self.pace = 1  # steps of the next compiled call
        build = stage.build if begun is None else eqx.Partial(_given, begun)
        self.start = partial(fresh_state, build, self.key, config.average > 0)

    # --- start

    def prepare(self, resume: bool) -> None:
        """Take up the folder's checkpoint, or start anew."""
        if resume and self.path is not None and self.path.exists():
            self.restore(self.path)
        else:
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
        self.curves, self.seconds, self.reached = stored["curves"], stored["seconds"], stored.get("reached", False)

    def identity(self) -> dict[str, Any]:
        """What a resumed run must share with the one that it goes on from."""
        settings = {name: value for name, value in dataclasses.asdict(self.config).items() if name not in FREE_SETTINGS}
        key = np.asarray(jax.random.key_data(self.key)).tolist()
        return {**settings, "key": key, "data": self.data.fingerprint}

    # --- where it stands

    @property
    def path(self) -> Path | None:
        """Of its checkpoint."""
        return None if self.folder is None else self.folder / self.stage.file

    @property
    def step(self) -> int:
        return int(self.state.step)

    @property
    def network(self) -> Any:
        """The network to evaluate and to keep."""
        return on_one(self.state.denoiser, self.mesh)

    @property
    def elapsed(self) -> float:
        """Share of the budget in time that is used."""
        return 0.0 if self.config.minutes is None else min(1.0, self.seconds / (60 * self.config.minutes))

    @property
    def finished(self) -> bool:
        return self.reached or self.elapsed >= 1.0 or (self.total is not None and self.step >= self.total)

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

    def train(
        self,
        evaluate: Evaluate | None,
        until: Until | None,
        tell: Tell | None,
        interrupted: Event,
        record: Record | None = None,
    ) -> None:
        """All steps that are left; KeyboardInterrupt, once a checkpoint is written, where it is interrupted."""
        with self.stream:
            self.tell_curve(record)
            while not self.finished:
                self.train_block()
                if self.at_record:
                    self.record(evaluate)
                    self.reached = in_any_process(until is not None and until(self.curves[-1]))
                    self.tell_curve(record)
                if tell is not None:
                    tell(self.step, self.planned_steps, self.loss)
                stops = in_any_process(interrupted.is_set())
                if self.checkpoint_is_due or stops:
                    self.save()
                if stops:
                    raise KeyboardInterrupt
        self.save()

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
        config, stage = self.config, self.stage
        key, schedule = on_all((self.key, config.rate_schedule(self.total, self.elapsed)), self.mesh)
        options = {"losses": stage.losses, "precision": config.precision, "mesh": self.mesh}
        return Task(self.stream.at(self.step), key, schedule, stage.drawn, config.average, **options)

    def record(self, evaluate: Evaluate | None) -> None:
        """Add a point to the learning curve."""
        point, network = {"step": self.step, "seconds": self.seconds, "loss": self.loss}, self.network
        if self.data.validation is not None:
            point.update(self.stage.judge(network, self.data.validation))
            before = self.curves[-1].get("speaking") if self.curves else None
            if point.get("speaking") == 0.0 and before != 0.0:  # once
                warnings.warn(_SILENT.format(step=self.step, silent=self.stage.silent), stacklevel=2)
        if self.floor is not None:
            point["excess"] = point.get("validation_loss", self.loss) - self.floor
        if evaluate is not None and (self.finished or self.step % self.config.evaluate_every == 0):
            point.update({name: float(value) for name, value in evaluate(network, self.step).items()})
        self.curves.append(point)
        self.state = eqx.tree_at(lambda state: state.loss_sum, self.state, on_all(jnp.float32(0.0), self.mesh))

    def tell_curve(self, record: Record | None) -> None:
        if record is not None:
            record(self.stage.name, tuple(self.curves))

    def save(self) -> None:
        """Write the checkpoint that `restore` reads."""
        if self.path is None or not is_first_process():
            return
        progress = {"curves": self.curves, "seconds": self.seconds, "reached": self.reached}
        description = {"kind": "training", "stage": self.stage.name, **self.identity(), **progress}
        save_checkpoint(self.path, self.state, description, overwrite=True)
        self.saved = time.monotonic()


def _given(network: Any, key: PRNGKeyArray) -> Any:
    """The network that training goes on from, whatever the key."""
    return network


def _limits(train: Pairs, histories: Float[Array, "pairs history"]) -> HistoryRange:
    """The range of each history column, at all training steps where they are known, else in these histories."""
    if isinstance(train, HistoryDataset):
        return history_range(train.windows, np.asarray(train.steps))
    return histories.min(axis=0), histories.max(axis=0)
