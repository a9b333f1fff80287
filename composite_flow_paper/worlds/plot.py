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
    """Write worlds.svg and worlds.png: decibels above the constant, a group for each world, with intervals."""
    worlds = result.summary["worlds"]
    with styled():
        figure, axes = plt.subplots(figsize=(1.6 * len(worlds) + 3.6, 3.4), layout="constrained")
        for place, world in enumerate(worlds.values()):
            for number, (way, colour) in enumerate(COLOURS.items()):
                middle, low, high = world["ways"][way]["above"]
                at = place + 0.12 * (number - 2.5)
                axes.vlines(at, low, high, color=colour, lw=1)
                axes.scatter(at, middle, color=colour, s=20, label=None if place else WAYS[way], zorder=3)
        axes.axhline(0.0, color=MUTED, lw=1)
        axes.set_xticks(range(len(worlds)), list(worlds))
        axes.set(ylabel="PSNR above the constant, dB", xlim=(-0.5, len(worlds) - 0.5))
        axes.set_title("Where inference pays")
        figure.legend(loc="outside right upper")
        paths = save_figure(figure, out / "worlds")
        plt.close(figure)
    return list(paths)
