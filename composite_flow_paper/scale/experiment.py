"""How far it goes: a hundred sensors trained and checked, and the cost of a thousand.

Trained: 10 × 10 sensors, 180 areas, one target; exact-state rate on held-out episodes and matrix-free checks.
Cost: one training step and one composite sweep on ever larger grids, each measured in a process of its own, so that
the peak of its memory is its own.
"""

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from composite_flow.certificate.checks import certify
from composite_flow.composite.reconstruct import reconstruct
from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow.errors import CompositeFlowError
from composite_flow.metrics import exact_states, rate_lower_bound
from composite_flow.model import Model
from composite_flow.network import Network
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.training.config import TrainingConfig
from composite_flow.training.loss import arrays_of
from composite_flow.training.optimiser import Schedule, Task, initial_state, train_steps
from composite_flow_paper.shared.cells import Progress, cell
from composite_flow_paper.shared.sensor_runs import (
    SensorSettings,
    choose_steps,
    collect_sensors,
    composite_quality,
    train_sensors,
)

TRAINING = TrainingConfig(
    width=512, batch=256, steps=20_000, learning_rate=2e-3, initial="identity", average=0.999, evaluate_every=1000
)


@dataclass(frozen=True)
class ScaleSettings:
    """What the scale experiment depends on.

    Attributes:
        rows: the trained grid is rows × rows.
        sensors: its data and training.
        num_histories: held-out joint histories, one sample each.
        num_certified: joint histories whose samples are certified, matrix-free.
        num_sweeps: passes through all agents.
        stir, num_stirred_sweeps: of composite diffusion that is stirred, beside the other.
        num_seeds: training seeds.
        cost_rows: grids whose cost is measured.
        cost_width, cost_batch: network and batch of the cost.
    """

    rows: int = 10
    sensors: SensorSettings = field(default_factory=lambda: SensorSettings(num_episodes=2048, training=TRAINING))
    num_histories: int = 200
    num_certified: int = 3
    num_sweeps: int = 6
    stir: float = 0.2
    num_stirred_sweeps: int = 30
    num_seeds: int = 3
    cost_rows: tuple[int, ...] = (5, 10, 20, 32)
    cost_width: int = 256
    cost_batch: int = 256


PRESETS = {
    "smoke": ScaleSettings(
        rows=3,
        sensors=SensorSettings(
            num_episodes=128,
            training=TrainingConfig(width=64, batch=256, steps=1500, learning_rate=3e-3, evaluate_every=800),
            num_joint=32,
        ),
        num_histories=32,
        num_certified=1,
        num_seeds=1,
        cost_rows=(3, 5),
    ),
    "laptop": ScaleSettings(),
    "paper": ScaleSettings(cost_rows=(5, 10, 20, 32), cost_width=1024, cost_batch=512),
}


def run(settings: ScaleSettings, out: Path, *, seed: int, overwrite: bool, progress: Progress) -> dict[str, Any]:
    """Measure each grid and train the one, where that is not done yet, and sum up."""
    costs = []
    for rows in settings.cost_rows:
        progress(f"cost of {rows} × {rows} sensors")
        size = (rows, settings.cost_width, settings.cost_batch)
        costs.append(cell(out / f"cost-{rows}.json", size, partial(cost_elsewhere, *size), overwrite))
    kept, trained = replace(settings, cost_rows=(), num_seeds=1), []
    for one in range(seed, seed + settings.num_seeds):
        progress(f"training on {settings.rows} × {settings.rows} sensors, seed {one}")
        path = out / f"trained-seed{one}.json"
        trained.append(cell(path, kept, lambda one=one: compute_trained(settings, one, progress), overwrite))
    return {"summary": summarise(costs, trained), "cells": {"costs": costs, "trained": trained}}


def compute_trained(settings: ScaleSettings, seed: int, progress: Progress) -> dict[str, Any]:
    """Train on the grid; exact-state rate on held-out episodes; certify some samples without dense Jacobians."""
    key_data, key_train, key_choice, key_rate, key_certify = jax.random.split(jax.random.key(seed), 5)
    problem = SensorNetwork.grid(settings.rows, settings.rows)
    data = collect_sensors(problem, settings.sensors, key=key_data)
    model = train_sensors(data, settings.sensors, key=key_train, progress=progress)
    steps = choose_steps(data.test, settings.num_histories, key_choice)
    joint = data.test.joint(steps[: settings.num_certified])
    checks = []
    for index, histories in enumerate(joint.histories):
        progress(f"certifying joint history {index + 1} of {settings.num_certified}")
        key_one = jax.random.fold_in(key_certify, index)
        checks.append(certify_one(model, histories, joint.states[index], settings.num_sweeps, key=key_one))
    stirred = {"num_sweeps": settings.num_stirred_sweeps, "stir": settings.stir}
    return {
        **composite_quality(model.denoiser, data.test, steps, key=key_rate, num_sweeps=settings.num_sweeps),
        "stirred": composite_quality(model.denoiser, data.test, steps, key=key_rate, **stirred),
        "histories": len(steps),
        "radius": model.radius,
        "checks": checks,
        "curves": model.curves,
        "train_seconds": model.curves[-1]["seconds"],
    }


def certify_one(model: Model, histories, state, num_sweeps: int, *, key: PRNGKeyArray) -> dict[str, Any]:
    """Reconstruct and certify one joint history with one sample, by products with vectors alone."""
    started = time.perf_counter()
    estimate = reconstruct(model.denoiser, histories, key=key, num_samples=1, num_sweeps=num_sweeps)
    certificate = certify(model.denoiser, histories, estimate, radius=model.radius or 0.0, dense_limit=0)
    return {
        "seconds": time.perf_counter() - started,
        "accepted": bool(certificate.accepted[0]),
        "exact": bool(exact_states(estimate.samples, state[None])[0]),
        "largest_radius": float(certificate.radii.max()),
        "composite_radius": float(certificate.composite_radius[0]),
        "largest_distance": float(certificate.distances.max()),
        "reasons": list(certificate.reasons()),
    }


def cost_elsewhere(rows: int, width: int, batch: int) -> dict[str, Any]:
    """`cost` in a process of its own."""
    command = [sys.executable, "-m", "composite_flow_paper.scale.experiment", str(rows), str(width), str(batch)]
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode:
        reason = (finished.stderr.strip().splitlines() or ["no message"])[-1]
        raise CompositeFlowError(f"Measuring {rows} × {rows} sensors failed: {reason}")
    return json.loads(finished.stdout.splitlines()[-1])


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
        "peak_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def sweep_time(denoiser: Network, histories, key: PRNGKeyArray) -> float:
    """Seconds of one sweep through all agents."""
    started = time.perf_counter()
    jax.block_until_ready(reconstruct(denoiser, histories, key=key, num_samples=1, num_sweeps=1).samples)
    return time.perf_counter() - started


def summarise(costs: list[dict[str, Any]], trained: list[dict[str, Any]]) -> dict[str, Any]:
    """The rates with their bounds over the seeds, and how the cost of a call grows beside the network's inputs."""
    first, last = costs[0], costs[-1]
    return {
        **summed_rate(trained, trained),
        "stirred": summed_rate([one["stirred"] for one in trained], trained),
        "exact_rates": [one["exact_rate_composite"] for one in trained],
        "train_seconds": [one["train_seconds"] for one in trained],
        "checks": [check for one in trained for check in one["checks"]],
        "costs": costs,
        "growth_of_inputs": last["inputs"] / first["inputs"],
        "growth_of_seconds_per_call": last["seconds_per_call"] / first["seconds_per_call"],
        "peak_gigabytes": max(one["peak_gigabytes"] for one in costs),
    }


def summed_rate(qualities: list[dict[str, Any]], trained: list[dict[str, Any]]) -> dict[str, float]:
    """The exact-state rate over all seeds, one sample a joint history, with its lower 95% bound, and the mean PSNR."""
    trials = [one["histories"] for one in trained]
    exact = [round(one["exact_rate_composite"] * count) for one, count in zip(qualities, trials, strict=True)]
    return {
        "exact_rate": sum(exact) / sum(trials),
        "exact_rate_lower_bound": rate_lower_bound(exact, trials),
        "psnr_composite": sum(one["psnr_composite"] for one in qualities) / len(qualities),
    }


if __name__ == "__main__":
    print(json.dumps(cost(*(int(argument) for argument in sys.argv[1:]))))
