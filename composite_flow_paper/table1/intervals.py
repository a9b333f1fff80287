"""Intervals of fusion at Table 1's default, from 2,000 calibration episodes and judged on 400 others.

The episodes are collected for this alone, by the battle's policy: neither training nor validation has seen one. Each
seed trains its answers as its cell of fusion does, and divides the episodes anew.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from composite_flow.data.collect import collect_to
from composite_flow.data.dataset import HistoryDataset, JointBatch
from composite_flow.data.episodes import Episodes
from composite_flow_paper.shared.cells import Preparation, Progress, Workspace
from composite_flow_paper.table1.battles import Battle, policy_of
from composite_flow_paper.table1.cell import Setting, Table1Settings, divided
from composite_flow_paper.table1.fusion import answers_of, coverage, fitted, fusion_training

_MOST_STEPS = 16_384  # of the calibration episodes, evenly over them
_KEY = 1  # folded into that of the battle's episodes


def fresh_episodes(settings: Table1Settings, battle: Battle) -> Preparation:
    """The episodes of all seeds."""
    return Preparation(_place(battle), partial(collect_fresh, settings, battle))


def _place(battle: Battle) -> str:
    return f"data/{battle.name}-intervals"


def collect_fresh(settings: Table1Settings, battle: Battle, out: Path, progress: Progress) -> None:
    """Let the battle's policy play as many episodes as calibration and test take."""
    problem = settings.worlds.problem(battle)
    key_policy, key_collect = jax.random.split(jax.random.key(0))
    folder = out / "policies" / battle.name
    policy, _ = policy_of(settings.worlds, problem, battle, folder, key_policy, progress)
    wanted = settings.calibration_episodes + settings.fresh_episodes
    key = jax.random.fold_in(key_collect, _KEY)
    collect_to(
        out / _place(battle), problem, wanted, key=key, policy=policy,
        progress=lambda done, total: progress(f"fresh episodes: {done:,} of {total:,}"),
    )  # fmt: skip


def compute_intervals(settings: Table1Settings, setting: Setting, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Train answers, take quantiles from the calibration episodes, and count on the others."""
    _, division = divided(settings.worlds, setting, seed, workspace)
    answers = answers_of(fitted(fusion_training(settings), division, seed, workspace))
    episodes = Episodes.load(workspace.folder / _place(setting.battle))
    dataset = HistoryDataset(episodes, setting.length)
    key = jax.random.fold_in(jax.random.key(seed), 2)
    order = np.asarray(jax.random.permutation(key, episodes.num_episodes))
    calibration, test = order[settings.fresh_episodes :], order[: settings.fresh_episodes]
    measured, judged = _thinned(dataset.part(np.sort(calibration))), _thinned(dataset.part(np.sort(test)))
    return {
        "episodes": {"calibration": len(calibration), "test": len(test)},
        "steps": {"calibration": len(measured.states), "test": len(judged.states)},
        "coverage": coverage(answers, measured, judged, episodes.state_names, key),
    }


def _thinned(part: HistoryDataset) -> JointBatch:
    """Every k-th step of a part, so that there are not too many."""
    return part.joint(part.steps[:: -(-part.num_steps // _MOST_STEPS)])
