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


def draw(result: Result[WorldsSettings], out: Path) -> list[Path]:
    """Write worlds.svg and worlds.png: decibels above the constant with intervals, a panel for each world."""
    worlds = result.summary["worlds"]
    with styled():
        size = (2.2 * len(worlds) + 2.6, 3.2)
        figure, panels = plt.subplots(1, len(worlds), figsize=size, layout="constrained", squeeze=False)
        for axes, (name, world) in zip(panels[0], worlds.items(), strict=True):
            for number, (way, colour) in enumerate(COLOURS.items()):
                middle, low, high = world["ways"][way]["above"]
                axes.vlines(number, low, high, color=colour, lw=1)
                axes.scatter(number, middle, color=colour, s=24, label=WAYS[way], zorder=3)
            axes.axhline(0.0, color=MUTED, lw=1)
            axes.set(title=name, xticks=[], xlim=(-0.7, len(COLOURS) - 0.3))
        panels[0][0].set_ylabel("PSNR above the constant, dB")
        figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside right upper")
        paths = save_figure(figure, out / "worlds")
        plt.close(figure)
    return list(paths)
