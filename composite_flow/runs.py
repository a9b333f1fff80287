"""Runs on disk: train on episodes, resume after an interruption, load a model with the episodes to test it on.

`run.json` holds the settings. It is written before training starts, so that a run is resumed without giving them again
and cannot be resumed with others. `model.safetensors` also holds what a test of the model needs: the problem, the
data's fingerprint, the test episodes and the radius.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from composite_flow.baselines.linear import LinearEstimates, fit_linear, load_linear, takes_long
from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.episodes import Episodes
from composite_flow.data.own_arrays import default_state_names
from composite_flow.data.run_split import fingerprint, halves, split_of_run, split_record
from composite_flow.errors import FileError, InputError, MismatchError
from composite_flow.files.plain_json import jsonable
from composite_flow.files.run_record import started_or_resumed
from composite_flow.model import MODEL_FILE, Model, load
from composite_flow.problems.same_description import check_same_description
from composite_flow.training.devices import is_first_process
from composite_flow.training.fit import TrainingConfig, fit
from composite_flow.training.listener import Listener
from composite_flow.training.progress import say
from composite_flow.training.watch import answers_watch, composite_watch, loss_floor, shown_steps

SETTINGS_FILE = "run.json"


@dataclass(frozen=True)
class RunSettings:
    """All settings of a run.

    Attributes:
        training: the network and its training.
        history: how many steps each agent's history reaches back (H).
        withhold_states: fraction of the distinct states that are withheld from training.
        seed: fixes the split, the initial weights, the batches and the noise.
        start_from: folder of a run whose weights training begins with; None where they are drawn.
    """

    training: TrainingConfig = field(default_factory=TrainingConfig)
    history: int = 1
    withhold_states: float = 0.0
    seed: int = 0
    start_from: str | None = None

    def flat(self) -> dict[str, Any]:
        """The settings in one flat dictionary, as in `run.json`."""
        others = {name.name: getattr(self, name.name) for name in fields(self)[1:]}
        return jsonable({**asdict(self.training), **others})

    @classmethod
    def from_flat(cls, values: dict[str, Any]) -> "RunSettings":
        """The inverse of `flat`."""
        training = TrainingConfig(**{name.name: values[name.name] for name in fields(TrainingConfig)})
        training.check_learned()
        return cls(training, **{name.name: values[name.name] for name in fields(cls)[1:]})


@dataclass(frozen=True)
class RunData:
    """A model with the data to test it on.

    Attributes:
        model: the trained model.
        dataset: histories of the model's length, from the run's test episodes or from all of the given data.
        part: which episodes these are. "test": the run's test episodes. "all": all of the given data, on which the run
            was not trained. "unknown": all of the given data, of which the model may have seen some; a model that `fit`
            saved does not record its split.
        whole: all of the given data.
        kept: linear estimates that training kept beside the model; None where it kept none.
    """

    model: Model
    dataset: HistoryDataset
    part: str
    whole: HistoryDataset
    kept: LinearEstimates | None = None

    def radius(self, given: float | None = None) -> float:
        """D_φ for the checks: `given`, or by default the model's own.

        Raises:
            InputError: there is neither. A model has no radius if it was trained without validation pairs, or together
                with a policy.
        """
        radius = self.model.radius if given is None else given
        if radius is None:
            raise InputError("This model's radius was not measured; give one with --radius.")
        return radius

    def linear(self) -> LinearEstimates | None:
        """Linear estimates from the run's training data: kept, or fitted anew; None where the data are not at hand."""
        parts = None if self.kept is not None else self.training_parts()
        return self.kept if parts is None else fit_linear(*parts)

    def training_parts(self) -> tuple[HistoryDataset, HistoryDataset] | None:
        """The training and validation episodes; None where the run was not trained on these data, or does not say."""
        settings = self.model.description.get("settings")
        if self.part != "test" or settings is None:
            return None
        train, validation, test = split_of_run(self.whole, settings["seed"], settings["withhold_states"])
        return (train, validation) if np.array_equal(test.episode_ids, self.dataset.episode_ids) else None


def continued(given: RunSettings, run: Path) -> RunSettings:
    """Settings of a run that goes on from another one's weights: its network and history, all else as given."""
    model = load(run)
    config = model.description.get("config", {})
    kept = {name: config[name] for name in _OF_NETWORK if name in config}
    training = replace(given.training, **kept)
    return replace(given, training=training, history=model.layout.length, start_from=str(run.absolute()))


_OF_LEARNING = ("learn", "team_denoiser", "chain", "over_time", "next_agent")
_OF_NETWORK = ("width", "depth", "history_at", "activation", *_OF_LEARNING)


def start_or_resume(folder: Path, settings: RunSettings, *, resume: bool, overwrite: bool) -> RunSettings:
    """Start a run by writing its settings to `run.json`, or read there the settings of the run to resume.

    Args:
        folder: the run's folder.
        settings: the settings of a new run. For a run to resume, each one must be the default or the run's own.
        resume: whether to resume the run in the folder, if there is one.
        overwrite: whether an earlier run in the folder may be replaced.

    Returns:
        The settings to use.

    Raises:
        InputError: the settings cannot be used.
        FileError: a run is in the way, or the folder holds none to resume.
        MismatchError: a setting differs from that of the run to resume.
    """
    if settings.history < 1 or not 0 <= settings.withhold_states < 1:
        raise InputError("history must be at least 1, and withhold_states a share from 0 to below 1.")
    path = folder / SETTINGS_FILE
    if not (resume and path.exists()):  # a run that is resumed has settings of its own
        settings.training.check_learned()
    return started_or_resumed(path, settings, RunSettings(), MODEL_FILE, resume=resume, overwrite=overwrite)


def train_run(
    episodes: Episodes,
    settings: RunSettings,
    folder: Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int, float], None] | None = None,
    listener: Listener | None = None,
) -> Model:
    """Split the episodes, fit a denoiser with its radius D_φ, and save the model with a record of the split.

    Args:
        episodes: all of the data.
        settings: from `start_or_resume`.
        folder: the run's folder; by default the model is not saved.
        resume: whether to resume the run in the folder, if there is one.
        overwrite: whether an earlier run in the folder may be replaced.
        progress: called about twice a second with the step, the planned number of steps and the loss.
        listener: hears of learning curves, and of what is inferred of validation steps meanwhile.

    Returns:
        The model. Its description holds the settings, the problem, the policy and the test episodes.

    Raises:
        InputError, FileError, MismatchError: as `HistoryDataset.split` and `fit`.
    """
    _, key_fit, key_watch = jax.random.split(jax.random.key(settings.seed), 3)
    dataset = HistoryDataset(episodes, settings.history)
    train, held_out, test = split_of_run(dataset, settings.seed, settings.withhold_states)
    before = None if settings.start_from is None else load(settings.start_from)
    if before is not None:
        train, held_out, test = (part.with_scaling(before.scaling) for part in (train, held_out, test))
    validation, calibration = halves(held_out) if "answers" in settings.training.stages else (held_out, None)
    if listener is not None:
        listener.starts(validation, shown_steps(validation)[0])
    model = fit(
        train,
        validation,
        settings.training,
        key=key_fit,
        calibration=calibration,
        start_from=before,
        folder=folder,
        resume=resume,
        overwrite=overwrite,
        evaluate=composite_watch(validation, key_watch, listener),
        evaluate_answers=answers_watch(episodes.description, train, validation, listener),
        progress=progress,
        record=None if listener is None else listener.curve,
        ideal_loss=loss_floor(episodes.description, train, validation) if settings.training.learns_denoiser else None,
    )
    model = replace(
        model,
        state_names=tuple(episodes.state_names),
        description={
            **model.description,
            "settings": settings.flat(),
            "problem": jsonable(episodes.description),
            "policy": jsonable(episodes.policy),
            "columns": jsonable(episodes.columns.settings),
            "split": split_record(episodes, test),
        },
    )
    if folder is not None and is_first_process():
        model.save(folder, overwrite=True)
        if progress is not None and takes_long(train):
            say("Fitting the linear estimates that `evaluate` shows beside.")
        fit_linear(train, held_out).save(folder, model.description["split"], overwrite=True)
    return model


def open_run(run: Path, data: Path) -> RunData:
    """Load a finished run's model and the data to use it on.

    A model that `fit` saved by itself, without `train_run`, records neither its split nor names of the state's
    features: it is used on all of the data, under the data's names.

    Raises:
        FileError: a file is missing, damaged or foreign.
        MismatchError: the data are of another problem than the model.
    """
    if not (run / MODEL_FILE).exists() and (run / SETTINGS_FILE).exists():
        raise FileError(f"{run} holds a training that has not finished; run its train command again with --resume.")
    model, episodes = load(run), Episodes.load(data)
    if model.state_names == default_state_names(model.denoiser.state_size):
        model = replace(model, state_names=tuple(episodes.state_names))
    check_same_problem(model, episodes)
    dataset = HistoryDataset(replace(episodes, scaling=model.scaling), model.layout.length)
    record = model.description.get("split")
    if record is None:
        return RunData(model, dataset, "unknown", dataset)
    kept = load_linear(run, record)
    if record["fingerprint"] != fingerprint(episodes):
        return RunData(model, dataset, "all", dataset, kept)
    withheld = None if record["withheld_states"] is None else np.asarray(record["withheld_states"], np.float32)
    test = dataset.part(np.asarray(record["test"], np.int32), withheld_states=withheld)
    return RunData(model, test, "test", dataset, kept)


def check_same_problem(model: Model, episodes: Episodes) -> None:
    """Refuse data whose histories or states the model cannot mean.

    Raises:
        MismatchError: sizes, names or the problem's description differ.
    """
    layout = model.layout
    sizes = {
        "agents": (layout.num_agents, episodes.num_agents),
        "actions": (layout.num_actions, episodes.num_actions),
        "observation features": (layout.observation_size, episodes.observation_size),
        "state features": (model.denoiser.state_size, episodes.state_size),
    }
    for name, (ours, theirs) in sizes.items():
        if ours != theirs:
            raise MismatchError(
                f"The model is of {ours} {name}, the data of {theirs}; use data of the model's problem."
            )
    if tuple(model.state_names) != tuple(episodes.state_names):
        raise MismatchError("Model and data name the state's features differently; use data of the model's problem.")
    trained_on, given = model.description.get("problem"), jsonable(episodes.description)
    if trained_on and given:
        what = "The model was trained on another problem than the data's"
        check_same_description(trained_on, given, what, "use data of the model's problem")
