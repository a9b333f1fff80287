"""The picture of this experiment: how far samples of each way are from the exact posterior."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from composite_flow.plots.style import BLUE, GREEN, MUTED, ORANGE, PURPLE, SKY, save_figure, styled
from composite_flow_paper.experiment import Result
from composite_flow_paper.jointly.cell import JointlySettings
from composite_flow_paper.jointly.report import TARGET, WAYS, WORLDS

COLOURS = dict(zip(WAYS, (BLUE, SKY, GREEN, ORANGE, PURPLE), strict=True))


def draw(result: Result[JointlySettings], out: Path) -> list[Path]:
    """Write jointly.svg and jointly.png: a group for each world, a dot for each seed, a line for uniform guesses."""
    worlds = result.summary["worlds"]
    with styled():
        figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
        for place, world in enumerate(worlds.values()):
            axes.hlines(world["chance"], place - 0.4, place + 0.4, color=MUTED, lw=1)
            for number, (way, words) in enumerate(WAYS.items()):
                above = world["ways"][way]["above"]
                at = np.full(len(above), place + 0.15 * (number - 2))
                axes.scatter(at, above, color=COLOURS[way], s=22, label=None if place else words, zorder=3)
        axes.axhline(TARGET, color=MUTED, ls=":", lw=1)
        above_line = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center"}
        axes.annotate("uniform guesses", (0, worlds[next(iter(worlds))]["chance"]), color=MUTED, **above_line)
        axes.annotate(f"{TARGET}", (len(worlds) - 0.5, TARGET), va="center", color=MUTED)
        axes.set_xticks(range(len(worlds)), [WORLDS[name] for name in worlds])
        axes.set(
            ylabel="above exact samples",
            title="Total variation to the exact joint posterior",
            xlim=(-0.5, len(worlds) - 0.5),
        )
        figure.legend(loc="outside right upper")
        paths = save_figure(figure, out / "jointly")
        plt.close(figure)
    return list(paths)
