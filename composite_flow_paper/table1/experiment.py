"""Table 1: individual against composite diffusion in StarCraft-like battles (Evidence 5.1), and what else does as well.

Ten settings around a default (width, training samples, length of histories, sight, race) make the fourteen columns, as
five panels share the default. A cell is one setting and one seed: one denoiser for all agents, always trained for the
same number of steps, then both kinds of diffusion, on the same number of its calls, from joint histories that it was
trained on and from held-out episodes. The difference in decibels is paired by step and has an interval over episodes.

Beside the columns, at the default: the baselines and rivals (`rivals.py`); and beyond the paper fusion (`fusion.py`)
with rivals of its own, each in the module of its name, whose rates are tuned (`tuning.py`).
The battles are **not collectively observable**; every table says in what share of the steps some living enemy is unseen
by the whole team.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from composite_flow.policy.config import MappoConfig
from composite_flow.training.fit import TrainingConfig
from composite_flow_paper.experiment import Experiment
from composite_flow_paper.shared.cells import Cell
from composite_flow_paper.table1.ablations import compute_ablation
from composite_flow_paper.table1.battles import EpisodeSettings, preparation
from composite_flow_paper.table1.cell import (
    ABLATIONS,
    FEW_SEEDS,
    Setting,
    Table1Settings,
    columns_of,
    compute,
    group_of,
)
from composite_flow_paper.table1.chain import compute_chain
from composite_flow_paper.table1.composite_samples import compute_composite_samples
from composite_flow_paper.table1.fusion import compute_fusion
from composite_flow_paper.table1.intervals import compute_intervals, fresh_episodes
from composite_flow_paper.table1.joint_samples import compute_joint_samples
from composite_flow_paper.table1.latent_diffusion import compute_latent_diffusion
from composite_flow_paper.table1.plot import draw
from composite_flow_paper.table1.report import summarise, tables
from composite_flow_paper.table1.ridge import compute_ridge
from composite_flow_paper.table1.rivals import compute_joint_tuned, compute_rival
from composite_flow_paper.table1.singly import compute_singly
from composite_flow_paper.table1.transformer import compute_transformer

PRESETS = {
    "smoke": Table1Settings(
        default=Setting(32, 300, 2, 9, "zerg"),
        width=(8, 32),
        samples=(10, 300),
        length=(1, 2),
        sight=(9,),
        race=("zerg",),
        worlds=EpisodeSettings(
            teams="2_vs_2",
            num_steps=20,
            policy=MappoConfig(steps=2560, memory="none", width=16, worlds=32, rollout=20, minibatches=2),
            pool=300,
            held_out=200,
        ),
        training=TrainingConfig(
            depth=2,
            batch=128,
            steps=300,
            learning_rate=4e-3,
            warmup=50,
            average=0.99,
            record_every=100,
            evaluate_every=100,
        ),
        num_histories=100,
        num_samples=2,
        num_sweeps=3,
        num_seeds=1,
        fusion_width=24,
        beyond_seeds=1,
        rival_seeds=1,
        calibration_episodes=40,
        fresh_episodes=20,
    ),
    "laptop": Table1Settings(),
    "paper": Table1Settings(
        default=Setting(8192, 100_000, 5, 9, "zerg"),
        width=(1024, 4096, 8192),
        samples=(10, 100_000, 500_000),
        worlds=EpisodeSettings(policy=MappoConfig(steps=20_000_000), pool=500_000, held_out=20_000),
        training=TrainingConfig(
            batch=4096,
            steps=20_000,
            learning_rate=1e-4,
            warmup=1000,
            record_every=1000,
            evaluate_every=1000,
            precision="bfloat16",
        ),
    ),
}


def cells(settings: Table1Settings, seed: int) -> Sequence[Cell]:
    """Of each seed the default, its rivals, the rest, battles one after the other; then what is beyond the paper."""
    default = settings.default
    others = {setting for panel in columns_of(settings).values() for setting in panel} - {default}
    rest = sorted(others, key=lambda setting: (setting.battle != default.battle, setting.name))
    named: list[tuple[Setting, str | None]] = [
        (default, None),
        *((default, rival) for rival in settings.rivals),
        *((setting, None) for setting in rest),
    ]
    paper = [
        _cell(settings, setting, rival, one)
        for one in range(seed, seed + settings.num_seeds)
        for setting, rival in named
    ]
    seeds = range(seed, seed + max(settings.beyond_seeds, settings.rival_seeds))
    beyond = [_cell(settings, default, name, one) for one in seeds for name in _beyond(settings, one - seed)]
    return [*paper, *beyond, *_fusion_elsewhere(settings, rest, seed)]


def _beyond(settings: Table1Settings, place: int) -> Sequence[str]:
    """What is beyond the paper at the seed of this place."""
    seeds = {name: settings.rival_seeds if name in FEW_SEEDS else settings.beyond_seeds for name in settings.beyond}
    return [name for name, count in seeds.items() if place < count]


def _fusion_elsewhere(settings: Table1Settings, rest: Sequence[Setting], seed: int) -> list[Cell]:
    """Fusion in the other columns; its width is its own."""
    if "fusion" not in settings.beyond:
        return []
    columns = [setting for setting in rest if setting.width == settings.default.width]
    seeds = range(seed, seed + settings.rival_seeds)
    return [_cell(settings, setting, "fusion", one) for one in seeds for setting in columns]


def _cell(settings: Table1Settings, setting: Setting, rival: str | None, seed: int) -> Cell:
    """A setting or, at the default, a rival."""
    # which other cells there are does not touch its result
    later = ["beyond", "beyond_seeds", "rival_seeds"]
    if rival != "intervals":
        later += ["calibration_episodes", "fresh_episodes"]
    if rival not in settings.beyond:
        later += ["fusion_width"]
    defaults = {name: getattr(Table1Settings, name) for name in later}
    alone = replace(settings, width=(), samples=(), length=(), sight=(), race=(), rivals=(), num_seeds=1, **defaults)
    if rival is None:
        # the core's baselines stand beside the default column alone
        computing = partial(compute, settings, setting, seed, extras=setting == settings.default)
    else:
        computing = partial(_COMPUTE.get(rival, partial(compute_rival, rival)), settings, setting, seed)
    needs = (preparation(settings.worlds, setting.battle),)
    if rival == "intervals":
        needs = (*needs, fresh_episodes(settings, setting.battle))
    return Cell(group_of(settings, setting, rival), seed, [alone, setting, rival], computing, needs)


_COMPUTE = {
    "fusion": compute_fusion,
    "chain": compute_chain,
    "ridge": compute_ridge,
    "singly": compute_singly,
    "latent_diffusion": compute_latent_diffusion,
    "joint_samples": compute_joint_samples,
    "composite_samples": compute_composite_samples,
    "intervals": compute_intervals,
    **{name: partial(compute_ablation, name) for name in ABLATIONS},
    **{name: partial(compute_joint_tuned, name) for name in ("joint_tuned", "joint_tuned_of_equal_weights")},
    **{name: partial(compute_transformer, name) for name in ("transformer", "transformer_of_any_team")},
}

EXPERIMENT = Experiment("table1", PRESETS, cells, summarise, tables, draw)
