"""Figure 2 (g.2): deviations, ranks and bounds of a denoiser of SMAX battles, as Table 1 trains it by default.

The world's policy and episodes are those of `table1_worlds`. States are continuous here, hardly any pair of a history
and a state occurs twice, and no history tells all: how much of Findings 3 and 4 and of Theorem 6 remains?
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax

from composite_flow.analysis.report import AnalysisSettings
from composite_flow.training.fit import TrainingConfig, fit
from composite_flow_paper.shared.cells import Progress
from composite_flow_paper.shared.timed_analysis import timed_analysis
from composite_flow_paper.table1 import experiment as table1
from composite_flow_paper.table1.cell import Setting, parts_of
from composite_flow_paper.table1.worlds import Worlds, WorldSettings


@dataclass(frozen=True)
class BattleSettings:
    """What (g.2) depends on.

    Attributes:
        setting: width, samples, length of histories, and the world.
        worlds: policy and episodes.
        training: of the denoiser, but for the width.
        num_steps: training steps whose pairs are analysed, a pair for each agent.
        analysis: how much is looked at.
    """

    setting: Setting
    worlds: WorldSettings
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


def computing(settings: BattleSettings, out: Path, progress: Progress) -> Callable[..., dict[str, Any]]:
    """`compute` for all seeds, whose world, with `policies/` and `data/` in `out`, is opened once."""
    return partial(compute, worlds=Worlds(settings.worlds, out, progress))


def compute(settings: BattleSettings, seed: int, progress: Progress, worlds: Worlds) -> dict[str, Any]:
    """Train one network, and analyse the pairs of some of its training steps; radii are from the test episodes."""
    key_fit, key_analysis = jax.random.split(jax.random.key(seed))
    parts = parts_of(settings.worlds, settings.setting, seed, worlds)
    model = fit(
        parts.train,
        parts.validation,
        replace(settings.training, width=settings.setting.width),
        key=key_fit,
        history_range=parts.history_range,
        progress=lambda step, total, loss: progress(f"training: step {step} of {total}, loss {loss:.3f}"),
    )
    looked_at = parts.few(settings.num_steps), parts.test, parts.validation
    found = timed_analysis(model, *looked_at, key=key_analysis, settings=settings.analysis, progress=progress)
    facts = worlds[settings.setting.world].facts
    return {**found, "world": facts, "unseen_states": None, "exact_rate_composite": None}
