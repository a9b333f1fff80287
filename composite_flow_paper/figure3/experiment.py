"""Figure 3: what makes fixed points deviate: narrow networks, many states, few training samples (Evidence 3.1)?

25 sensors, two targets, all else equal: the same number of optimiser steps, the same batches. Each panel changes one
setting; one setting is common to all three. Every run reports the deviation and the rank of the sensitivity at the
fixed points of the same kind of pairs: those of the training data where the states are limited, else a sample of all.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from composite_flow.training.fit import TrainingConfig
from composite_flow_paper.experiment import Experiment
from composite_flow_paper.figure3.cell import Figure3Settings, compute, points_of
from composite_flow_paper.figure3.plot import draw
from composite_flow_paper.figure3.report import summarise, tables
from composite_flow_paper.shared.cells import Cell

PRESETS = {
    "smoke": Figure3Settings(
        rows=2,
        columns=3,
        num_targets=1,
        training=TrainingConfig(width=48, batch=128, steps=500, learning_rate=4e-3, warmup=50),
        num_episodes=80,
        widths=(12, 48),
        shares_of_states=(0.5, 1.0),
        shares_of_samples=(0.05, 1.0),
        num_seeds=1,
    ),
    "laptop": Figure3Settings(),
    "paper": Figure3Settings(
        training=TrainingConfig(width=1024, batch=512, epochs=1000, history_at="input"),
        widths=(128, 256, 512, 1024, 2048),
        shares_of_states=(0.125, 0.25, 0.5, 0.75, 1.0),
        max_pairs=20_000,
    ),
}


def cells(settings: Figure3Settings, seed: int) -> Sequence[Cell]:
    """Seed by seed, every point of the panels once."""
    # what one point depends on; the list of the others does not touch it
    alone = replace(settings, num_seeds=1, widths=(), shares_of_states=(), shares_of_samples=())
    points = dict.fromkeys(point for panel in points_of(settings).values() for point in panel)
    return [
        Cell(point.name, one, [alone, point], partial(compute, settings, point, one))
        for one in range(seed, seed + settings.num_seeds)
        for point in points
    ]


EXPERIMENT = Experiment("figure3", PRESETS, cells, summarise, tables, draw)
