"""Beyond Figure 5: ways to act that the paper does not have, beside its own.

A cell is one world, one way to act, one seed: a team of Figure 5 (`figure5/cell.py`) whose agents learn to infer
before they learn to act. Settings of MAPPO are those of Figure 5's sensors but for the discount and the number of
steps. Sensors that overlook what passes cannot be moved, so that a discount of 0 loses nothing. Of two worlds of other
libraries `probe` said beforehand that the state is worth much in one, where a listener does not see where it is to go,
and nothing in the other. Battles are those of Figure 5, whose other curves stand there.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from composite_flow.policy.pretraining import Pretraining
from composite_flow_paper.acting.plot import draw
from composite_flow_paper.acting.report import summarise
from composite_flow_paper.acting.settings import MAIN_WAYS, Comparison, WaysSettings, World
from composite_flow_paper.acting.tables import tables
from composite_flow_paper.experiment import Experiment
from composite_flow_paper.figure5.cell import compute
from composite_flow_paper.figure5.experiment import PRESETS as OF_FIGURE_5
from composite_flow_paper.figure5.team import EvaluationSettings, Panel, Team, group_of
from composite_flow_paper.shared.cells import Cell

_SMALL = OF_FIGURE_5["smoke"].worlds[0].policy
_SENSORS = replace(OF_FIGURE_5["laptop"].worlds[-1].policy, discount=0.0, steps=600_000)
_NINE, _MANY = "sensors3x3-miss-discount0", "sensors5x5-miss-discount0"
_MOVING = replace(_SENSORS, discount=0.99, steps=1_000_000)
_BATTLES = OF_FIGURE_5["laptop"].worlds[0]

PRESETS = {
    "smoke": WaysSettings(
        worlds=(
            World(
                Panel("sensors2x2-miss", "sensor:2x2,steps=4,miss=0.5", replace(_SMALL, discount=0.0)),
                ways=("agent", "belief"),
                num_seeds=2,
            ),
        ),
        comparisons=(Comparison("sensors2x2-miss", "belief", "agent"),),
        pretraining=Pretraining(pretrain=64, pretrain_steps=200),
        evaluation=EvaluationSettings(episodes=200, samples=0, robust=(), lost=()),
        points=10,
    ),
    "laptop": WaysSettings(
        worlds=(
            World(Panel(_NINE, "sensor:3x3,targets=2,miss=0.5", _SENSORS)),
            World(Panel(_MANY, "sensor:5x5,targets=2,miss=0.5", _SENSORS)),
            World(Panel("speaker-listener", "jaxmarl:MPE_simple_speaker_listener_v4", _MOVING), MAIN_WAYS, 3),
            World(Panel("foraging", "jumanji:LevelBasedForaging-v0,grid_size=6", _MOVING), MAIN_WAYS, 3),
            World(Panel("battles", _BATTLES.problem, _BATTLES.policy), ("agent", "remembering", "belief", "state"), 3),
        ),
        comparisons=(
            Comparison(_NINE, "belief", "remembering"),
            Comparison(_NINE, "belief", "composite"),
            Comparison(_NINE, "belief", "learned-messages"),
            Comparison(_MANY, "belief", "remembering"),
        ),
    ),
}
PRESETS["paper"] = replace(
    PRESETS["laptop"], worlds=tuple(replace(world, num_seeds=10) for world in PRESETS["laptop"].worlds)
)


def cells(settings: WaysSettings, seed: int) -> Sequence[Cell]:
    """World by world, and seed by seed within."""
    teams = [
        Team(world.panel, way, one, settings.evaluation, settings.points, settings.pretraining)
        for world in settings.worlds
        for one in range(seed, seed + world.num_seeds)
        for way in world.ways
    ]
    return [Cell(group_of(team.world.name, team.curve), team.seed, team, partial(compute, team)) for team in teams]


EXPERIMENT = Experiment("acting", PRESETS, cells, summarise, tables, draw)
