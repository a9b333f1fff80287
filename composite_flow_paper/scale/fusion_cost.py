"""What an estimate by fusion and a step of its training cost on a grid, measured in a process of its own."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow.fusion.fuse import fuse_each
from composite_flow.fusion.joint_steps import OwnSteps
from composite_flow.fusion.loss import fusion_losses
from composite_flow.fusion.sparse import SparseAnswers, build_sparse_answers
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.training.loss import arrays_of
from composite_flow.training.optimiser import Schedule, Task, initial_state, train_steps
from composite_flow.training.stages import FEWEST_JOINT
from composite_flow_paper.scale.cost import measured_elsewhere, peak_gigabytes
from composite_flow_paper.shared.cells import Workspace

_EPISODES, _STEPS, _CALLS, _ROUNDS = 32, 10, 30, 3


def fusion_cost_elsewhere(rows: int, num_targets: int, workspace: Workspace) -> dict[str, Any]:
    """`fusion_cost` in a process of its own."""
    workspace.progress(f"cost of fusion among {rows} × {rows} sensors")
    return measured_elsewhere("composite_flow_paper.scale.fusion_cost", rows, num_targets)


def fusion_cost(rows: int, num_targets: int) -> dict[str, Any]:
    """Seconds of an estimate of the whole team and of a training step, and the peak of memory after each.

    Of sparse answers, compiled before; 64 joint histories a step. The data are a few episodes: those of real training
    take more memory, `step_bytes` for each of their steps.
    """
    key_data, key_network, key_train = jax.random.split(jax.random.key(0), 3)
    problem = SensorNetwork.grid(rows, rows, num_targets)
    dataset = HistoryDataset(collect(problem, _EPISODES, key=key_data), length=1)
    answers = build_sparse_answers(dataset, key=key_network)
    estimate = {"estimate_seconds": _estimate_seconds(answers, dataset), "estimate_gigabytes": peak_gigabytes()}
    training = {"step_seconds": _step_seconds(answers, dataset, key_train), "step_gigabytes": peak_gigabytes()}
    return {
        "rows": rows,
        "agents": problem.num_agents,
        "state": problem.state_size,
        "targets": num_targets,
        "joint_histories": FEWEST_JOINT,
        "values_sent": answers.values_sent,
        "step_bytes": dataset.windows.step_bytes,
        **estimate,
        **training,
    }


def _estimate_seconds(answers: SparseAnswers, dataset: HistoryDataset) -> float:
    """Median of calls of one joint history each."""
    histories = OwnSteps(dataset).at(dataset.steps[:1])[0]
    everyone = jnp.ones(histories.shape[:2], bool)

    def call():
        return jax.block_until_ready(fuse_each(answers, histories, everyone).mean)

    call()
    return float(np.median([_timed(call) for _ in range(_CALLS)]))


def _step_seconds(answers: SparseAnswers, dataset: HistoryDataset, key: PRNGKeyArray) -> float:
    """The best of a few rounds, as other work on the machine slows single ones down."""
    schedule = Schedule(*(jnp.array(number) for number in (1e-3, 1.0, 0.0, 0.0)))
    task = Task(arrays_of(OwnSteps(dataset)), key, schedule, FEWEST_JOINT, 0.999, losses=fusion_losses)
    state, seconds = train_steps(task, initial_state(answers, averaged=True), jnp.array(1)), []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        state = jax.block_until_ready(train_steps(task, state, jnp.array(_STEPS)))
        seconds.append((time.perf_counter() - started) / _STEPS)
    return min(seconds)


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(fusion_cost(*(int(argument) for argument in sys.argv[1:]))))
