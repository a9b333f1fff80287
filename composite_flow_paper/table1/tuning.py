"""The rate of each network beyond the paper: three are tried, on a division of the episodes that no cell reports.

Fusion's rate was found in the same way. Each trial takes a quarter of the steps, and its best step on the division's
validation episodes counts. Results stand in `trials/<name>.json` of the experiment's folder, once for all seeds, and
in every cell; without that file the trials are made again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.baselines.training import TrainedBaseline, Validate, num_parameters
from composite_flow.data.dataset import JointBatch
from composite_flow.errors import MismatchError
from composite_flow.files.plain_json import describe_differences, jsonable, read_json, write_json
from composite_flow.fusion.answers import Prior
from composite_flow.fusion.joint_steps import JointSteps, joint_statistics
from composite_flow.training.config import TrainingConfig
from composite_flow.training.stages import joint_histories_per_step
from composite_flow_paper.shared.cells import Progress, Workspace
from composite_flow_paper.table1.battles import BattleEpisodes, Division, divide
from composite_flow_paper.table1.cell import Setting, Table1Settings, divided

RATES = (1.0, 2.0, 4.0)  # times the settings' rate: 1e-3, 2e-3 and 4e-3
TRIAL_SEED = 100  # of the division and of the training of trials
TRIAL_SHARE = 4  # the whole training takes so many times the steps of a trial
_STATISTICS_BYTES = int(1e9)  # of the training data that means are taken from

Train = Callable[[Table1Settings, Setting, Division, PRNGKeyArray, Progress], TrainedBaseline]
"""Trains a network as the settings say, and validates it."""


@dataclass(frozen=True, eq=False)
class Tuned:
    """A network trained at the best of three rates.

    Attributes:
        trained: the network and its learning curve.
        division: of the seed's episodes.
        facts: for its cell: the world, rate and trials, seconds of training, best step, learning curve.
    """

    trained: TrainedBaseline
    division: Division
    facts: dict[str, Any]


def train_tuned(
    name: str, train: Train, settings: Table1Settings, setting: Setting, seed: int, workspace: Workspace
) -> Tuned:
    """Train at the best rate; the trials are made where they are not there.

    Args:
        name: of the cell, whose trials stand under it.
        train: trains the network.
        settings, setting, seed, workspace: as in `cell.compute`.

    Raises:
        MismatchError: the trials there are of other settings.
    """
    played, division = divided(settings.worlds, setting, seed, workspace)
    trials = rate_trials(name, train, settings, setting, played, workspace)
    rate = min(trials, key=lambda trial: trial["validation"])["learning_rate"]
    key, started = jax.random.split(jax.random.key(seed))[0], time.monotonic()
    trained = train(_at_rate(settings, rate), setting, division, key, workspace.progress)
    facts = {
        "world": played.facts,
        "train_seconds": time.monotonic() - started,
        "learning_rate": rate,
        "trials": trials,
        "best_step": trained.best_step,
        "curves": trained.curves,
    }
    return Tuned(trained, division, facts)


def rate_trials(
    name: str, train: Train, settings: Table1Settings, setting: Setting, played: BattleEpisodes, workspace: Workspace
) -> list[dict[str, Any]]:
    """Each rate and the smallest validation error that it reached, read or computed."""
    path = workspace.folder / "trials" / f"{name}.json"
    asked = jsonable([name, setting, settings.worlds, settings.training, settings.num_histories, RATES, TRIAL_SHARE])
    if path.exists():
        kept = read_json(path)
        if kept["settings"] != asked:
            told = describe_differences(kept["settings"], asked)
            raise MismatchError(f"{path} was computed with other settings: {told}; remove it, or choose another --out.")
        return kept["trials"]
    division = divide(played.episodes, settings.worlds, setting.samples, setting.length, TRIAL_SEED)
    shorter = replace(settings, training=_shorter(settings))
    trials = [_trial(train, shorter, setting, division, rate, workspace.progress) for rate in RATES]
    write_json(path, {"settings": asked, "trials": trials})
    return trials


def _trial(train: Train, settings: Table1Settings, setting: Setting, division: Division, factor: float, progress):
    rate = factor * settings.training.learning_rate
    key = jax.random.key(TRIAL_SEED)
    trained = train(
        _at_rate(settings, rate), setting, division, key, lambda told: progress(f"trial at rate {rate:g}: {told}")
    )
    best = min(trained.curves, key=lambda point: point["validation"])
    return {"learning_rate": rate, "best_step": best["step"], "validation": best["validation"]}


def _shorter(settings: Table1Settings) -> TrainingConfig:
    steps = settings.training.steps
    if steps is None:
        raise AssertionError("Table 1's networks are trained for a number of steps")
    steps = max(1, steps // TRIAL_SHARE)
    # as fusion's warm-up: a tenth at most
    return replace(settings.training, steps=steps, warmup=min(settings.training.warmup, max(1, steps // 10)))


def _at_rate(settings: Table1Settings, rate: float) -> Table1Settings:
    return replace(settings, training=replace(settings.training, learning_rate=rate))


def joint_training(settings: Table1Settings, division: Division) -> TrainingConfig:
    """The settings of training, with as many joint histories a step as fusion has."""
    batch = joint_histories_per_step(settings.training.batch, division.train.num_agents)
    return replace(settings.training, batch=batch)


def prior_of_training(division: Division) -> tuple[Float[Array, "agents history"], Prior]:
    """The mean history of each agent and the prior of the states, as fusion takes them from the training samples."""
    return joint_statistics(JointSteps(division.train), _STATISTICS_BYTES)


def num_trained(network: Any, *stored: str) -> int:
    """The number of a network's parameters, without the attributes that are not trained."""
    return num_parameters(network) - sum(getattr(network, name).size for name in stored)


Estimates = Callable[[Any, Float[Array, "steps agents history"]], Float[Array, "steps _ state"]]
"""One or several estimates of each step, from (network, histories); traceable."""


def validating(estimates: Estimates, joint: JointBatch) -> Validate:
    """The mean squared error of a network's estimates at these held-out steps.

    With a function of a module it is compiled once for all networks of a size.
    """
    return lambda network: float(_mean_error(estimates, network, joint.histories, joint.states))


@eqx.filter_jit
def _mean_error(estimates: Estimates, network: Any, histories: Array, states: Array) -> Float[Array, ""]:
    return jnp.mean((estimates(network, histories) - states[:, None]) ** 2)


def validation_steps(settings: Table1Settings, division: Division) -> JointBatch:
    """About twice as many validation steps as are judged, evenly over the episodes."""
    validation = division.validation
    stride = max(1, validation.num_steps // (2 * settings.num_histories))
    return validation.joint(validation.steps[::stride])
