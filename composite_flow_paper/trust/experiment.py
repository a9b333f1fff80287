"""Trust in three worlds: coverage, shift, broken sensors, and sets of whole states.

Each world has one model and one pool of fresh episodes, which its cells share.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from composite_flow_paper.experiment import Experiment
from composite_flow_paper.shared.cells import Cell
from composite_flow_paper.trust.broken import compute_broken
from composite_flow_paper.trust.coverage import compute_coverage
from composite_flow_paper.trust.exact import compute_exact
from composite_flow_paper.trust.plot import draw
from composite_flow_paper.trust.report import summarise, tables
from composite_flow_paper.trust.sets import compute_sets
from composite_flow_paper.trust.shift import compute_shift
from composite_flow_paper.trust.worlds import TrustSettings, WorldSettings, fresh_episodes, model_of

LAPTOP = TrustSettings()


def _smoke(world: WorldSettings) -> WorldSettings:
    """Of two minutes, to see that everything runs."""
    training = replace(world.training, width=32, depth=2, batch=64, steps=200, warmup=20, watch_steps=50)
    return replace(world, training=replace(training, record_every=100, evaluate_every=100), training_episodes=60)


PRESETS = {
    "smoke": replace(
        LAPTOP,
        worlds=("sensors",),
        sensors=_smoke(LAPTOP.sensors),
        draws=3,
        calibration=40,
        test=40,
        checked=30,
    ),
    "laptop": LAPTOP,
    "paper": replace(LAPTOP, draws=50, checked=2000),
}


def cells(settings: TrustSettings, seed: int) -> Sequence[Cell]:
    """World by world; the first seed counts for nothing, since a world has one model and one pool of episodes."""
    found = []
    for name in settings.worlds:
        own = replace(settings, worlds=(name,))
        needs = (fresh_episodes(name, own), model_of(name, own))
        computed = {
            "coverage": partial(compute_coverage, own, name, 0.0),
            "coverage_lost": partial(compute_coverage, own, name, own.lost),
            "broken": partial(compute_broken, own, name),
            "shift": partial(compute_shift, own, name),
        }
        if name == "sensors":
            computed["sets"] = partial(compute_sets, own, name)
            computed["exact"] = partial(compute_exact, own, name)
            needs = (*needs, model_of(name, own, withheld=True))
        found += [Cell(f"{part}-{name}", None, own, compute, needs) for part, compute in computed.items()]
    return found


EXPERIMENT = Experiment("trust", PRESETS, cells, summarise, tables, draw)
