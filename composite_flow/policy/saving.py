"""Trained policies on disk: one folder, that of the run.

`policy.safetensors` holds the actor and what tells how it acts. Where its input needs V(s) or Q(s, a), they stand in
`values.safetensors`; where agents infer the state, the denoiser is a model (`model.safetensors`) that all other
commands read as well.
"""

import os
from pathlib import Path
from typing import Any

import equinox as eqx
import jax

from composite_flow.errors import FileError
from composite_flow.files.checkpoint import load_checkpoint, load_description, save_checkpoint
from composite_flow.files.plain_json import jsonable
from composite_flow.model import Model, check_same_description, load
from composite_flow.policy.config import MappoConfig
from composite_flow.policy.inference import Inference
from composite_flow.policy.inputs import VALUING, Inputs
from composite_flow.policy.sequence_network import SequenceNetwork
from composite_flow.policy.team import Networks, Team
from composite_flow.policy.trained import TrainedPolicy
from composite_flow.problems import Problem, problem_from_description

POLICY_FILE = "policy.safetensors"
VALUES_FILE = "values.safetensors"
SETTINGS_FILE = "policy_run.json"

_SIZES = ("num_agents", "num_actions", "observation_size")
_INFERENCE = ("calls", "samples", "warm", "together")


def save_policy(
    folder: str | os.PathLike,
    policy: TrainedPolicy,
    problem: Problem,
    config: MappoConfig,
    description: dict[str, Any],
    overwrite: bool = False,
) -> None:
    """Write a policy into a folder.

    Args:
        folder: of its run.
        policy: what is written; whether it is greedy is left to who loads it.
        problem: that it was trained in.
        config: its settings.
        description: what else to keep; JSON-able.
        overwrite: a policy there may be replaced.

    Raises:
        FileError: a file is in the way or cannot be written.
    """
    folder, team = Path(folder), policy.team
    inference = team.inputs.inference
    if inference is not None:
        about = {"problem": jsonable(problem.description)}
        model = Model(team.denoiser, inference.layout, inference.scaling, None, (), problem.state_names, about)
        model.save(folder, overwrite)
    network = {
        "inputs": team.inputs.size(problem),
        "outputs": policy.num_actions,
        "width": config.actor_width or config.width,
        "depth": config.depth,
        "memory": config.memory,
    }
    values = team.networks.critic if team.networks.values is None else team.networks.values
    if values is not None:
        sizes = {"inputs": values.num_inputs, "outputs": int(values.head.out_features)}
        weighing = {**sizes, "width": config.width, "depth": config.depth, "memory": "none"}
        save_checkpoint(folder / VALUES_FILE, values, {"kind": "policy values", "network": weighing}, overwrite)
    stored = {
        "kind": "policy",
        "sizes": {name: getattr(policy, name) for name in _SIZES},
        "network": network,
        "inputs": {"kind": team.inputs.kind, "own": team.inputs.own, "level": team.inputs.level},
        "inference": None if inference is None else {name: getattr(inference, name) for name in _INFERENCE},
        **description,
    }
    save_checkpoint(folder / POLICY_FILE, policy.actor, stored, overwrite)


def load_policy(folder: str | os.PathLike, *, greedy: bool = False) -> TrainedPolicy:
    """Read the policy that a run wrote.

    Args:
        folder: of the run.
        greedy: take the likeliest action instead of drawing one.

    Raises:
        FileError: there is none yet, or a file is missing, damaged or foreign.
    """
    path = Path(folder) / POLICY_FILE
    if not path.exists() and (path.parent / SETTINGS_FILE).exists():
        raise FileError(f"{folder} holds a training that has not finished; run train-policy again with --resume.")
    stored = load_description(path)
    if stored.get("kind") != "policy":
        raise FileError(f"{path} is not a policy.")
    denoiser, inference = None, None
    if stored.get("inference"):
        model = load(folder)
        denoiser, inference = model.denoiser, Inference(model.layout, model.scaling, **stored["inference"])
    inputs = Inputs(**stored.get("inputs", {}), inference=inference)
    networks = _read_networks(path, stored, inputs)
    steps = int(stored.get("steps", 0))
    return TrainedPolicy(Team(networks, inputs, denoiser), **stored["sizes"], greedy=greedy, steps=steps)


def load_problem(folder: str | os.PathLike) -> Problem:
    """The problem that a run's policy was trained in.

    Args:
        folder: of the run.

    Raises:
        FileError: the file is missing or damaged, or does not say.
        InputError: the problem cannot be built here.
    """
    path = Path(folder) / POLICY_FILE
    description = load_description(path).get("training", {}).get("problem")
    if description is None:
        raise FileError(f"{path} does not say which problem the policy was trained in; train it again.")
    return problem_from_description(description)


def check_trained_in(folder: str | os.PathLike, problem: Problem) -> None:
    """Refuse a policy of another problem, were it of the same sizes: another race, sight or version of the library.

    Args:
        folder: of the policy's run.
        problem: that it is to act in.

    Raises:
        MismatchError: they differ; it says in what.
    """
    trained_in = load_description(Path(folder) / POLICY_FILE).get("training", {}).get("problem")
    if trained_in is not None:
        what = f"The policy in {folder} was trained in another problem"
        check_same_description(trained_in, jsonable(problem.description), what, "use one of the problem's own")


def _read_networks(path: Path, stored: dict[str, Any], inputs: Inputs) -> Networks:
    actor = load_checkpoint(path, _empty(stored["network"]))
    values_path = path.parent / VALUES_FILE
    if inputs.kind == "safe":
        return Networks(actor, _read_values(values_path))
    return Networks(actor, None, _read_values(values_path) if inputs.kind in VALUING else None)


def _read_values(path: Path) -> SequenceNetwork:
    return load_checkpoint(path, _empty(load_description(path)["network"]))


def _empty(settings: dict[str, Any]) -> SequenceNetwork:
    """A network's structure, without its weights."""
    return eqx.filter_eval_shape(lambda key: SequenceNetwork(**settings, gain=1.0, key=key), jax.random.key(0))
