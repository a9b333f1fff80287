"""Trained policies on disk: one folder, that of the run.

`policy.safetensors` holds the actor and what tells how it acts. Where its input needs V(s) or Q(s, a), they stand in
`values.safetensors`, or, where it needs both, V(s) in `state_values.safetensors`. Where agents infer the state, the
denoiser is a model (`model.safetensors`) that all other commands read as well. `policy_run.json` is the record of the
training, written before it starts, so that a run that is resumed needs no other setting.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

import equinox as eqx
import jax

from composite_flow.denoiser import NoDenoiser
from composite_flow.errors import FileError, MismatchError
from composite_flow.files.checkpoint import load_checkpoint, load_description, save_checkpoint
from composite_flow.files.plain_json import jsonable
from composite_flow.files.run_record import started_or_resumed
from composite_flow.fusion.over_time.rule import FilterDenoiser
from composite_flow.history import HistoryLayout
from composite_flow.model import Model, load
from composite_flow.policy.belief import belief_of
from composite_flow.policy.config import InferenceConfig, MappoConfig
from composite_flow.policy.inference import Inference
from composite_flow.policy.inputs import OWN_ALONE, PolicyInput, input_class, policy_input
from composite_flow.policy.pretraining import Pretraining
from composite_flow.policy.sequence_network import Networks, SequenceNetwork
from composite_flow.policy.talking import Talk, TalkingActor, new_actor
from composite_flow.policy.team import Team
from composite_flow.policy.team_samples import TeamSampler, sampler_of
from composite_flow.policy.trained import TrainedPolicy
from composite_flow.problems import Problem, problem_from_description
from composite_flow.problems.same_description import check_same_description

POLICY_FILE = "policy.safetensors"
VALUES_FILE = "values.safetensors"
STATE_VALUES_FILE = "state_values.safetensors"
SETTINGS_FILE = "policy_run.json"

_SIZES = ("num_agents", "num_actions", "observation_size")
_INFERENCE = ("calls", "samples", "warm", "together", "team_answer")


@dataclasses.dataclass(frozen=True)
class PolicySettings:
    """What a run depends on.

    Attributes:
        problem: as the command line names it.
        training: settings of MAPPO.
        seed: fixes everything that is drawn at random.
        denoiser: folder of the model that it starts from.
        pretraining: of what agents infer by, where it learns before the policy.
    """

    problem: str
    training: MappoConfig = dataclasses.field(default_factory=MappoConfig)
    seed: int = 0
    denoiser: str | None = None
    pretraining: Pretraining = dataclasses.field(default_factory=Pretraining)

    def flat(self) -> dict[str, Any]:
        """One level of names, as in the record."""
        others = {"problem": self.problem, "seed": self.seed, "denoiser": self.denoiser}
        return jsonable({**self.training.flat(), **others, **dataclasses.asdict(self.pretraining)})

    @classmethod
    def from_flat(cls, values: dict[str, Any]) -> "PolicySettings":
        """The inverse of `flat`."""
        values = dict(values)
        problem, seed, denoiser = (values.pop(name) for name in ("problem", "seed", "denoiser"))
        before = {field.name: values.pop(field.name) for field in dataclasses.fields(Pretraining)}
        training = MappoConfig(**{**values, "inference": InferenceConfig(**values["inference"])})
        return cls(problem, training, seed, denoiser, Pretraining(**before))


def start_or_resume(folder: Path, settings: PolicySettings, *, resume: bool, overwrite: bool) -> PolicySettings:
    """The settings of a run: those given, kept in its record, or those kept there by the run that is resumed.

    Args:
        folder: of the run.
        settings: as given now; of a run to resume, what differs from the defaults must agree with its own.
        resume: go on with the run in the folder, if there is one.
        overwrite: an earlier run in the folder may be replaced.

    Raises:
        FileError: a run is in the way, or the folder holds none to resume.
        MismatchError: another problem, or a setting that the run to resume does not have.
    """
    path, defaults = folder / SETTINGS_FILE, PolicySettings(settings.problem)
    kept = started_or_resumed(path, settings, defaults, POLICY_FILE, resume=resume, overwrite=overwrite)
    if kept.problem != settings.problem:
        raise MismatchError(f"{folder} was started for {kept.problem}; name that problem, or choose another --out.")
    return kept


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
    inference, talk = team.inputs.inference, team.inputs.talk
    if inference is not None:
        about = {"problem": jsonable(problem.description)}
        told = inference.layout, inference.scaling, None, (), problem.state_names, about
        if isinstance(team.denoiser, FilterDenoiser | TeamSampler):
            model = Model(NoDenoiser(problem.state_size), *told, team.denoiser.fusion)
        else:
            model = Model(team.denoiser, *told)
        model.save(folder, overwrite)
    network = {
        "inputs": team.inputs.size(problem),
        "outputs": policy.num_actions,
        "width": config.actor_width or config.width,
        "depth": config.depth,
        "memory": config.memory,
    }
    for name, file in _value_files(team.inputs).items():
        values: SequenceNetwork = getattr(team.networks, name)
        sizes = {"inputs": values.num_inputs, "outputs": int(values.head.out_features)}
        weighing = {**sizes, "width": config.width, "depth": config.depth, "memory": "none"}
        save_checkpoint(folder / file, values, {"kind": "policy values", "network": weighing}, overwrite)
    stored = {
        "kind": "policy",
        "sizes": {name: getattr(policy, name) for name in _SIZES},
        "network": network,
        "inputs": {"kind": team.inputs.kind, "own": team.inputs.own, "level": team.inputs.level},
        "inference": None if inference is None else {name: getattr(inference, name) for name in _INFERENCE},
        **({} if talk is None else {"talk": {"layout": talk.layout.settings, "numbers": talk.numbers}}),
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
    denoiser, inference, talk = None, None, None
    if told := stored.get("talk"):
        talk = Talk(HistoryLayout.from_settings(told["layout"]), told["numbers"])
    if stored.get("inference"):
        model, chosen = load(folder), input_class(stored.get("inputs", {}).get("kind", OWN_ALONE))
        denoiser, options = model.denoiser, {**stored["inference"], "shared": chosen.shared}
        if chosen.carries:
            denoiser, options["rule"] = belief_of(model)
        if options.get("team_answer"):
            denoiser = sampler_of(model)
        inference = Inference(model.layout, model.scaling, **options)
    inputs = policy_input(**{"kind": OWN_ALONE, **stored.get("inputs", {})}, inference=inference, talk=talk)
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


def _value_files(inputs: PolicyInput) -> dict[str, str]:
    """Where the networks stand that an input needs beside the actor."""
    if not inputs.needs_state_values:
        return {"values": VALUES_FILE} if inputs.needs_action_values else {}
    if not inputs.needs_action_values:
        return {"critic": VALUES_FILE}
    return {"critic": STATE_VALUES_FILE, "values": VALUES_FILE}


def _read_networks(path: Path, stored: dict[str, Any], inputs: PolicyInput) -> Networks:
    actor = load_checkpoint(path, _empty(stored["network"], inputs.talk))
    files = {name: path.parent / file for name, file in _value_files(inputs).items()}
    return Networks(
        actor,
        **{name: load_checkpoint(file, _empty(load_description(file)["network"])) for name, file in files.items()},
    )


def _empty(settings: dict[str, Any], talk: Talk | None = None) -> SequenceNetwork | TalkingActor:
    """A network's structure, without its weights."""
    return eqx.filter_eval_shape(lambda key: new_actor(talk, **settings, gain=1.0, key=key), jax.random.key(0))
