"""Figure 2 (g.2): deviations, ranks and bounds of a denoiser of SMAX battles, as Table 1 trains it by default.

The battle's policy and episodes are made as in `table1/battles.py`. States are continuous here, hardly any pair of a
history and a state occurs twice, and no history tells all: how much of Findings 3 and 4 and of Theorem 6 remains?
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax

from composite_flow.analysis.report import AnalysisSettings
from composite_flow.training.fit import TrainingConfig, fit
from composite_flow_paper.shared.cells import Cell, Workspace, told_steps
from composite_flow_paper.shared.timed_analysis import timed_analysis
from composite_flow_paper.table1 import experiment as table1
from composite_flow_paper.table1.battles import EpisodeSettings, preparation
from composite_flow_paper.table1.cell import Setting, divided


@dataclass(frozen=True)
class BattleSettings:
    """What (g.2) depends on.

    Attributes:
        setting: width, samples, length of histories, and the battle.
        worlds: policy and episodes.
        training: of the denoiser, but for the width.
        num_steps: training steps whose pairs are analysed, a pair for each agent.
        analysis: how much is looked at.
    """

    setting: Setting
    worlds: EpisodeSettings
    training: TrainingConfig
    num_steps: int = 4_000
    analysis: AnalysisSettings = field(default_factory=lambda: AnalysisSettings(num_samples=2))


def _as_in_table1(preset: str, **more: Any) -> BattleSettings:
    table = table1.PRESETS[preset]
    return BattleSettings(table.default, table.worlds, table.training, **more)


PRESETS = {
    "smoke": _as_in_table1(
        "smoke",
        num_steps=150,
        analysis=AnalysisSettings(num_anchors=20, num_shifts=40, num_joint=4, num_samples=2, num_drawn=100),
    ),
    "laptop": _as_in_table1("laptop"),
    "paper": _as_in_table1("paper"),
}


def cell(settings: BattleSettings, seed: int) -> Cell:
    """One seed's cell, which needs the battle's policy and episodes."""
    needs = (preparation(settings.worlds, settings.setting.battle),)
    return Cell("battles", seed, settings, partial(compute, settings, seed), needs)


def compute(settings: BattleSettings, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Train one network, and analyse the pairs of some of its training steps; radii are from the test episodes."""
    key_fit, key_analysis = jax.random.split(jax.random.key(seed))
    played, division = divided(settings.worlds, settings.setting, seed, workspace)
    model = fit(
        division.train,
        division.validation,
        replace(settings.training, width=settings.setting.width),
        key=key_fit,
        history_range=division.history_range,
        progress=told_steps(workspace.progress),
    )
    looked_at = division.few(settings.num_steps), division.test, division.validation
    options = {"key": key_analysis, "settings": settings.analysis, "progress": workspace.progress}
    found = timed_analysis(model, *looked_at, **options)
    return {**found, "world": played.facts, "unseen_states": None, "exact_rate_composite": None}
