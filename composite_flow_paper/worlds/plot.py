"""The picture: of each world, how far every way gets from the constant towards the better joint estimate."""

from pathlib import Path

from matplotlib import pyplot as plt

from composite_flow.plots.style import BLUE, GREEN, MUTED, ORANGE, PURPLE, SKY, save_figure, styled
from composite_flow_paper.experiment import Result
from composite_flow_paper.worlds.cell import WorldsSettings
from composite_flow_paper.worlds.report import WAYS

COLOURS = {
    "ridge_alone": SKY,
    "individual": PURPLE,
    "ridge": MUTED,
    "composite": ORANGE,
    "fusion": BLUE,
    "joint_regression": GREEN,
}

_IN_A_ROW = 3


def draw(result: Result[WorldsSettings], out: Path) -> list[Path]:
    """Write worlds.svg and worlds.png: decibels above the constant with intervals, small dots for seeds."""
    worlds = result.summary["worlds"]
    with styled():
        rows = -(-len(worlds) // _IN_A_ROW)
        size = (2.2 * min(len(worlds), _IN_A_ROW) + 2.6, 2.6 * rows + 0.6)
        figure, panels = plt.subplots(
            rows, min(len(worlds), _IN_A_ROW), figsize=size, layout="constrained", squeeze=False
        )
        for axes in panels.flat[len(worlds) :]:
            axes.set_visible(False)
        for axes, (name, world) in zip(panels.flat, worlds.items(), strict=False):
            for number, (way, colour) in enumerate(COLOURS.items()):
                found = world["ways"][way]
                middle, low, high = found["above"]
                axes.vlines(number, low, high, color=colour, lw=1)
                axes.scatter(number, middle, color=colour, s=24, label=WAYS[way], zorder=3)
                places = [number + 0.28] * len(found["above_of_seeds"])
                axes.scatter(places, found["above_of_seeds"], color=colour, s=7, zorder=3)
            axes.axhline(0.0, color=MUTED, lw=1)
            axes.set(title=name, xticks=[], xlim=(-0.7, len(COLOURS) - 0.3))
        for axes in panels[:, 0]:
            axes.set_ylabel("PSNR above the constant, dB")
        figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside right upper")
        paths = save_figure(figure, out / "worlds")
        plt.close(figure)
    return list(paths)
