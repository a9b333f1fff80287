"""Table 1: individual against composite diffusion in StarCraft-like battles (Evidence 5.1), and what else does as well.

Ten settings around a default (width, training samples, length of histories, sight, race) make the fourteen columns, as
five panels share the default. A cell is one setting and one seed: one denoiser for all agents, always trained for the
same number of steps, then both kinds of diffusion, on the same number of its calls, from joint histories that it was
trained on and from held-out episodes. The gap in decibels is paired by step and has an interval over episodes.

Beside the columns, at the default: the baselines, and rivals (`table1_rivals.py`). The battles are **not collectively
observable**; every table says in what share of the steps some living enemy is unseen by the whole team.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from composite_flow.files.plain_json import write_json
from composite_flow.policy.config import MappoConfig
from composite_flow.training.fit import TrainingConfig
from composite_flow_paper.shared.cells import Progress, cell, kept
from composite_flow_paper.shared.process_pool import side_by_side
from composite_flow_paper.table1.cell import Setting, Table1Settings, compute
from composite_flow_paper.table1.report import markdown, summarise, tables
from composite_flow_paper.table1.rivals import compute_rival
from composite_flow_paper.table1.worlds import World, Worlds, WorldSettings, prepare

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


@dataclass(frozen=True)
class _Cell:
    """A setting or, at the default, a rival; and a seed."""

    name: str
    setting: Setting
    rival: str | None
    seed: int

    def path(self, out: Path) -> Path:
        return out / f"{self.name}-seed{self.seed}.json"

    def depends(self, settings: Table1Settings) -> list[Any]:
        """What its result depends on; which other cells there are does not touch it."""
        alone = replace(settings, width=(), samples=(), length=(), sight=(), race=(), rivals=(), num_seeds=1)
        return [alone, self.setting, self.rival]


def run(
    settings: Table1Settings, out: Path, *, seed: int, overwrite: bool, progress: Progress, jobs: int = 1
) -> dict[str, Any]:
    """Compute every cell that is not there yet, seed by seed, and sum up what is there after each of them.

    With several jobs the policies of all worlds are trained first, so many at a time; cells use all cores anyway.
    """
    cells = _cells_of(settings, seed)
    if jobs != 1:
        missing = [one for one in cells if overwrite or kept(one.path(out), one.depends(settings)) is None]
        absent = [world for world in _worlds_of(missing) if not (out / "data" / world.name).exists()]
        for _ in side_by_side(partial(prepare, settings.worlds, out), absent, jobs, progress):
            pass  # it is written where the cells look for it
    worlds, found = Worlds(settings.worlds, out, progress), {}
    summary: dict[str, Any] = {}
    for one in cells:
        progress(f"{one.name}, seed {one.seed}")
        computing = _computing(settings, one, one.path(out), worlds, progress)
        found[one.name, one.seed] = cell(one.path(out), one.depends(settings), computing, overwrite)
        shutil.rmtree(one.path(out).with_suffix(".partial"), ignore_errors=True)
        summary = summarise(settings, columns_of(settings), found)
        write_json(out / "summary.json", summary)
        (out / "table1.md").write_text(markdown(summary))
    return {"summary": summary}


def _computing(
    settings: Table1Settings, one: _Cell, path: Path, worlds: Worlds, progress: Progress
) -> Callable[[], dict[str, Any]]:
    """A cell's computation, for later; an interrupted training is kept beside the cell."""
    shared = {
        "settings": settings, "setting": one.setting, "seed": one.seed, "worlds": worlds, "progress": progress,
        "folder": path.with_suffix(".partial"),
    }  # fmt: skip
    if one.rival is not None:
        return partial(compute_rival, one.rival, **shared)
    # the core's baselines stand beside the default column alone
    return partial(compute, **shared, extras=one.setting == settings.default)


def _cells_of(settings: Table1Settings, seed: int) -> list[_Cell]:
    """Of each seed the default, its rivals, the rest; worlds one after the other."""
    default = settings.default
    others = {setting for panel in columns_of(settings).values() for setting in panel} - {default}
    rest = sorted(others, key=lambda setting: (setting.world != default.world, setting.name))
    named: list[tuple[str, Setting, str | None]] = [
        (default.name, default, None),
        *((name, default, name) for name in settings.rivals),
        *((setting.name, setting, None) for setting in rest),
    ]
    return [
        _Cell(name, setting, rival, place)
        for place in range(seed, seed + settings.num_seeds)
        for name, setting, rival in named
    ]


def _worlds_of(cells: Sequence[_Cell]) -> list[World]:
    """Each once, in the order in which they are needed."""
    return list(dict.fromkeys(one.setting.world for one in cells))
