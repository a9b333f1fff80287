"""Draws Figure 3: a point per fixed point, the distribution beside it, the means of the seeds on top."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from composite_flow.experiments.style import BLUE, MUTED, RED, save_figure, styled

TITLES = {"width": "network width", "states": "number of states", "samples": "training pairs"}
MEASURES = (("deviation", "deviations", "deviation ‖D‖"), ("rank", "ranks", "rank of J⁺"))


def draw(result: dict[str, Any], out: Path) -> list[Path]:
    """One figure of three panels, deviations above and ranks below."""
    with styled():
        figure, axes = plt.subplots(2, 3, figsize=(9.6, 5.4), sharex="col", layout="constrained")
        for column, (panel, cells) in enumerate(result["panels"].items()):
            summary = result["summary"][panel]
            for row, (measure, drawn, label) in enumerate(MEASURES):
                axis = axes[row, column]
                draw_panel(axis, cells, measure, drawn)
                axis.set_title(trend_text(summary[f"{measure}_mean_trend"]), fontsize=8, fontweight="normal")
                if column == 0:
                    axis.set_ylabel(label)
            axes[0, column].set_yscale("log")
            axes[1, column].set_xticks(range(len(cells)), [f"{setting:,}" for setting in summary["settings"]])
            axes[1, column].set_xlabel(TITLES[panel])
        return list(save_figure(figure, out / "figure3"))


def draw_panel(axis: Axes, cells: list[list[dict[str, Any]]], measure: str, drawn: str) -> None:
    """One setting after the other: its fixed points, their distribution to the left, the mean of each seed."""
    for place, parts in enumerate(cells):
        values = np.concatenate([part["drawn"][drawn] for part in parts])
        spread = np.linspace(-0.05, 0.3, len(values)) if len(values) > 1 else np.zeros(1)
        axis.plot(place + spread, values, ".", color=BLUE, markersize=2.5, alpha=0.35, rasterized=True)
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        axis.vlines(place - 0.18, low, high, color=MUTED, linewidth=5, alpha=0.6)
        axis.plot(place - 0.18, middle, "_", color="black", markersize=8)
        means = [part[measure]["mean"] for part in parts]
        axis.plot(np.full(len(means), place - 0.32), means, "o", color=RED, markersize=4)
    axis.set_xlim(-0.6, len(cells) - 0.5)


def trend_text(trend: dict[str, Any]) -> str:
    """The trend and what it says of the paper's claim."""
    shown = "" if trend["interval"] is None else " ({:+.2f} to {:+.2f})".format(*trend["interval"])
    return f"τ = {trend['kendall']:+.2f}{shown}: claim {trend['claim']}"
