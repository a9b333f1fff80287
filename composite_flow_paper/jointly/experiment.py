"""Four small worlds that are learned by teams alone: the exact joint posterior beside samples of every kind."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from composite_flow_paper.experiment import Experiment
from composite_flow_paper.jointly.cell import TRAINING, JointlySettings, compute
from composite_flow_paper.jointly.plot import draw
from composite_flow_paper.jointly.report import summarise, tables
from composite_flow_paper.shared.cells import Cell

PRESETS = {
    "smoke": JointlySettings(
        problems=("xor",),
        training=replace(TRAINING, width=32, steps=200, fusion_steps=300),
        num_joint=16,
        num_samples=100,
        num_seeds=1,
    ),
    "laptop": JointlySettings(),
    "paper": JointlySettings(num_seeds=10),
}


def cells(settings: JointlySettings, seed: int) -> Sequence[Cell]:
    """World by world, seed by seed."""
    alone = replace(settings, problems=(), num_seeds=1)
    return [
        Cell(name, one, alone, partial(compute, settings, name, one))
        for name in settings.problems
        for one in range(seed, seed + settings.num_seeds)
    ]


EXPERIMENT = Experiment("jointly", PRESETS, cells, summarise, tables, draw)
