"""What the sensor-network experiments share about fusion: training with its cost, joint histories, fused means."""

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answers
from composite_flow.fusion.fuse import fuse_each
from composite_flow.fusion.joint_steps import JointSteps, OwnSteps
from composite_flow.fusion.sparse import SparseAnswers
from composite_flow.history import History, HistoryLayout
from composite_flow.model import Model
from composite_flow.problems.sensor import SensorNetwork, SensorWorld
from composite_flow.training.fit import TrainingConfig, fit
from composite_flow_paper.shared.cells import Progress, told_steps
from composite_flow_paper.shared.cpu_time import cpu_timed, matrix_product_rate


def train_fusion(
    train: HistoryDataset,
    validation: HistoryDataset,
    training: TrainingConfig,
    *,
    key: PRNGKeyArray,
    progress: Progress,
) -> tuple[Model, dict[str, Any]]:
    """Train what is said, and how long that takes.

    It is trained for one step first, by which all programs are compiled, so that the CPU seconds of training are free
    of that. Training includes screening and the evaluations on validation steps.

    Returns:
        The model, and its learning curve with CPU seconds and the machine's rate of matrix products.
    """

    def trained(config: TrainingConfig) -> Model:
        return fit(train, validation, config, key=key, progress=told_steps(progress))

    progress("compiling")
    _, compiling = cpu_timed(lambda: trained(replace(training, steps=1, fusion_steps=None, epochs=None, minutes=None)))
    model, seconds = cpu_timed(lambda: trained(training))
    costs = {"cpu_seconds": seconds, "compile_cpu_seconds": compiling, **matrix_product_rate()}
    return model, {**costs, "train_seconds": model.curves[-1]["seconds"], "curves": model.curves}


def joint_arrays(
    answers: Answers, dataset: HistoryDataset, steps: Int[Array, " steps"]
) -> tuple[Float[Array, "steps agents columns"], Float[Array, "steps state"]]:
    """Joint histories and states as these answers read them; without the identities for sparse ones."""
    kind = OwnSteps if isinstance(answers, SparseAnswers) else JointSteps
    return _joint_arrays(eqx.filter(kind(dataset), eqx.is_array), steps)


@eqx.filter_jit
def _joint_arrays(samples: JointSteps, steps: Int[Array, " steps"]):
    return samples.at(steps)


def fused_means(
    answers: Answers,
    histories: Float[Array, "joint agents columns"],
    participants: Bool[Array, "joint agents"] | None = None,
) -> Float[Array, "joint state"]:
    """What the participants say together; all agents where none are given."""
    everyone = jnp.ones(histories.shape[:2], bool)
    return fuse_each(answers, histories, everyone if participants is None else participants).mean


def every_state(
    problem: SensorNetwork, layout: HistoryLayout
) -> tuple[Float[Array, "states agents history"], Float[Array, "states state"]]:
    """The joint history of one step that each state gives, where sensors miss nothing, and the states.

    Raises:
        InputError: sensors miss some targets, or histories are longer.
    """
    if layout.length != 1 or bool(jnp.any(problem.miss > 0.0)):
        raise InputError("A state has one joint history only where histories have one step and sensors miss nothing.")
    agents = jnp.arange(problem.num_agents)

    def history_of(state: Float[Array, " state"]) -> Float[Array, "agents history"]:
        targets = jnp.nonzero(state, size=problem.num_targets)[0].astype(jnp.int32)
        views = problem.observe(jax.random.key(0), SensorWorld(targets, jnp.int32(0)))
        ones = jnp.ones((problem.num_agents, 1), bool)
        return layout.encode(History(views[:, None], jnp.zeros((problem.num_agents, 0), jnp.int32), ones, agents))

    states = problem.states()
    return jax.jit(jax.vmap(history_of))(states), states
