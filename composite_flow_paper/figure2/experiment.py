"""Figure 2: fixed points deviate from states, more or less with the rank of the sensitivity, within which bound?

25 sensors, two targets, the paper's width. (a, b, d) The flows of three agents; (c) the map; (e, f) all agents' fixed
points pooled; (g.1) rank against deviation, with the residual of the surrogate regression at several ε as a bound
(Findings 2 to 4, Theorems 5 and 6, Evidence 4.1), and conformal radii beside it. Every number of `analyse` is kept,
for each training seed, with all states seen in training and with a tenth of them withheld. (g.2) The same for battles.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from composite_flow.analysis.report import AnalysisSettings
from composite_flow.training.fit import TrainingConfig
from composite_flow_paper.experiment import Experiment
from composite_flow_paper.figure2 import battles
from composite_flow_paper.figure2.cell import Figure2Settings, compute
from composite_flow_paper.figure2.plot import draw
from composite_flow_paper.figure2.report import summarise, tables
from composite_flow_paper.shared.cells import Cell
from composite_flow_paper.shared.sensor_runs import SensorSettings

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
        battles=battles.PRESETS["smoke"],
    ),
    "laptop": Figure2Settings(battles=battles.PRESETS["laptop"]),
    "paper": Figure2Settings(
        sensors=SensorSettings(
            num_episodes=4096, training=TrainingConfig(width=1024, batch=512, epochs=1000, history_at="input")
        ),
        battles=battles.PRESETS["paper"],
    ),
}


def cells(settings: Figure2Settings, seed: int) -> Sequence[Cell]:
    """Seed by seed: battles, sensors that learn from all states, and sensors that learn from some."""
    kept = replace(settings, num_seeds=1, battles=None)
    withheld = replace(kept, sensors=replace(settings.sensors, withhold_states=settings.withhold_states))
    found = []
    for one in range(seed, seed + settings.num_seeds):
        if settings.battles is not None:  # first: they need an extra, and whoever lacks it hears of that at once
            found.append(battles.cell(settings.battles, one))
        found += [
            Cell(name, one, asked, partial(compute, asked, one))
            for name, asked in (("kept", kept), ("withheld", withheld))
        ]
    return found


EXPERIMENT = Experiment("figure2", PRESETS, cells, summarise, tables, draw)
