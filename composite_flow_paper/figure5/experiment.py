"""Figure 5: MAPPO whose actors see their own observation, all observations, the true state, or an inferred one.

A cell is one world, one curve, one seed: a team is trained, its learning curve kept, and its policy evaluated on
episodes of its own (`cell.py`). The critic sees the true state in every curve. The paper's curves are `agent`,
`observations`, `state` and `denoised`; ours beside them `composite`, and `matched`: `agent` with an actor that has as
many weights as actor and denoiser of `denoised` together. Where sensors overlook targets the state is worth most, and
so is memory: `remembering` stands there as well, `agent` with a recurrent actor.

The paper's figure tells no numbers, and its text an order: true state ≥ denoised ≥ original (`agent`). The summary
says whether it is confirmed, contradicted or undecided, at the end of training and on average over it.

Each run's folder, `policies/WORLD/CURVE-seedSEED`, is one as `train-policy` leaves it.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from composite_flow.policy.config import InferenceConfig, MappoConfig
from composite_flow_paper.experiment import Experiment
from composite_flow_paper.figure5.cell import compute
from composite_flow_paper.figure5.plot import draw
from composite_flow_paper.figure5.report import summarise
from composite_flow_paper.figure5.tables import tables
from composite_flow_paper.figure5.team import (
    CURVES,
    MATCHED,
    REMEMBERING,
    EvaluationSettings,
    Figure5Settings,
    Panel,
    Team,
    group_of,
)
from composite_flow_paper.shared.cells import Cell

WEIGHING = ("mean", "quantile", "cvar")


def _battles(policy: MappoConfig) -> tuple[Panel, Panel]:
    """The paper's map, and the same where less is seen."""
    far, near = "zerg_5_vs_5-sight9", "zerg_5_vs_5-sight4"
    return (
        Panel(far, "smax:zerg_5_vs_5,sight=9", policy, sights=(7.0, 5.0)),
        Panel(near, "smax:zerg_5_vs_5,sight=4", policy, sights=(3.0,), more_seen=far),
    )


def _sensors(policy: MappoConfig) -> tuple[Panel, Panel]:
    seen, missed = "sensors3x3", "sensors3x3-miss"
    also = (REMEMBERING,) if policy.memory == "none" else ()  # otherwise every curve remembers
    return (
        Panel(seen, "sensor:3x3,targets=2", policy),
        Panel(missed, "sensor:3x3,targets=2,miss=0.5", policy, more_seen=seen, also=also),
    )


# A smaller denoiser than the default, so that `matched`, whose every weight learns from every step, ends in time.
_LAPTOP = MappoConfig(
    steps=2_000_000,
    memory="none",
    inference=InferenceConfig(history=3, denoiser_width=128, denoiser_updates=0.01),
)
_PAPER = MappoConfig(
    steps=20_000_000,
    own_observation=False,
    inference=InferenceConfig(
        calls=20, denoiser_width=8192, denoiser_batch=512, denoiser_learning_rate=1e-4, warm=False
    ),
)
# The defaults are for battles. Here smaller batches learn faster, and a weight of the entropy as large as there lets
# policies forget what they knew: tried with a seed of its own, two million steps of `agent` and of `state` return 20.0
# and 19.4 after them, but 17.4 and 18.2 with ten times the entropy and five times the rates.
_SENSOR_STEPS = {
    "rollout": 50,
    "minibatches": 4,
    "learning_rate": 1e-3,
    "critic_learning_rate": 1e-3,
    "entropy": 1e-3,
    "schedule": "linear",
}
_TINY = MappoConfig(
    steps=6_400,
    memory="none",
    width=32,
    depth=1,
    worlds=32,
    rollout=20,
    epochs=4,
    minibatches=2,
    learning_rate=5e-3,
    critic_learning_rate=5e-3,
    inference=InferenceConfig(history=2, calls=2, samples=2, denoiser_width=32, denoiser_depth=2, denoiser_batch=64),
)

PRESETS = {
    "smoke": Figure5Settings(
        worlds=(Panel("sensors2x2", "sensor:2x2,steps=4", _TINY),),
        curves=("agent", MATCHED, "state", "denoised", "composite", "cvar"),
        evaluation=EvaluationSettings(episodes=200, samples=4, lost=(0.5,)),
        points=10,
        num_seeds=2,
    ),
    "laptop": Figure5Settings(worlds=(*_battles(_LAPTOP), *_sensors(replace(_LAPTOP, **_SENSOR_STEPS)))),
    # Without `matched`: its actor would have 4e8 weights, all of them trained on every step; without `safe`, which
    # needs a critic without memory.
    "paper": Figure5Settings(
        worlds=(*_battles(_PAPER), *_sensors(replace(_PAPER, **_SENSOR_STEPS))),
        curves=(*(curve for curve in CURVES if curve != MATCHED), *WEIGHING),
        num_seeds=5,
    ),
}


def cells(settings: Figure5Settings, seed: int) -> Sequence[Cell]:
    """World by world, and seed by seed within: an interrupted sweep has whole panels, and whole seeds of others.

    `MATCHED` comes after all others, as it takes longest: each of its weights learns from each step of each agent.
    """
    teams = [
        Team(world, curve, one, settings.evaluation, settings.points)
        for world in settings.worlds
        for one in range(seed, seed + settings.num_seeds)
        for curve in (*settings.curves, *world.also)
    ]
    teams = sorted(teams, key=lambda team: team.curve == MATCHED)
    return [Cell(group_of(team.world.name, team.curve), team.seed, team, partial(compute, team)) for team in teams]


EXPERIMENT = Experiment("figure5", PRESETS, cells, summarise, tables, draw)
