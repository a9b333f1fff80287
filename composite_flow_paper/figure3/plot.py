"""Draws Figure 3: a point per fixed point, the distribution to its left, the mean of each seed on top."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from composite_flow.plots.style import BLUE, INK, MUTED, RED, save_figure, styled
from composite_flow_paper.experiment import Result
from composite_flow_paper.figure3.cell import Figure3Settings
from composite_flow_paper.figure3.report import TITLES, panels_of

DRAWN = (("deviation", "deviations", "deviation ‖D‖"), ("rank", "ranks", "rank of J⁺"))
_BINS = 24


def draw(result: Result[Figure3Settings], out: Path) -> list[Path]:
    """One figure of three panels, deviations above and ranks below."""
    panels, largest = panels_of(result.settings, result.cells), result.summary["largest_possible_rank"]
    with styled():
        figure, axes = plt.subplots(2, 3, figsize=(10.5, 6), sharex="col", sharey="row", layout="constrained")
        for column, (panel, cells) in enumerate(panels.items()):
            summary = result.summary[panel]
            for axis, (measure, drawn, label) in zip(axes[:, column], DRAWN, strict=True):
                draw_panel(axis, cells, measure, drawn, edges_of(panels, drawn, largest))
                axis.set_title(trend_text(summary[f"{measure}_mean_trend"]), fontsize=8, fontweight="normal")
                if column == 0:
                    axis.set_ylabel(label)
            axes[0, column].set_yscale("log")
            axes[1, column].axhline(largest, color=MUTED, linewidth=0.8, linestyle=":")
            axes[1, column].set_ylim(-0.6, largest + 0.6)
            axes[1, column].set_xticks(range(len(cells)), [f"{setting:,}" for setting in summary["settings"]])
            axes[1, column].set_xlabel(TITLES[panel])
        figure.legend(handles=legend_handles(), loc="outside lower center", ncols=5)
        paths = save_figure(figure, out / "figure3")
        plt.close(figure)
    return list(paths)


def edges_of(panels: dict[str, Any], drawn: str, largest: int) -> np.ndarray:
    """Bins that all panels share: a bin for each rank, or equal ratios from the smallest deviation to the largest."""
    if drawn == "ranks":
        return np.arange(largest + 2) - 0.5
    parts = [part for cells in panels.values() for row in cells for part in row]
    values = np.concatenate([part["drawn"][drawn] for part in parts])
    values = values[values > 0]
    return np.geomspace(values.min(), values.max() * (1 + 1e-6), _BINS + 1)


def draw_panel(axis: Axes, cells: list[list[dict[str, Any]]], measure: str, drawn: str, edges: np.ndarray) -> None:
    """One setting after the other: its fixed points, their distribution to the left, the mean of each seed."""
    for place, parts in enumerate(cells):
        values = np.concatenate([part["drawn"][drawn] for part in parts])
        spread = np.linspace(0.03, 0.38, len(values)) if len(values) > 1 else np.full(1, 0.2)
        axis.plot(place + spread, values, ".", color=BLUE, markersize=2.5, alpha=0.35, rasterized=True)
        counts, _ = np.histogram(values, edges)
        if counts.any():
            bars = 0.33 * counts / counts.max()
            axis.stairs(
                place - bars, edges, baseline=place, orientation="horizontal", fill=True, color=MUTED, alpha=0.5
            )
        axis.plot([place - 0.36, place], [np.median(values)] * 2, color=INK, linewidth=1)
        means = [part[measure]["mean"] for part in parts]
        axis.plot(np.full(len(means), place), means, "o", color=RED, markersize=4, markeredgecolor="white")
    axis.set_xlim(-0.5, len(cells) - 0.5)


def trend_text(trend: dict[str, Any]) -> str:
    """The trend and what it says of the paper's claim."""
    if trend["interval"] is None:
        return f"ρ = {trend['spearman']:+.2f}, one seed"
    low, high = trend["interval"]
    return f"ρ = {trend['spearman']:+.2f} ({low:+.2f} to {high:+.2f}), p = {trend['p_value']:.2g}: {trend['claim']}"


def legend_handles() -> list[Line2D | Patch]:
    """Entries for the marks."""
    return [
        Line2D([], [], linestyle="none", marker=".", color=BLUE, label="a fixed point"),
        Patch(facecolor=MUTED, alpha=0.5, label="their distribution"),
        Line2D([], [], color=INK, linewidth=1, label="their median"),
        Line2D([], [], linestyle="none", marker="o", color=RED, markersize=4, label="mean of a seed"),
        Line2D([], [], color=MUTED, linewidth=0.8, linestyle=":", label="largest possible rank"),
    ]
