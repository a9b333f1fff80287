"""What a file or folder of this library holds, as it says itself: read from descriptions, nothing is computed."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from composite_flow.data.episodes import ARRAYS, Episodes
from composite_flow.data.folder import read_headers
from composite_flow.errors import FileError
from composite_flow.files.checkpoint import array_shapes, load_description
from composite_flow.files.estimates import ESTIMATES_FILE, Estimates
from composite_flow.files.plain_json import read_json
from composite_flow.model import MODEL_FILE
from composite_flow.policy.run import TRAINING_FILE as POLICY_TRAINING_FILE
from composite_flow.policy.saving import POLICY_FILE
from composite_flow.policy.saving import SETTINGS_FILE as POLICY_SETTINGS_FILE
from composite_flow.runs import SETTINGS_FILE
from composite_flow.training.fit import TRAINING_FILE

Contents = dict[str, Any]


def contents(path: Path) -> Contents:
    """Tell what a path holds.

    Args:
        path: folder of a run, of a policy's run, of episodes, of estimates or of an experiment's cells; or one file of
            a model, a policy, a training, estimates or a run's settings.

    Returns:
        `path` and `what` it is; besides, where they are known, `problem`, `sizes`, `training` (its settings), `checks`,
        `last_point` of the learning curve, `split`, `versions`, and others.

    Raises:
        FileError: there is nothing, nothing of this library, or it is damaged.
    """
    if not path.exists():
        if path.with_name(f"{path.name}.partial").exists():
            read_headers(path, ARRAYS)  # says what an interrupted `collect` left beside it
        raise FileError(f"{path} does not exist.")
    readers = _IN_FOLDERS if path.is_dir() else _FILES
    for pattern, reader in readers:
        if any(path.glob(pattern)) if path.is_dir() else path.match(pattern):
            return {"path": str(path), **reader(path)}
    raise FileError(f"{path} holds nothing that composite-flow wrote; name a run, episodes, estimates or cells.")


def _run(folder: Path) -> Contents:
    """A finished training, or a model that was saved on its own."""
    what = "run" if (folder / SETTINGS_FILE).exists() else "model"
    return {**_checkpoint(folder / MODEL_FILE), "what": what}


def _unfinished(settings_file: str, training_file: str, what: str) -> Callable[[Path], Contents]:
    """Reads a training that has left no model or policy yet."""

    def read(folder: Path) -> Contents:
        settings = read_json(folder / settings_file) if (folder / settings_file).exists() else None
        started = (folder / training_file).exists()
        found = _checkpoint(folder / training_file) if started else {}
        return {**found, "what": what, "training": settings or found.get("training")}

    return read


def _policy_run(folder: Path) -> Contents:
    """A finished training of a policy."""
    found = {**_checkpoint(folder / POLICY_FILE), "what": "policy run"}
    if (folder / POLICY_TRAINING_FILE).exists():
        found["last_point"] = _last(load_description(folder / POLICY_TRAINING_FILE))
    return found


def _checkpoint(path: Path) -> Contents:
    """One safetensors file, by its kind."""
    stored, shapes = load_description(path), array_shapes(path)
    common = {"what": stored.get("kind", "checkpoint"), "megabytes": _megabytes([path])}
    readers = {"model": _model, "policy": _policy, "training": _training, "policy training": _training}
    try:
        told = readers.get(stored.get("kind", ""), lambda *_: {})(stored, shapes)
    except (KeyError, TypeError) as error:
        raise FileError(f"{path} is damaged: its description lacks {error}.") from error
    return {**common, **told, "versions": stored["versions"], "format_version": stored["format_version"]}


def _model(stored: Contents, shapes: dict[str, tuple[int, ...]]) -> Contents:
    about, layout = stored["description"], stored["layout"]
    split = about.get("split")
    if split is not None:
        withheld = split["withheld_states"]
        split = {
            "data": split["fingerprint"],
            "test_episodes": len(split["test"]),
            "withheld_states": 0 if withheld is None else len(withheld),
        }
    sizes = {
        "agents": layout["num_agents"],
        "actions": layout["num_actions"],
        "observation_features": layout["observation_size"],
        "state_features": len(stored["state_names"]),
        "history_steps": layout["length"],
        "parameters": _parameters(shapes, "denoiser/"),
    }
    fusion = stored.get("fusion")
    if fusion is not None:
        sizes["fusion_parameters"] = _parameters(shapes, "fusion/answers/")
        sizes["team_denoiser_parameters"] = _parameters(shapes, "fusion/team_denoiser/")
        sizes["chain_parameters"] = _parameters(shapes, "fusion/chain/")
    return {
        "problem": about.get("problem"),
        "collected_by": about.get("policy"),
        "sizes": sizes,
        "training": about.get("settings", about.get("config")),
        "answers": None if fusion is None else fusion["answers"]["kind"],
        "checks": {"radius": stored["radius"]},
        "last_point": _last(stored),
        "split": split,
        "agent_names": _numbered(layout.get("agent_names")),
        "state_names": stored["state_names"],
        "units": about.get("units") or None,
    }


def _numbered(names: Sequence[str] | None) -> list[str] | None:
    """Agents as sentences and arrays number them, from 0."""
    return None if names is None else [f"{number} {name}" for number, name in enumerate(names)]


def _policy(stored: Contents, shapes: dict[str, tuple[int, ...]]) -> Contents:
    settings = dict(stored.get("training", {}))
    problem, _ = settings.pop("problem", None), settings.pop("key", None)
    sizes = {"agents": "num_agents", "actions": "num_actions", "observation_features": "observation_size"}
    return {
        "problem": problem,
        "sizes": {**{name: stored["sizes"][ours] for name, ours in sizes.items()}, "parameters": _parameters(shapes)},
        "inputs": stored.get("inputs"),
        "inference": stored.get("inference"),
        "steps": stored.get("steps"),
        "training": settings,
    }


def _training(stored: Contents, shapes: dict[str, tuple[int, ...]]) -> Contents:
    others = ("kind", "key", "data", "problem", "denoiser", "curves", "seconds", "versions", "format_version")
    return {
        "problem": stored.get("problem"),
        "training": {name: value for name, value in stored.items() if name not in others},
        "seconds": stored.get("seconds"),
        "last_point": _last(stored),
    }


def _episodes(folder: Path) -> Contents:
    episodes, headers = Episodes.load(folder, in_memory=False), read_headers(folder, ARRAYS)
    sizes = {
        "episodes": episodes.num_episodes,
        "steps": episodes.num_steps,
        "agents": episodes.num_agents,
        "actions": episodes.num_actions,
        "observation_features": episodes.observation_size,
        "state_features": episodes.state_size,
    }
    return {
        "what": "episodes",
        "megabytes": _megabytes([header.path for header in headers]),
        "problem": episodes.description,
        "collected_by": dict(episodes.policy),
        "sizes": sizes,
        "agent_names": _numbered(episodes.columns.layout.get("agent_names")),
        "state_names": list(episodes.state_names),
        "units": dict(episodes.columns.units) or None,
        "shards": len(headers),
        "versions": headers[0].description.get("versions"),
    }


def _estimates(path: Path) -> Contents:
    found = Estimates.load(path)
    file = path / ESTIMATES_FILE if path.is_dir() else path
    return {
        "what": "estimates",
        "megabytes": _megabytes([file]),
        "sizes": {
            "joint_histories": len(found),
            "episodes": len(set(found.episodes.tolist())),
            "state_features": len(found.state_names),
        },
        "checks": None if found.accepted is None else {"accepted": float(found.accepted.mean())},
        "made_from": found.about,
        "state_names": list(found.state_names),
    }


def _cells(folder: Path) -> Contents:
    """Results of an experiment, a file for each of its parts."""
    found = {path: read_json(path) for path in sorted(folder.glob("*.json"))}
    cells = {path: cell for path, cell in found.items() if isinstance(cell, dict) and _CELL <= set(cell)}
    if not cells:
        raise FileError(f"{folder} holds JSON files, but no cells of an experiment.")
    machines = [cell["machine"] for cell in cells.values()]
    return {
        "what": "cells",
        "megabytes": _megabytes(list(cells)),
        "cells": len(cells),
        "summary": (folder / "summary.json").exists(),
        "devices": sorted({machine["device"] for machine in machines if "device" in machine}),
        "versions": machines[-1].get("versions"),
    }


def _settings(path: Path) -> Contents:
    return {"what": "settings of a run", "training": read_json(path)}


def _last(stored: Contents) -> Contents | None:
    """The last point of a learning curve."""
    curves = stored.get("curves")
    return curves[-1] if curves else None


def _parameters(shapes: dict[str, tuple[int, ...]], prefix: str = "") -> int:
    return sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(prefix))


def _megabytes(paths: list[Path]) -> float:
    return round(sum(path.stat().st_size for path in paths) / 1e6, 3)


_CELL = {"settings", "machine", "result"}  # parts of a cell's file
_UNFINISHED = _unfinished(SETTINGS_FILE, TRAINING_FILE, "unfinished training")
_UNFINISHED_POLICY = _unfinished(POLICY_SETTINGS_FILE, POLICY_TRAINING_FILE, "unfinished training of a policy")

# The first that is found tells: a policy's run may hold a model besides, and a run estimates.
_IN_FOLDERS: tuple[tuple[str, Callable[[Path], Contents]], ...] = (
    (POLICY_FILE, _policy_run),
    (POLICY_SETTINGS_FILE, _UNFINISHED_POLICY),
    (POLICY_TRAINING_FILE, _UNFINISHED_POLICY),
    (MODEL_FILE, _run),
    (SETTINGS_FILE, _UNFINISHED),
    (TRAINING_FILE, _UNFINISHED),
    ("episodes-*.h5", _episodes),
    (ESTIMATES_FILE, _estimates),
    ("*.json", _cells),
)
_FILES: tuple[tuple[str, Callable[[Path], Contents]], ...] = (
    ("*.safetensors", _checkpoint),
    ("*.h5", _estimates),
    (SETTINGS_FILE, _settings),
    (POLICY_SETTINGS_FILE, _settings),
)
