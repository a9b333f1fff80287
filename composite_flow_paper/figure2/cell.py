"""A cell of Figure 2: a network is trained on sensors, and every number of `analyse` is kept, with the flows drawn."""

from dataclasses import dataclass, field
from typing import Any

import jax

from composite_flow.analysis.report import AnalysisSettings
from composite_flow.certificate.calibration import deviation_scores
from composite_flow.certificate.conformal import coverage_of_new
from composite_flow.files.plain_json import LATER
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.training.fit import TrainingConfig
from composite_flow_paper.figure2.battles import BattleSettings
from composite_flow_paper.figure2.flows import compute_flows
from composite_flow_paper.shared.cells import Workspace
from composite_flow_paper.shared.sensor_runs import SensorSettings, collect_sensors, train_sensors
from composite_flow_paper.shared.timed_analysis import timed_analysis

# The paper's width; the history at every layer, since at the input it is not learned within minutes.
TRAINING = TrainingConfig(width=1024, batch=256, steps=4_000, learning_rate=1e-3, evaluate_every=1000)


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


def compute(settings: Figure2Settings, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Train, analyse all pairs of the data, and compute what the flows' panels show."""
    key_data, key_train, key_analysis, key_flows = jax.random.split(jax.random.key(seed), 4)
    problem = SensorNetwork.grid(settings.rows, settings.columns, settings.num_targets)
    data = collect_sensors(problem, settings.sensors, key=key_data)
    model = train_sensors(data, settings.sensors, key=key_train, progress=workspace.progress)
    parts = data.train, data.test, data.validation
    found = timed_analysis(model, *parts, key=key_analysis, settings=settings.analysis, progress=workspace.progress)
    workspace.progress("flows")
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
        result[f"{level:g}"] = {"coverage": coverage.share, "p_value": coverage.p_value, "episodes": len(new)}
    return result
