"""How far it goes: a hundred sensors trained and checked, and the cost of a thousand.

Trained: 10 × 10 sensors, 180 areas, one target; exact-state rate on held-out episodes and matrix-free checks.
Cost: one training step and one composite sweep on ever larger grids, each measured in a process of its own, so that
the peak of its memory is its own.
Fusion: 10 × 10 sensors with one, two and four targets, 32 × 32 with 32, also where sensors overlook three targets of
ten; with half the sensors lost, with messages of few bytes, and its own cost.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from composite_flow.training.config import TrainingConfig
from composite_flow_paper.experiment import Experiment
from composite_flow_paper.scale.cell import ScaleSettings, compute_trained
from composite_flow_paper.scale.cost import cost_elsewhere
from composite_flow_paper.scale.fusion import TRAINING, FusionGrid, compute_fusion
from composite_flow_paper.scale.fusion_cost import fusion_cost_elsewhere
from composite_flow_paper.scale.plot import draw
from composite_flow_paper.scale.report import TRAINED, cost_group, fusion_cost_group, summarise, tables
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
        fusion=tuple(
            FusionGrid(
                rows=4,
                num_targets=2,
                miss=miss,
                sensors=SensorSettings(
                    num_episodes=128, training=replace(TRAINING, width=32, depth=2, steps=400, learning_rate=4e-3)
                ),
                num_histories=64,
                num_sent=num_sent,
                num_seeds=1,
            )
            for miss, num_sent in ((0.0, 32), (0.3, 0))
        ),
        fusion_costs=((4, 2),),
    ),
    "laptop": ScaleSettings(),
    "paper": ScaleSettings(cost_rows=(5, 10, 20, 32), cost_width=1024, cost_batch=512, fusion=(), fusion_costs=()),
}


def cells(settings: ScaleSettings, seed: int) -> Sequence[Cell]:
    """The cost of each grid, then the trained one, seed by seed; then fusion's."""
    sizes = [(rows, settings.cost_width, settings.cost_batch) for rows in settings.cost_rows]
    default = ScaleSettings()  # what composite diffusion does not depend on
    alone = replace(settings, cost_rows=(), num_seeds=1, fusion=default.fusion, fusion_costs=default.fusion_costs)
    return [
        *(Cell(cost_group(size[0]), None, size, partial(cost_elsewhere, *size)) for size in sizes),
        *(
            Cell(TRAINED, one, alone, partial(compute_trained, settings, one))
            for one in range(seed, seed + settings.num_seeds)
        ),
        *(
            Cell(fusion_cost_group(size[0]), None, size, partial(fusion_cost_elsewhere, *size))
            for size in settings.fusion_costs
        ),
        *(
            Cell(grid.group, one, replace(grid, num_seeds=1), partial(compute_fusion, grid, one))
            for grid in settings.fusion
            for one in range(seed, seed + grid.num_seeds)
        ),
    ]


EXPERIMENT = Experiment("scale", PRESETS, cells, summarise, tables, draw)
