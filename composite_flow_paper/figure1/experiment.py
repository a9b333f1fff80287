"""Figure 1: on four sensors, the states that a history allows are the stable fixed points of the denoiser.

Top row, collectively observable: the target is in area 1; agents 1 and 2 see it and are certain, agents 3 and 4 keep
two states each, and the only fixed point that all share is the true state (Theorems 1 to 3, Finding 1).
Bottom row: sensors overlook a target in areas 1 and 2 half of the time, and none reports one; two fixed points are
shared (Theorem 4, Corollary 7.1). Every history and joint history of both networks is compared, not only those shown.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from composite_flow.training.fit import TrainingConfig
from composite_flow_paper.experiment import Experiment
from composite_flow_paper.figure1.cell import MISS, Figure1Settings, compute
from composite_flow_paper.figure1.plot import draw
from composite_flow_paper.figure1.report import summarise, tables
from composite_flow_paper.shared.cells import Cell
from composite_flow_paper.shared.sensor_runs import SensorSettings

PRESETS = {
    "smoke": Figure1Settings(
        sensors=SensorSettings(
            num_episodes=128, training=TrainingConfig(width=64, batch=256, steps=2000, learning_rate=4e-3)
        ),
        num_seeds=1,
        num_starts=1000,
        scales=(0.5, 1.0),
        num_samples=64,
        num_arrows=60,
    ),
    "laptop": Figure1Settings(),
    "paper": Figure1Settings(
        sensors=SensorSettings(
            num_episodes=4096, training=TrainingConfig(width=1024, batch=512, epochs=1000, history_at="input")
        )
    ),
}


def cells(settings: Figure1Settings, seed: int) -> Sequence[Cell]:
    """Both networks, seed by seed within each."""
    one_seed = replace(settings, num_seeds=1)
    return [
        Cell(case, one, one_seed, partial(compute, settings, case, one))
        for case in MISS
        for one in range(seed, seed + settings.num_seeds)
    ]


EXPERIMENT = Experiment("figure1", PRESETS, cells, summarise, tables, draw)
