"""Figure 2: fixed points deviate from states, more or less with the rank of the sensitivity, within which bound?

25 sensors, two targets, the paper's width. (a, b, d) The flows of three agents; (c) the map; (e, f) all agents' fixed
points pooled; (g.1) rank against deviation, with the residual of the surrogate regression at several ε as a bound
(Findings 2 to 4, Theorems 5 and 6, Evidence 4.1), and conformal radii beside it. Every number of `analyse` is kept,
for each training seed, with all states seen in training and with a tenth of them withheld. (g.2) The same for battles.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax

from composite_flow.analysis.report import AnalysisSettings
from composite_flow.certificate.calibration import deviation_scores
from composite_flow.certificate.conformal import coverage_of_new
from composite_flow.files.plain_json import LATER
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.training.fit import TrainingConfig
from composite_flow_paper.figure2 import battles as figure2_battles
from composite_flow_paper.figure2.battles import BattleSettings
from composite_flow_paper.figure2.flows import compute_flows
from composite_flow_paper.figure2.report import summarise, tables
from composite_flow_paper.shared.cells import Progress, cell
from composite_flow_paper.shared.sensor_runs import SensorSettings, collect_sensors, train_sensors
from composite_flow_paper.shared.timed_analysis import timed_analysis

__all__ = ["PRESETS", "Figure2Settings", "run", "tables"]

# The paper's width; the history at every layer, since at the input it is not learned within minutes.
TRAINING = TrainingConfig(width=1024, batch=256, steps=4_000, learning_rate=1e-3, evaluate_every=1000)

Compute = Callable[[Any, int, Progress], dict[str, Any]]


@dataclass(frozen=True)
class Figure2Settings:
    """What Figure 2 depends on.

    Attributes:
        rows, columns, num_targets: the sensor network.
        sensors: data and training.
        withhold_states: share of states withheld in the second run of each seed.
        num_seeds: training seeds.
        analysis: how much is looked at.
        battles: those of (g.2), if any.
    """

    rows: int = 5
    columns: int = 5
    num_targets: int = 2
    sensors: SensorSettings = field(default_factory=lambda: SensorSettings(num_episodes=4096, training=TRAINING))
    withhold_states: float = 0.1
    num_seeds: int = 2
    analysis: AnalysisSettings = field(default_factory=lambda: AnalysisSettings(num_samples=2))
    battles: BattleSettings | None = field(default=None, metadata=LATER)


PRESETS = {
    "smoke": Figure2Settings(
        rows=3,
        columns=3,
        sensors=SensorSettings(
            num_episodes=512,
            training=TrainingConfig(width=96, batch=256, steps=1600, learning_rate=4e-3, evaluate_every=1600),
            num_joint=32,
        ),
        num_seeds=1,
        analysis=AnalysisSettings(num_anchors=40, num_shifts=200, num_joint=8, num_samples=2),
        battles=figure2_battles.PRESETS["smoke"],
    ),
    "laptop": Figure2Settings(battles=figure2_battles.PRESETS["laptop"]),
    "paper": Figure2Settings(
        sensors=SensorSettings(
            num_episodes=4096, training=TrainingConfig(width=1024, batch=512, epochs=1000, history_at="input")
        ),
        battles=figure2_battles.PRESETS["paper"],
    ),
}


def run(settings: Figure2Settings, out: Path, *, seed: int, overwrite: bool, progress: Progress) -> dict[str, Any]:
    """Compute every seed that is not there yet, with all states and with some withheld, and in battles; and sum up."""
    kept = replace(settings, num_seeds=1, battles=None)
    withheld = replace(kept, sensors=replace(settings.sensors, withhold_states=settings.withhold_states))
    runs: dict[str, tuple[Any, Compute]] = {}
    if settings.battles is not None:  # first: they need an extra, and whoever lacks it hears of that at once
        runs["battles"] = settings.battles, figure2_battles.computing(settings.battles, out, progress)
    runs |= {"kept": (kept, compute), "withheld": (withheld, compute)}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in runs}
    for one in range(seed, seed + settings.num_seeds):
        for name, (one_settings, computing) in runs.items():
            say = prefixed(progress, f"{name}, seed {one}, ")
            path = out / f"{name}-seed{one}.json"
            found[name].append(cell(path, one_settings, partial(computing, one_settings, one, say), overwrite))
    return {"summary": summarise(found), "cells": found}


def prefixed(progress: Progress, prefix: str) -> Progress:
    """The same progress with a few words before each sentence."""
    return lambda sentence: progress(prefix + sentence)


def compute(settings: Figure2Settings, seed: int, progress: Progress) -> dict[str, Any]:
    """Train, analyse all pairs of the data, and compute what the flows' panels show."""
    key_data, key_train, key_analysis, key_flows = jax.random.split(jax.random.key(seed), 4)
    problem = SensorNetwork.grid(settings.rows, settings.columns, settings.num_targets)
    data = collect_sensors(problem, settings.sensors, key=key_data)
    model = train_sensors(data, settings.sensors, key=key_train, progress=progress)
    parts = data.train, data.test, data.validation
    found = timed_analysis(model, *parts, key=key_analysis, settings=settings.analysis, progress=progress)
    progress("flows")
    drawn = not settings.sensors.withhold_states  # the panels show a network that has seen all states
    return {
        **found,
        "unseen_states": withheld_coverage(settings, model.denoiser, data.test),
        "flows": compute_flows(data, model.denoiser, key=key_flows) if drawn else None,
        "exact_rate_composite": model.curves[-1].get("exact_rate_composite"),
    }


def withheld_coverage(settings: Figure2Settings, denoiser, test) -> dict[str, Any] | None:
    """Conformal radii from the episodes' seen states, tried on their withheld ones, where nothing is promised."""
    if test.unseen is None:
        return None
    calibration, new = deviation_scores(denoiser, test.seen), deviation_scores(denoiser, test.unseen)
    result = {}
    for level in settings.analysis.levels:
        coverage = coverage_of_new(calibration, new, 1 - level)
        result[f"{level:g}"] = {"coverage": coverage.mean, "p_value": coverage.p_value, "episodes": len(new)}
    return result
