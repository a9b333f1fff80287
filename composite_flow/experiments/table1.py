"""Table 1: individual against composite diffusion in StarCraft-like battles (Evidence 5.1), and what else does as well.

Ten settings around a default (width, training samples, length of histories, sight, race) make the fourteen columns, as
five panels share the default. A cell is one setting and one seed: one denoiser for all agents, always trained for the
same number of steps, then both kinds of diffusion, on the same number of its calls, from joint histories that it was
trained on and from held-out episodes. The gap in decibels is paired by step and has an interval over episodes.

Beside the columns, at the default: the baselines, and rivals (`table1_rivals.py`). The battles are **not collectively
observable**; every table says in what share of the steps some living enemy is unseen by the whole team.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from composite_flow.experiments.cells import Progress, cell, write_json
from composite_flow.experiments.table1_cell import Setting, Table1Settings, compute
from composite_flow.experiments.table1_report import markdown, summarise, tables
from composite_flow.experiments.table1_rivals import compute_rival
from composite_flow.experiments.table1_worlds import Worlds, WorldSettings
from composite_flow.policy.mappo_config import MappoConfig
from composite_flow.training import TrainingConfig

__all__ = ["PRESETS", "Setting", "Table1Settings", "columns_of", "run", "tables"]

PRESETS = {
    "smoke": Table1Settings(
        default=Setting(32, 300, 2, 9, "zerg"),
        width=(8, 32),
        samples=(10, 300),
        length=(1, 2),
        sight=(9,),
        race=("zerg",),
        worlds=WorldSettings(
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
    ),
    "laptop": Table1Settings(),
    "paper": Table1Settings(
        default=Setting(8192, 100_000, 5, 9, "zerg"),
        width=(1024, 4096, 8192),
        samples=(10, 100_000, 500_000),
        worlds=WorldSettings(policy=MappoConfig(steps=20_000_000), pool=500_000, held_out=20_000),
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


def columns_of(settings: Table1Settings) -> dict[str, list[Setting]]:
    """The settings of each panel."""
    return {
        panel: [replace(settings.default, **{panel: value}) for value in getattr(settings, panel)]
        for panel in ("width", "samples", "length", "sight", "race")
    }


def run(settings: Table1Settings, out: Path, *, seed: int, overwrite: bool, progress: Progress) -> dict[str, Any]:
    """Compute every cell that is not there yet, seed by seed, and sum up what is there after each of them."""
    # what one cell depends on; which others there are does not touch it
    kept = replace(settings, width=(), samples=(), length=(), sight=(), race=(), rivals=(), num_seeds=1)
    worlds, found = Worlds(settings.worlds, out, progress), {}
    summary: dict[str, Any] = {}
    for one in range(seed, seed + settings.num_seeds):
        for name, setting, rival in _cells_of(settings):
            progress(f"{name}, seed {one}")
            path = out / f"{name}-seed{one}.json"

            shared = {"settings": settings, "setting": setting, "seed": one, "worlds": worlds, "progress": progress}
            found[name, one] = cell(path, [kept, setting, rival], _computing(settings, rival, path, shared), overwrite)
            shutil.rmtree(path.with_suffix(".partial"), ignore_errors=True)
            summary = summarise(settings, columns_of(settings), found)
            write_json(out / "summary.json", summary)
            (out / "table1.md").write_text(markdown(summary))
    return {"summary": summary}


def _computing(
    settings: Table1Settings, rival: str | None, path: Path, shared: dict[str, Any]
) -> Callable[[], dict[str, Any]]:
    """A cell's computation, for later; an interrupted training is kept beside the cell."""
    if rival is not None:
        return partial(compute_rival, rival, **shared)
    # the core's baselines stand beside the default column alone
    return partial(compute, **shared, folder=path.with_suffix(".partial"), extras=shared["setting"] == settings.default)


def _cells_of(settings: Table1Settings) -> list[tuple[str, Setting, str | None]]:
    """Name, setting and rival of each cell of a seed: the default, its rivals, the rest; worlds one after the other."""
    default = settings.default
    others = {setting for panel in columns_of(settings).values() for setting in panel} - {default}
    rest = sorted(others, key=lambda setting: (setting.world != default.world, setting.name))
    return [
        (default.name, default, None),
        *((name, default, name) for name in settings.rivals),
        *((setting.name, setting, None) for setting in rest),
    ]
