"""A cell of Figure 4: a team is trained, and where its composite and partial flows end is counted."""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
from jaxtyping import PRNGKeyArray

from composite_flow.composite.reconstruct import reconstruct_batch
from composite_flow.denoiser import Denoiser
from composite_flow.files.plain_json import LATER
from composite_flow.metrics import exact_states
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.training.fit import TrainingConfig
from composite_flow_paper.figure4.flows import compute_partial, draw_flows
from composite_flow_paper.shared.cells import Workspace
from composite_flow_paper.shared.sensor_runs import (
    SensorData,
    SensorSettings,
    choose_steps,
    collect_sensors,
    composite_quality,
    train_sensors,
)

RATE = 0.99
"""Share of exact samples that is aimed at."""
STEADY = 5
"""Evaluations in a row that must reach it, for a recipe to have reached it: the rate of one can be luck."""
IDEAL_SAMPLES = 2
"""Of each joint history, of the ideal denoiser."""

# Ours: history at every layer, small batches, a high rate that warms up and decays.
OURS = TrainingConfig(width=256, batch=256, steps=8_000, learning_rate=2e-3, average=0.999, evaluate_every=400)
# The same, also where flows go. A network that starts as the identity learns these points better.
FLOWS = replace(OURS, steps=7_600, initial="identity", flow_points=128, evaluate_every=1000)
# The paper's network and batch. It names no optimiser; our choice is Adam at the constant rate that did best in short
# trials.
PAPER = TrainingConfig(
    width=1024,
    batch=512,
    history_at="input",
    minutes=60,
    learning_rate=5e-4,
    schedule="constant",
    average=0.0,
    evaluate_every=1000,
)

# What each agent says, once. The rate 4e-3 does as well, on seed 7, which is not reported.
FUSION = TrainingConfig(
    learn="fusion", team_denoiser=False, width=128, depth=3, batch=256, steps=1_000, learning_rate=2e-3
)
# The same and, after it, the team denoiser that draws samples of what a team knows together.
SAMPLES = replace(FUSION, team_denoiser=True, steps=5_000, fusion_steps=None)


@dataclass(frozen=True)
class Figure4Settings:
    """What Figure 4 depends on.

    Attributes:
        rows, columns, num_targets: the sensor network.
        ours: data and training of our recipe.
        flows: training also where flows go, on the same data; None leaves it out.
        num_ideal: joint histories, with two samples each, of the ideal denoiser's partial flows; 0 leaves them out.
        paper: training by the paper's recipe, for the comparison of times; None leaves it out.
        withhold_states: share of states withheld in the second run of each seed.
        num_seeds: training seeds of our recipe.
        num_paper_seeds: training seeds of the paper's recipe that stop at the first evaluation of 99%.
        num_steady_seeds: those that stop at the fifth in a row.
        num_histories: joint histories of held-out episodes.
        num_samples: samples of composite diffusion for each.
        num_participants: sizes of the random teams of partial flows.
        num_sweeps: passes through all participants.
        stir: scale of the noise that stirs partial flows, beside those that are not.
        num_stirred_sweeps: passes of a stirred flow, a search that takes its time.
        num_stirred: joint histories of stirred flows.
        fusion: training of what each agent answers, on the same data; None leaves it out.
        samples: training of answers and team denoiser, on the same data; None leaves it out.
        num_sampled: joint histories of the team denoiser's samples.
        num_joint_samples: its samples of each.
        num_drawn: samples in each panel of the picture.
        num_hops: iterations shown, one agent each.
    """

    rows: int = 5
    columns: int = 5
    num_targets: int = 2
    ours: SensorSettings = field(default_factory=lambda: SensorSettings(num_episodes=4096, training=OURS))
    flows: TrainingConfig | None = field(default=FLOWS, metadata=LATER)
    num_ideal: int = field(default=100, metadata=LATER)
    paper: TrainingConfig | None = PAPER
    withhold_states: float = 0.1
    num_seeds: int = 3
    num_paper_seeds: int = 1
    num_steady_seeds: int = field(default=0, metadata=LATER)
    num_histories: int = 400
    num_samples: int = 8
    num_participants: tuple[int, ...] = (3, 6, 12, 20)
    num_sweeps: int = 6
    stir: float = field(default=0.2, metadata=LATER)
    num_stirred_sweeps: int = field(default=60, metadata=LATER)
    num_stirred: int = field(default=200, metadata=LATER)
    fusion: TrainingConfig | None = field(default=FUSION, metadata=LATER)
    samples: TrainingConfig | None = field(default=SAMPLES, metadata=LATER)
    num_sampled: int = field(default=50, metadata=LATER)
    num_joint_samples: int = field(default=400, metadata=LATER)
    num_drawn: int = 150
    num_hops: int = 6


def collected(settings: Figure4Settings, key: PRNGKeyArray) -> SensorData:
    """The sensor network with its episodes."""
    return collect_sensors(
        SensorNetwork.grid(settings.rows, settings.columns, settings.num_targets), settings.ours, key=key
    )


def compute_rates(
    settings: Figure4Settings, seed: int, workspace: Workspace, *, stirred: bool = False
) -> dict[str, Any]:
    """Train by our recipe; exact-state rates of whole and partial flows on held-out episodes, and what is drawn."""
    key_data, key_train, key_choice, key_rate, key_partial, key_draw = jax.random.split(jax.random.key(seed), 6)
    data = collected(settings, key_data)
    model = train_sensors(data, settings.ours, key=key_train, progress=workspace.progress)
    steps = choose_steps(data.test.seen, settings.num_histories, key_choice)
    unseen, ends = data.test.unseen, partial(team_flows, settings, data, model.denoiser, steps, key=key_partial)
    return {
        "seen": count_exact(settings, model.denoiser, data.test, steps, key=key_rate),
        "unseen": None
        if unseen is None
        else count_exact(
            settings, model.denoiser, unseen, choose_steps(unseen, settings.num_histories, key_choice), key=key_rate
        ),
        "partial": ends(settings.num_samples),
        "stirred": ends(settings.num_samples // 2, stirred=True) if stirred else None,
        "drawn": draw_flows(
            data, model.denoiser, steps, num_drawn=settings.num_drawn, num_hops=settings.num_hops, key=key_draw
        ),
        "curves": model.curves,
        "train_seconds": model.curves[-1]["seconds"],
    }


def team_flows(
    settings: Figure4Settings,
    data: SensorData,
    denoiser: Denoiser,
    steps,
    num_samples: int,
    *,
    key: PRNGKeyArray,
    stirred: bool = False,
) -> list[dict[str, Any]]:
    """Where flows of random teams end, for each size of team; stirred also those of the whole team."""
    num_agents = data.problem.num_agents
    if stirred:
        steps = steps[: settings.num_stirred]
        sweeps = dict.fromkeys((*settings.num_participants, num_agents), settings.num_stirred_sweeps)
    else:
        # as many hops as the whole team makes, since a small one needs more sweeps to come to rest
        sweeps = {size: math.ceil(settings.num_sweeps * num_agents / size) for size in settings.num_participants}
    options = {"num_samples": num_samples, "stir": settings.stir if stirred else 0.0}
    return [
        compute_partial(data, denoiser, steps, size, num_sweeps=count, key=jax.random.fold_in(key, size), **options)
        for size, count in sweeps.items()
    ]


def compute_ideal(settings: Figure4Settings, seed: int, workspace: Workspace) -> dict[str, Any]:
    """The partial flows of the ideal denoiser, on the first of the same joint histories."""
    key_data, _, key_choice, _, key_partial, _ = jax.random.split(jax.random.key(seed), 6)
    data = collected(settings, key_data)
    steps = choose_steps(data.test.seen, settings.num_histories, key_choice)[: settings.num_ideal]
    ends = partial(team_flows, settings, data, data.ideal, steps, IDEAL_SAMPLES, key=key_partial)
    return {"partial": ends(), "stirred": ends(stirred=True)}


def reaches_rate(point: Mapping[str, float]) -> bool:
    """Whether a point of the learning curve has 99% of its samples exact."""
    return point.get("exact_rate_composite", 0.0) >= RATE


def reached_steadily() -> Callable[[Mapping[str, float]], bool]:
    """Whether the last five evaluations that it was shown all have 99% of their samples exact."""
    last: deque[bool] = deque(maxlen=STEADY)

    def reached(point: Mapping[str, float]) -> bool:
        if "exact_rate_composite" in point:
            last.append(reaches_rate(point))
        return len(last) == STEADY and all(last)

    return reached


def compute_paper(
    settings: Figure4Settings, seed: int, workspace: Workspace, *, steadily: bool = False
) -> dict[str, Any]:
    """Train by the paper's recipe until 99% of the validation samples are exact, or until its budget ends."""
    assert settings.paper is not None
    key_data, key_train, *_ = jax.random.split(jax.random.key(seed), 6)
    data = collected(settings, key_data)
    sensors = replace(settings.ours, training=settings.paper)
    until = reached_steadily() if steadily else reaches_rate
    model = train_sensors(data, sensors, key=key_train, progress=workspace.progress, until=until)
    return {"curves": model.curves, "train_seconds": model.curves[-1]["seconds"]}


def count_exact(settings: Figure4Settings, denoiser: Denoiser, dataset, steps, *, key: PRNGKeyArray) -> dict[str, Any]:
    """How many samples of composite diffusion, in random orders from N(0, I), are the true state."""
    joint = dataset.joint(steps)
    samples = reconstruct_batch(
        denoiser, joint.histories, key=key, num_samples=settings.num_samples, num_sweeps=settings.num_sweeps
    ).samples
    exact = exact_states(samples, joint.states[:, None])
    return {
        "exact": int(exact.sum()),
        "samples": exact.size,
        "histories_with_all_exact": int(exact.all(axis=1).sum()),
        "histories": exact.shape[0],
        **composite_quality(denoiser, dataset, steps, key=key),
    }
