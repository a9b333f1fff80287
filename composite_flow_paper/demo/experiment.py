"""The demo: nine sensors with partial views agree on where two targets are.

It collects episodes, trains one denoiser for all sensors and what each answers, and reconstructs held-out episodes.
Every agent's fixed points and basin masses stand beside its exact belief, and fusion beside composite diffusion and the
baselines.
"""

from collections.abc import Sequence
from functools import partial

from composite_flow.training.fit import TrainingConfig
from composite_flow_paper.demo.cell import DemoSettings, compute
from composite_flow_paper.demo.plot import draw
from composite_flow_paper.demo.report import GROUP, summarise, tables
from composite_flow_paper.experiment import Experiment
from composite_flow_paper.shared.cells import Cell

PRESETS = {
    "smoke": DemoSettings(
        rows=2,
        columns=2,
        num_targets=1,
        num_episodes=128,
        training=TrainingConfig(
            learn="both",
            fusion_steps=300,
            team_denoiser=False,
            width=48,
            depth=4,
            batch=128,
            steps=1500,
            learning_rate=3e-3,
            warmup=100,
        ),
        num_histories=16,
        num_samples=4,
        num_starts=256,
        num_drawn=8,
    ),
    "laptop": DemoSettings(),
}


def cells(settings: DemoSettings, seed: int) -> Sequence[Cell]:
    """The only one."""
    return [Cell(GROUP, None, {"demo": settings, "seed": seed}, partial(compute, settings, seed))]


EXPERIMENT = Experiment("demo", PRESETS, cells, summarise, tables, draw)
