"""Sensors that overlook half of what passes: whom to ask next, learned, beside the exact greedy choice and others."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from composite_flow_paper.experiment import Experiment
from composite_flow_paper.shared.cells import Cell
from composite_flow_paper.whom.cell import TRAINING, WhomSettings, compute
from composite_flow_paper.whom.plot import draw
from composite_flow_paper.whom.report import GROUP, summarise, tables

_SHORT = replace(TRAINING, width=32, depth=2, steps=300, record_every=100, evaluate_every=100)
PRESETS = {
    "smoke": WhomSettings("sensor:3x3,targets=2,miss=0.5", _SHORT, 120, num_chosen=100, num_test=40, num_seeds=1),
    "laptop": WhomSettings(),
    "paper": WhomSettings(num_seeds=10),
}


def cells(settings: WhomSettings, seed: int) -> Sequence[Cell]:
    """A cell a seed."""
    alone = replace(settings, num_seeds=1)
    seeds = range(seed, seed + settings.num_seeds)
    return [Cell(GROUP, one, alone, partial(compute, settings, one)) for one in seeds]


EXPERIMENT = Experiment("whom", PRESETS, cells, summarise, tables, draw)
