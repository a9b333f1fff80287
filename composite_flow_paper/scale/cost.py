"""What a training step and a sweep cost on a grid, measured in a process of its own, for the peak of its memory."""

import json
import resource
import subprocess
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from composite_flow.composite.reconstruct import reconstruct
from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow.errors import CompositeFlowError
from composite_flow.network import Network
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.training.loss import arrays_of
from composite_flow.training.optimiser import Schedule, Task, initial_state, train_steps
from composite_flow_paper.shared.cells import Workspace


def cost_elsewhere(rows: int, width: int, batch: int, workspace: Workspace) -> dict[str, Any]:
    """`cost` in a process of its own."""
    workspace.progress(f"cost of {rows} × {rows} sensors")
    return measured_elsewhere("composite_flow_paper.scale.cost", rows, width, batch)


def measured_elsewhere(module: str, rows: int, *arguments: int) -> dict[str, Any]:
    """What a module prints for these numbers, in a process of its own."""
    command = [sys.executable, "-m", module, *map(str, (rows, *arguments))]
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode:
        reason = (finished.stderr.strip().splitlines() or ["no message"])[-1]
        raise CompositeFlowError(f"Measuring {rows} × {rows} sensors failed: {reason}")
    return json.loads(finished.stdout.splitlines()[-1])


def peak_gigabytes() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def cost(rows: int, width: int, batch: int) -> dict[str, Any]:
    """Seconds of one training step and of one composite sweep with one sample, and the peak of memory."""
    key_data, key_network, key_train, key_sweep = jax.random.split(jax.random.key(0), 4)
    problem = SensorNetwork.grid(rows, rows)
    dataset = HistoryDataset(collect(problem, 4, key=key_data, num_steps=4))
    network = Network(dataset.layout, problem.state_size, width, key=key_network)
    schedule = Schedule(*(jnp.array(number) for number in (1e-3, 1.0, 0.0, 0.0)))
    task = Task(arrays_of(dataset), key_train, schedule, batch, 0.0)
    state = train_steps(task, initial_state(network, averaged=False), jnp.array(1))
    num_steps = 10
    started = time.perf_counter()
    state = jax.block_until_ready(train_steps(task, state, jnp.array(num_steps)))
    step_seconds = (time.perf_counter() - started) / num_steps
    histories = dataset.joint(dataset.steps[:1]).histories[0]
    sweep_seconds = [sweep_time(state.network, histories, key_sweep) for _ in range(4)]
    inputs = problem.state_size + dataset.layout.size
    return {
        "rows": rows,
        "agents": problem.num_agents,
        "state": problem.state_size,
        "inputs": inputs,
        "step_seconds": step_seconds,
        "compile_and_sweep_seconds": sweep_seconds[0],
        "sweep_seconds": min(sweep_seconds[1:]),
        "seconds_per_call": min(sweep_seconds[1:]) / problem.num_agents,
        "peak_gigabytes": peak_gigabytes(),
    }


def sweep_time(denoiser: Network, histories, key: PRNGKeyArray) -> float:
    """Seconds of one sweep through all agents."""
    started = time.perf_counter()
    jax.block_until_ready(reconstruct(denoiser, histories, key=key, num_samples=1, num_sweeps=1).samples)
    return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(cost(*(int(argument) for argument in sys.argv[1:]))))
