"""Training: the networks of a model (`stages.py`), one after the other, each by the same loop (`run.py`).

A run that was interrupted at any moment and resumed ends, on the same machine, in the same bits as one that was not:
a step depends on the key and its own number alone (`optimiser.py`), and a checkpoint holds all that steps write. A
budget in minutes is the one exception, as how many steps fit into it depends on the machine. All devices and hosts
that JAX knows of train together (`devices.py`).
"""

import dataclasses
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.own_arrays import default_state_names
from composite_flow.data.ranges import outlying_features
from composite_flow.denoiser import Denoiser, NoDenoiser
from composite_flow.deviation import measured_radius
from composite_flow.errors import InputError
from composite_flow.files.run_record import remove_earlier_run
from composite_flow.fusion.intervals import measure_quantiles
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.screening import prefers_sparse
from composite_flow.model import MODEL_FILE, Model
from composite_flow.numerics.entry_point import entry_point
from composite_flow.training.calibrate import calibrate
from composite_flow.training.config import TrainingConfig
from composite_flow.training.devices import is_first_process
from composite_flow.training.familiarity import learn_watch
from composite_flow.training.interrupt import interrupt_flag
from composite_flow.training.loss import Pairs, sample_pairs
from composite_flow.training.progress import Progress, training_progress
from composite_flow.training.run import Evaluate, Record, Tell, TrainingData, TrainingRun, Until
from composite_flow.training.stages import (
    TRAINING_FILE,
    HistoryRange,
    joint_data,
    joint_samples,
    planned_steps,
    stage_files,
    with_learned_before,
)
from composite_flow.training.starting import starting_networks

__all__ = ["TRAINING_FILE", "TrainingConfig", "fit"]

_WATCH_NUMBER = 2**32 - 6  # folded into the key; no step has this number
_RADIUS_PAIRS = 1024  # validation pairs whose deviations give the radius


@entry_point
def fit(
    train: Pairs,
    validation: Pairs | None,
    config: TrainingConfig | None = None,
    *,
    key: PRNGKeyArray,
    calibration: HistoryDataset | None = None,
    folder: str | os.PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    evaluate: Evaluate | None = None,
    evaluate_answers: Evaluate | None = None,
    until: Until | None = None,
    progress: Progress | bool | None = True,
    record: Record | None = None,
    ideal_loss: float | None = None,
    state_names: Sequence[str] | None = None,
    description: Mapping[str, Any] | None = None,
    history_range: HistoryRange | None = None,
    start_from: Model | None = None,
) -> Model:
    """Train a model as `config` says: a denoiser by Eq. (1), what agents answer by the loss of fusion, or both.

    Args:
        train: (history, state) pairs of all agents to fit; for fusion a `HistoryDataset`.
        validation: pairs to report the loss on, or None.
        key: initial weights, batches and noise follow from it.
        calibration: episodes that show how far fused estimates err, used for nothing else; `calibrate` does so later.
        folder: where checkpoints (`training.safetensors`, of fusion `training-answers.safetensors` and others)
            and, at the end, `model.safetensors` are written.
        resume: whether to go on from the folder's checkpoints, where there are some; also to learn more.
        overwrite: whether an earlier run in the folder may be replaced.
        evaluate: called now and then with the denoiser and the step; what it returns joins the learning curve.
        evaluate_answers: the same with what agents answer, of fusion.
        until: called with each point of the denoiser's learning curve; its training ends once it returns True.
        progress: a bar on standard error, in a log a line a minute; False for none; or a function that is called about
            twice a second with the step, the planned steps and the loss.
        record: called with a network's name and all points of its learning curve so far, after each new point.
        ideal_loss: floor of the denoiser's loss; the learning curve then has the excess over it.
        state_names: a name for each feature of the state, for the model; by default those of the data.
        description: what else the model is to remember, such as problem and split; JSON-able.
        history_range: smallest and largest value of each history column; by default those of the training data.
        start_from: a model whose weights and ranges training begins with, of the same kind of data, scaled as it is.
            Agents may be new.

    Returns:
        The model, with its learning curve and its radius, measured on validation pairs.

    Raises:
        InputError: data that are empty or not finite, or a loss that is not finite.
        FileError: an earlier run is in the way, or a file cannot be read or written.
        MismatchError: the checkpoint to resume is of another configuration, key or data set.
    """
    config = config or TrainingConfig()
    if resume and folder is not None:
        config = with_learned_before(Path(folder), config)
    config.check_learned()
    data = TrainingData(train, validation, config, history_range)
    state_names = state_names or _names_of_states(train, data.state_size)
    _tell_outliers(train, state_names)
    floors, begun = {"denoiser": ideal_loss}, {}
    if start_from is not None:
        begun = starting_networks(start_from, train.layout, data.state_size)
    learned: dict[str, Any] = {}
    curves: list[dict[str, int | float]] = []
    stages, done = _stages_for(config, data), 0
    hears = {"denoiser": (evaluate, until), "answers": (evaluate_answers, None)}
    with interrupt_flag() as interrupted, training_progress(progress) as tell:
        for number, name in enumerate(stages):
            run = TrainingRun(data, name, config, key, folder, floors.get(name), learned, begun.get(name))
            if number == 0:  # what cannot be trained is refused before an earlier run is removed
                _check_folder(folder, resume, overwrite)
            run.prepare(resume)
            evaluates, ends = hears.get(name, (None, None))
            later = [planned_steps(other, train, config) for other in stages[number + 1 :]]
            run.train(evaluates, ends, _among(tell, done, later), interrupted, record)
            learned[name], done = run.network, done + run.step
            curves += run.curves
    about = {"config": dataclasses.asdict(config), "data": data.fingerprint, **_units(train), **(description or {})}
    model = _model(learned, curves, data, state_names, about)
    model = _with_watch(model, train, config, key, progress)
    if calibration is not None and model.fusion is not None:
        model = calibrate(model, calibration, validation if isinstance(validation, HistoryDataset) else None)
    if folder is not None and is_first_process():
        model.save(folder, overwrite=True)
    return model


def _names_of_states(train: Pairs, state_size: int) -> tuple[str, ...]:
    """Those of the data; "state 0", "state 1", … where they have none."""
    return train.windows.state_names if isinstance(train, HistoryDataset) else default_state_names(state_size)


def _units(train: Pairs) -> dict[str, dict[str, str]]:
    """The units of features, where the data name some."""
    units = train.windows.units if isinstance(train, HistoryDataset) else ()
    return {"units": dict(units)} if units else {}


def _tell_outliers(train: Pairs, state_names: Sequence[str]) -> None:
    """Warn of features that a few values stretch, so that all others become nearly the same."""
    found = () if not isinstance(train, HistoryDataset) else _outlying(train, state_names)
    if found:
        named = ", ".join(map(repr, found[:3])) + (" …" if len(found) > 3 else "")
        warnings.warn(
            f"Outliers: the range of {named} is more than a hundred times that of the middle 99% of its values, which "
            'become nearly the same. Leave the outliers out, or scale states by scaling="quantiles".',
            stacklevel=3,
        )


def _outlying(train: HistoryDataset, state_names: Sequence[str]) -> tuple[str, ...]:
    return outlying_features(train.windows, np.asarray(train.steps), state_names)


def _model(
    learned: Mapping[str, Any], curves, data: TrainingData, state_names: Sequence[str], about: dict[str, Any]
) -> Model:
    """The model of all trained networks."""
    denoiser = learned.get("denoiser")
    return Model(
        denoiser=NoDenoiser(data.state_size) if denoiser is None else denoiser,
        layout=data.train.layout,
        scaling=data.train.scaling,
        radius=None if denoiser is None else _radius(denoiser, data.validation),
        curves=tuple(curves),
        state_names=tuple(state_names),
        description=about,
        fusion=_fusion(learned, data.validation),
    )


def _stages_for(config: TrainingConfig, data: TrainingData) -> tuple[str, ...]:
    """The networks to train; sparse answers have no team denoiser.

    Raises:
        InputError: fusion is to be learned from data whose joint histories are not known, or whom to ask where agents
            answer for a few features each.
    """
    if "answers" in config.stages:
        joint_data(data.train)
    sparse = prefers_sparse(data.train.layout, data.state_size)
    if sparse and "next_agent" in config.stages:
        raise InputError(
            "Whom to ask is learned where every agent answers for every feature; this state is too large for the "
            "setting next_agent, leave it out."
        )
    return tuple(name for name in config.stages if not (sparse and name == "team_denoiser"))


def _fusion(learned: Mapping[str, Any], validation: Pairs | None) -> LearnedFusion | None:
    """What fusion learned, with how far fused numbers lie from the truth on validation data."""
    answers = learned.get("answers")
    if answers is None:
        return None
    quantiles = None
    if validation is not None and answers.prior.types.is_number.any():
        histories, states = joint_samples(validation, jax.random.key(2))
        quantiles = measure_quantiles(answers, histories, states, key=jax.random.key(3))
    others = {name: learned.get(name) for name in ("team_denoiser", "chain", "over_time", "next_agent")}
    return LearnedFusion(answers, quantiles, **others)


def _with_watch(model: Model, train: Pairs, config: TrainingConfig, key: PRNGKeyArray, progress) -> Model:
    """The same model with what training histories look like, where it learned fusion."""
    if model.fusion is None:
        return model
    options = {"key": jax.random.fold_in(key, _WATCH_NUMBER), "num_bytes": int(1e9 * config.resident_gigabytes)}
    with training_progress(progress if config.watch_steps else None) as tell:
        watch = learn_watch(model.fusion.answers, joint_data(train), config.watch_steps, progress=tell, **options)
    return dataclasses.replace(model, fusion=dataclasses.replace(model.fusion, watch=watch))


def _radius(denoiser: Denoiser, validation: Pairs | None) -> float | None:
    """D_φ on validation pairs; None without them, or where a flow diverges."""
    return None if validation is None else measured_radius_on(denoiser, validation)


def measured_radius_on(denoiser: Denoiser, validation: Pairs) -> float | None:
    """D_φ on these pairs; None where a flow diverges."""
    histories, states = sample_pairs(validation, jax.random.key(1), _RADIUS_PAIRS)
    radius = measured_radius(denoiser, histories, states)
    return radius if math.isfinite(radius) else None


def _among(tell: Progress | None, done: int, later: Sequence[int | None]) -> Tell | None:
    """Progress of one of several stages, told as a part of the steps of all of them.

    Args:
        tell: told of it.
        done: steps of the stages before.
        later: planned steps of those after; as many as of this one where minutes alone decide.
    """
    if tell is None:
        return None

    def told(step: int, planned: int, loss: float) -> None:
        rest = sum(planned if total is None else total for total in later)
        tell(done + step, done + planned + rest, loss)

    return told


def _check_folder(folder: str | os.PathLike | None, resume: bool, overwrite: bool) -> None:
    """Go on with the folder's run where it is to be resumed, else remove it where that is allowed.

    Raises:
        InputError: there is no folder to resume.
        FileError: an earlier run is in the way.
    """
    if folder is None:
        if resume:
            raise InputError("To resume a run, give the folder that it was started with.")
        return
    if not (resume and any((Path(folder) / name).exists() for name in stage_files())):
        remove_earlier_run(Path(folder), (MODEL_FILE, *stage_files()), overwrite)
