"""A trained cell of the scale experiment: a grid of sensors learns, and some of its samples are certified."""

import time
from dataclasses import dataclass, field
from typing import Any

import jax
from jaxtyping import PRNGKeyArray

from composite_flow.certificate.checks import certify
from composite_flow.composite.reconstruct import reconstruct
from composite_flow.files.plain_json import LATER
from composite_flow.metrics import exact_states
from composite_flow.model import Model
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.training.config import TrainingConfig
from composite_flow_paper.scale.fusion import GRIDS, FusionGrid
from composite_flow_paper.shared.cells import Workspace
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
        fusion: grids on which fusion is trained.
        fusion_costs: rows of the grids, and targets, whose cost of fusion is measured.
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
    fusion: tuple[FusionGrid, ...] = field(default=GRIDS, metadata=LATER)
    fusion_costs: tuple[tuple[int, int], ...] = field(default=((10, 4), (32, 32)), metadata=LATER)


def compute_trained(settings: ScaleSettings, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Train on the grid; exact-state rate on held-out episodes; certify some samples without dense Jacobians."""
    key_data, key_train, key_choice, key_rate, key_certify = jax.random.split(jax.random.key(seed), 5)
    problem = SensorNetwork.grid(settings.rows, settings.rows)
    data = collect_sensors(problem, settings.sensors, key=key_data)
    model = train_sensors(data, settings.sensors, key=key_train, progress=workspace.progress)
    steps = choose_steps(data.test, settings.num_histories, key_choice)
    joint = data.test.joint(steps[: settings.num_certified])
    checks = []
    for index, histories in enumerate(joint.histories):
        workspace.progress(f"certifying joint history {index + 1} of {settings.num_certified}")
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
