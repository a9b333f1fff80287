"""How far it goes: a hundred sensors trained and checked, and the cost of a thousand.

Trained: 10 × 10 sensors, 180 areas, one target; exact-state rate on held-out episodes and matrix-free checks.
Cost: one training step and one composite sweep on ever larger grids, each measured in a process of its own, so that
the peak of its memory is its own.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from composite_flow.training.config import TrainingConfig
from composite_flow_paper.experiment import Experiment
from composite_flow_paper.scale.cell import ScaleSettings, compute_trained
from composite_flow_paper.scale.cost import cost_elsewhere
from composite_flow_paper.scale.plot import draw
from composite_flow_paper.scale.report import TRAINED, cost_group, summarise, tables
from composite_flow_paper.shared.cells import Cell
from composite_flow_paper.shared.sensor_runs import SensorSettings

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


def cells(settings: ScaleSettings, seed: int) -> Sequence[Cell]:
    """The cost of each grid, then the trained one, seed by seed."""
    sizes = [(rows, settings.cost_width, settings.cost_batch) for rows in settings.cost_rows]
    alone = replace(settings, cost_rows=(), num_seeds=1)
    return [
        *(Cell(cost_group(size[0]), None, size, partial(cost_elsewhere, *size)) for size in sizes),
        *(
            Cell(TRAINED, one, alone, partial(compute_trained, settings, one))
            for one in range(seed, seed + settings.num_seeds)
        ),
    ]


EXPERIMENT = Experiment("scale", PRESETS, cells, summarise, tables, draw)
