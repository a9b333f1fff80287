"""Table 1's rivals, at the default setting: trained as long as the denoiser, judged on the same steps.

| rival | what it is | parameters |
|---|---|---|
| `plain` | the denoiser with the history at the input alone (the paper's) | fewer |
| `stronger` | residual blocks with layer normalisation, conditioned by an encoder (`baselines/residual.py`) | more |
| `joint_regression` | sees every history at once (`baselines/regression.py`), at its best step on validation | equal |
| `joint_of_equal_weights` | the same, beside fusion | as fusion |
| `joint_tuned` | `joint_regression` at the best of three rates (`tuning.py`) | equal |
| `joint_tuned_of_equal_weights` | the same, beside fusion | as fusion |
| `variational` | conditional variational autoencoder (`baselines/variational.py`) | equal |
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.baselines.regression import (
    JointPairs,
    concatenated_histories,
    joint_regression,
    regression_estimates,
    regression_losses,
)
from composite_flow.baselines.residual import ResidualNetwork
from composite_flow.baselines.training import (
    Losses,
    TrainedBaseline,
    Validate,
    building,
    matching_width,
    num_parameters,
    train_baseline,
)
from composite_flow.baselines.variational import VariationalAutoencoder, evidence_losses, prior_samples
from composite_flow.data.dataset import JointBatch
from composite_flow.network import Network
from composite_flow.training.loss import pair_losses
from composite_flow_paper.shared.cells import Progress, Workspace, told_steps
from composite_flow_paper.table1.battles import Division
from composite_flow_paper.table1.cell import Setting, Table1Settings, compute, denoising, divided, judged
from composite_flow_paper.table1.fusion import parameters_of_fusion
from composite_flow_paper.table1.tuning import train_tuned, validation_steps

_BATCH = 64  # joint histories at once


def compute_rival(
    rival: str, settings: Table1Settings, setting: Setting, seed: int, workspace: Workspace
) -> dict[str, Any]:
    """Train one rival and judge it; arguments as in `compute`. Only `plain` keeps an interrupted training."""
    if rival == "plain":
        plain = replace(settings, training=replace(settings.training, history_at="input"))
        return compute(plain, setting, seed, workspace)
    played, division = divided(settings.worlds, setting, seed, workspace)
    key_train, key_judge = jax.random.split(jax.random.key(seed))
    task = {
        "settings": settings, "setting": setting, "division": division, "key": key_train,
        "progress": workspace.progress,
    }  # fmt: skip
    started = time.monotonic()
    if rival == "stronger":
        trained = stronger(**task)
        estimator, pair = denoising(trained.best, settings, key_judge), ("individual", "composite")
    elif rival in ("joint_regression", "joint_of_equal_weights"):
        parameters = parameters_of_the_denoiser if rival == "joint_regression" else parameters_of_fusion
        trained = regression(**task, parameters=parameters(settings, setting, division))
        estimator, pair = regressing(trained), ("last_step", "best_step")
    else:
        trained = variational(**task)
        estimator, pair = _decoding(trained.best, settings, key_judge), ("individual", "individual_mean")
    return {
        "world": played.facts,
        "parameters": num_parameters(trained.best),
        "train_seconds": time.monotonic() - started,
        "best_step": trained.best_step,
        "curves": trained.curves,
        **judged(settings, division, seed, estimator, pair),
    }


def compute_joint_tuned(
    name: str, settings: Table1Settings, setting: Setting, seed: int, workspace: Workspace
) -> dict[str, Any]:
    """Joint regression at the best rate; `name` says of how many weights, else as in `cell.compute`."""
    count = parameters_of_fusion if name == "joint_tuned_of_equal_weights" else parameters_of_the_denoiser
    tuned = train_tuned(name, partial(_regression_of, count), settings, setting, seed, workspace)
    return {
        "parameters": num_parameters(tuned.trained.best),
        **tuned.facts,
        **judged(settings, tuned.division, seed, regressing(tuned.trained), ("last_step", "best_step")),
    }


def _regression_of(
    count: Callable[[Table1Settings, Setting, Division], int],
    settings: Table1Settings,
    setting: Setting,
    division: Division,
    key: PRNGKeyArray,
    progress: Progress,
) -> TrainedBaseline:
    return regression(settings, setting, division, key, progress, count(settings, setting, division))


def stronger(
    settings: Table1Settings, setting: Setting, division: Division, key: PRNGKeyArray, progress: Progress
) -> TrainedBaseline:
    """The stronger denoiser, of as many units."""
    minimum, maximum = division.history_range
    options = (division.train.state_size, setting.width, settings.training.depth)
    return _trained(building(ResidualNetwork, minimum, maximum, *options), settings, division.train, key, progress)


def regression(
    settings: Table1Settings,
    setting: Setting,
    division: Division,
    key: PRNGKeyArray,
    progress: Progress,
    parameters: int,
) -> TrainedBaseline:
    """Joint regression with so many parameters."""
    size = division.train.state_size
    minimum, maximum = (jnp.tile(limit, division.train.num_agents) for limit in division.history_range)
    joint = validation_steps(settings, division)

    def build(width: int) -> Callable[[PRNGKeyArray], Network]:
        return building(joint_regression, minimum, maximum, size, width, settings.training.depth)

    def validate(network: Network) -> float:
        return float(_mean_square(network, joint.histories, joint.states))

    width = matching_width(lambda width, key: build(width)(key), parameters)
    return _trained(build(width), settings, JointPairs(division.train), key, progress, regression_losses, validate)


def variational(
    settings: Table1Settings, setting: Setting, division: Division, key: PRNGKeyArray, progress: Progress
) -> TrainedBaseline:
    """A conditional variational autoencoder with as many parameters as the denoiser."""
    minimum, maximum = division.history_range

    def build(width: int) -> Callable[[PRNGKeyArray], VariationalAutoencoder]:
        options = (division.train.state_size, width, settings.training.depth)
        return building(VariationalAutoencoder, minimum, maximum, *options)

    width = matching_width(
        lambda width, key: build(width)(key), parameters_of_the_denoiser(settings, setting, division)
    )
    return _trained(build(width), settings, division.train, key, progress, evidence_losses)


def _trained(
    build: Callable[[PRNGKeyArray], Any],
    settings: Table1Settings,
    data: Any,
    key: PRNGKeyArray,
    progress: Progress,
    losses: Losses = pair_losses,
    validate: Validate | None = None,
) -> TrainedBaseline:
    options = {"losses": losses, "validate": validate, "progress": told_steps(progress)}
    return train_baseline(build, data, settings.training, key=key, **options)


def parameters_of_the_denoiser(settings: Table1Settings, setting: Setting, division: Division) -> int:
    """How many parameters the default column's network has."""
    sizes = (division.train.layout, division.train.state_size, setting.width, settings.training.depth)
    return num_parameters(eqx.filter_eval_shape(lambda key: Network(*sizes, key=key), jax.random.key(0)))


@eqx.filter_jit
def _regressed(network: Network, histories: Float[Array, "steps agents history"]) -> Float[Array, "steps state"]:
    return regression_estimates(network, concatenated_histories(histories))


@eqx.filter_jit
def _mean_square(
    network: Network, histories: Float[Array, "steps agents history"], states: Float[Array, "steps state"]
) -> Float[Array, ""]:
    return jnp.mean((_regressed(network, histories) - states) ** 2)


def regressing(trained: TrainedBaseline):
    """The regression's answers, of its best step on validation episodes and of its last."""

    def estimate(joint: JointBatch) -> dict[str, Float[Array, "steps 1 state"]]:
        networks = {"best_step": trained.best, "last_step": trained.last}
        return {name: _regressed(network, joint.histories)[:, None] for name, network in networks.items()}

    return estimate


def _decoding(model: VariationalAutoencoder, settings: Table1Settings, key: PRNGKeyArray):
    """Each agent's own samples, its mean of them, and the mean over the team, on as many calls as a sweep's n · S."""

    def estimate(joint: JointBatch) -> dict[str, Float[Array, "steps _ state"]]:
        samples = _decoded(model, joint.histories, key, joint.histories.shape[1] * settings.num_sweeps)
        means = jnp.mean(samples, axis=2)
        return {
            # one sample of each agent, as the individual flow has one end
            "individual": samples[:, :, 0],
            "individual_mean": means,
            "team_mean": jnp.mean(means, axis=1, keepdims=True),
        }

    return estimate


@eqx.filter_jit
def _decoded(
    model: VariationalAutoencoder,
    histories: Float[Array, "steps agents history"],
    key: PRNGKeyArray,
    num_samples: int,
) -> Float[Array, "steps agents samples state"]:
    """Samples of every agent at every step."""

    def of_agent(history, key):
        return prior_samples(model, history, key=key, num_samples=num_samples)

    def of_step(example):
        histories, key = example
        return jax.vmap(of_agent)(histories, jax.random.split(key, len(histories)))

    keys = jax.random.split(key, len(histories))
    return jax.lax.map(of_step, (histories, keys), batch_size=min(_BATCH, len(histories)))
