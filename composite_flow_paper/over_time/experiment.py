"""Sensors that overlook half of what passes: filters of every kind beside the exact one, with answers lost as well."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from composite_flow_paper.experiment import Experiment
from composite_flow_paper.over_time.cell import TRAINING, OverTimeSettings, compute
from composite_flow_paper.over_time.plot import draw
from composite_flow_paper.over_time.report import summarise, tables
from composite_flow_paper.shared.cells import Cell

_SHORT = replace(TRAINING, width=32, depth=2, steps=200, record_every=100, evaluate_every=100)
PRESETS = {
    "smoke": OverTimeSettings({"3x3": ("residual",)}, _SHORT, num_episodes=100, num_test=20, num_seeds=1),
    "laptop": OverTimeSettings(),
    "paper": OverTimeSettings(num_seeds=10),
}


def cells(settings: OverTimeSettings, seed: int) -> Sequence[Cell]:
    """World by world, filter by filter, seed by seed."""
    alone = replace(settings, ways={}, num_seeds=1)
    return [
        Cell(f"{world}-{name}", one, alone, partial(compute, settings, world, name, one))
        for world, names in settings.ways.items()
        for name in names
        for one in range(seed, seed + settings.num_seeds)
    ]


EXPERIMENT = Experiment("over_time", PRESETS, cells, summarise, tables, draw)
