"""Six worlds of other libraries: constant, ridge, individual, composite, fusion and joint regression, side by side."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from composite_flow_paper.experiment import Experiment
from composite_flow_paper.shared.cells import Cell
from composite_flow_paper.worlds.cell import TRAINING, World, WorldsSettings, compute
from composite_flow_paper.worlds.plot import draw
from composite_flow_paper.worlds.report import summarise, tables

WORLDS = (
    World("pursuit", "pettingzoo:pursuit_v5", num_episodes=300, num_steps=60),
    World("tag", "mpe2:simple_tag_v3", num_episodes=1200, num_steps=25),
    World("foraging", "lbf:Foraging-2s-8x8-2p-2f-v3", num_episodes=1500, num_steps=50),
    World("warehouse", "rware:rware-tiny-2ag-v2", num_episodes=500, num_steps=100),
    World("rescue", "jumanji:SearchAndRescue-v0,num_targets=10", num_episodes=500, num_steps=100),
    World("kitchen", "jaxmarl:overcooked_v2,layout=coord_ring,agent_view_size=1", num_episodes=500, num_steps=100),
)

PRESETS = {
    "smoke": WorldsSettings(
        worlds=(World("foraging", "lbf:Foraging-2s-8x8-2p-2f-v3", num_episodes=40, num_steps=8),),
        training=replace(TRAINING, width=32, depth=2, batch=64, steps=60, fusion_steps=60, warmup=10),
        num_joint=32,
        num_seeds=1,
    ),
    "laptop": WorldsSettings(worlds=WORLDS),
}


def cells(settings: WorldsSettings, seed: int) -> Sequence[Cell]:
    """World by world, seed by seed."""
    return [
        Cell(world.name, one, replace(settings, worlds=(world,), num_seeds=1), partial(compute, settings, world, one))
        for world in settings.worlds
        for one in range(seed, seed + settings.num_seeds)
    ]


EXPERIMENT = Experiment("worlds", PRESETS, cells, summarise, tables, draw)
