"""A run's folder: the settings that a training was started with, its model, and the data that belong to it.

`run.json` is written before training starts, so that `--resume` needs no other option and a run cannot go on under
other settings. `model.safetensors` holds what `evaluate` needs: the problem, the data's fingerprint, the test episodes.
"""

import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from composite_flow.data import Episodes, HistoryDataset
from composite_flow.errors import FileError, InputError, MismatchError
from composite_flow.experiments.cells import jsonable, read_json, write_json
from composite_flow.model import MODEL_FILE, Model, load

SETTINGS_FILE = "run.json"
_ROWS = 65_536  # steps that are read at once for the fingerprint


@dataclass(frozen=True)
class RunData:
    """A model with the part of some data that it may be judged on.

    Attributes:
        model: what `train` wrote.
        episodes: the data.
        dataset: windows of the model's own length: on the run's test episodes, or on all of foreign data.
        part: "test" or "all".
    """

    model: Model
    episodes: Episodes
    dataset: HistoryDataset
    part: str


def fingerprint(episodes: Episodes) -> str:
    """Tells one set of episodes from another, wherever it is stored: a checksum of what training reads."""
    checksum = 0
    for array in (episodes.observations, episodes.actions, episodes.states, episodes.ends):
        for first in range(0, episodes.num_steps, _ROWS):
            checksum = zlib.crc32(np.ascontiguousarray(array[first : first + _ROWS]).tobytes(), checksum)
    return f"{episodes.num_episodes} episodes, {episodes.num_steps} steps, {checksum:08x}"


def start_or_resume(folder: Path, settings: dict[str, Any], defaults: dict[str, Any], *, resume: bool, overwrite: bool):
    """The settings of a run: those given, kept in `run.json`, or those kept there by the run that is resumed.

    Args:
        folder: of the run.
        settings: as given now.
        defaults: what stands in `settings` where nothing was given.
        resume: whether to go on with the run in the folder.
        overwrite: whether an earlier run in the folder may be replaced.

    Returns:
        The settings to train with, and whether a run is there to go on with.

    Raises:
        FileError: a run is in the way, or there is none to resume.
        MismatchError: a setting was given that the run to resume does not have.
    """
    path, settings, defaults = folder / SETTINGS_FILE, jsonable(settings), jsonable(defaults)
    if resume and path.exists():
        return _kept_settings(path, settings, defaults)
    if resume and folder.exists() and any(folder.iterdir()):
        raise FileError(f"{folder} holds no run to resume: {SETTINGS_FILE} is missing; choose the folder of a run.")
    if not overwrite and (path.exists() or (folder / MODEL_FILE).exists()):
        raise FileError(f"{folder} already holds a run; add --resume or --overwrite, or choose another --out.")
    write_json(path, settings)
    return settings


def _kept_settings(path: Path, settings: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """What `run.json` says, with a longer or shorter limit in minutes where one is given now."""
    kept = read_json(path)
    if not isinstance(kept, dict) or set(kept) != set(settings):
        raise FileError(f"{path} is not the record of a run of this version; start anew with --overwrite.")
    for name, value in settings.items():
        if value not in (defaults[name], kept[name]):
            if name != "minutes":
                option = name.replace("_", "-")
                raise MismatchError(
                    f"{path.parent} was started with {name} = {kept[name]}, not {value}; leave out --{option} to resume "
                    "it, or start anew in another --out."
                )
            kept[name] = value
    return kept


def open_run(run: Path, data: Path) -> RunData:
    """Load a finished run's model and the data to use it on.

    Raises:
        FileError: a file is missing, damaged or foreign.
        MismatchError: the data are of another problem than the model.
    """
    if not (run / MODEL_FILE).exists() and (run / SETTINGS_FILE).exists():
        raise FileError(f"{run} holds a training that has not finished; add --resume to its train command.")
    model, episodes = load(run), Episodes.load(data)
    check_same_problem(model, episodes)
    record = model.description.get("split")
    if record is None or model.radius is None:
        raise FileError(f"{run / MODEL_FILE} lacks its split or radius; run its train command again with --resume.")
    dataset = HistoryDataset(replace(episodes, scaling=model.scaling), model.layout.length)
    if record["fingerprint"] != fingerprint(episodes):
        return RunData(model, episodes, dataset, "all")
    withheld = record["withheld_states"]
    return RunData(
        model,
        episodes,
        dataset.part(
            np.asarray(record["test"], np.int32),
            withheld_states=None if withheld is None else np.asarray(withheld, np.float32),
        ),
        "test",
    )


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
            raise MismatchError(f"The model is of {ours} {name} and the data of {theirs}; use data of its own problem.")
    if tuple(model.state_names) != tuple(episodes.state_names):
        raise MismatchError("The model and the data name the state's features differently; use data of its own problem.")
    trained_on = model.description.get("problem")
    if trained_on and episodes.description and trained_on != jsonable(episodes.description):
        differing = sorted(
            name
            for name in {**trained_on, **episodes.description}
            if trained_on.get(name) != jsonable(episodes.description).get(name)
        )
        raise MismatchError(
            f"The model was trained on another problem than the data are of: they differ in {', '.join(differing)}; "
            "use data of its own problem."
        )


def choose_steps(dataset: HistoryDataset, count: int, seed: int) -> np.ndarray:
    """Some steps of a dataset, spread at random, each at most once; all of them where it has no more."""
    if count < 1:
        raise InputError(f"The number of joint histories must be at least 1, not {count}.")
    steps = np.asarray(dataset.steps)
    return np.sort(np.random.default_rng(seed).choice(steps, min(count, len(steps)), replace=False))
