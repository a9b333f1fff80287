"""Sensors that overlook half of what passes: filters of every kind beside the exact one, with answers lost as well.

Then policies that act on what the team carries, and battles.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from composite_flow_paper.experiment import Experiment
from composite_flow_paper.over_time.acting import LEARNING, ActingSettings, OverTimeAndActing, act
from composite_flow_paper.over_time.battles import GROUP, BattleSettings, compute_battles
from composite_flow_paper.over_time.cell import TRAINING, OverTimeSettings, compute
from composite_flow_paper.over_time.exact_cell import exact_cell
from composite_flow_paper.over_time.plot import draw
from composite_flow_paper.over_time.report import summarise, tables
from composite_flow_paper.shared.cells import Cell

_SHORT = replace(TRAINING, width=32, depth=2, steps=200, record_every=100, evaluate_every=100)
_BRIEF = replace(LEARNING, worlds=4, rollout=10, piece=10, minibatches=2, width=16)
PRESETS = {
    "smoke": OverTimeAndActing(
        OverTimeSettings({"3x3": ("residual",)}, _SHORT, num_episodes=100, num_test=20, num_seeds=1),
        ActingSettings(
            {0.0: 640}, _BRIEF, num_episodes=8, num_seeds=1, by_gated=(), lost=(0.5,), alone=(), beside=(), num_exact=8
        ),
        BattleSettings(num_seeds=0),
    ),
    "laptop": OverTimeAndActing(),
    "paper": OverTimeAndActing(OverTimeSettings(num_seeds=10), ActingSettings(num_seeds=10)),
}


def cells(settings: OverTimeAndActing, seed: int) -> Sequence[Cell]:
    """World by world, filter by filter, seed by seed; then exact filters, policies way by way, and battles."""
    filters, acting, battles = settings.filters, settings.acting, settings.battles
    alone = replace(filters, ways={}, num_seeds=1)
    usual = ActingSettings()
    ways = {"by_gated": usual.by_gated, "lost": usual.lost, "alone": usual.alone, "beside": usual.beside}
    both = OverTimeAndActing(alone, replace(acting, steps={}, num_seeds=1, **ways))
    followed = [
        Cell(f"{world}-{name}", one, alone, partial(compute, filters, world, name, one))
        for world, names in filters.ways.items()
        for name in names
        for one in range(seed, seed + filters.num_seeds)
    ]
    heard = replace(both, acting=replace(both.acting, lost=acting.lost))
    acted = [
        Cell(way.group, one, both, partial(act, settings, way, one))
        for way in acting.ways
        for one in range(seed, seed + acting.num_seeds)
    ]
    fought = [
        Cell(GROUP, one, replace(battles, num_seeds=1), partial(compute_battles, battles, one), (battles.policy,))
        for one in range(seed, seed + battles.num_seeds)
    ]
    return [*followed, Cell("exact-acting", seed, heard, partial(exact_cell, settings, seed)), *acted, *fought]


EXPERIMENT = Experiment("over_time", PRESETS, cells, summarise, tables, draw)
