"""The pictures of Figure 4, from its result: samples hop by hop, learning curves, and joint samples by size of team."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D

from composite_flow.plots.style import BLUE, FAINT, GREEN, INK, MUTED, ORANGE, PURPLE, RED, save_figure, styled
from composite_flow_paper.experiment import Result
from composite_flow_paper.figure4.cell import RATE
from composite_flow_paper.figure4.fusion import SAMPLERS
from composite_flow_paper.shared.cells import of_group

PARTS = {
    "composite": "(a) Composite: a team that together knows the state, in three orders",
    "partial": "(b) Partial: three teams that do not",
}
_POINTS = 15  # of letters: the picture is shown at a third of its size


def draw(result: Result, out: Path) -> list[Path]:
    """Write figure4 (flows of the first seed), figure4_training (all seeds' curves) and, where the team denoiser was
    trained, figure4_samples, as SVG and PNG.

    Partial flows are drawn as they are after training where flows go, where a network was trained so.
    """
    cells = {name: of_group(result.cells, name) for name in result.cells}
    drawn = cells["ours"][0]["drawn"]
    if "flows" in cells:
        drawn = {**drawn, "partial": cells["flows"][0]["drawn"]["partial"]}
    with styled():
        flows = draw_flows(drawn)
        paths = save_figure(flows, out / "figure4")
        curves = draw_curves(cells)
        paths += save_figure(curves, out / "figure4_training")
        if "fusion_samples" in result.summary:
            paths += save_figure(draw_samples(result.summary["fusion_samples"]), out / "figure4_samples")
        plt.close("all")
    return list(paths)


def draw_flows(drawn: dict[str, Any]):
    """A row per order or team, a column per hop; open circles move to closed ones."""
    panels = [drawn[name] for name in PARTS]
    figure = plt.figure(figsize=(15, 2.2 * sum(map(len, panels)) + 1.6), layout="constrained")
    heights = [len(rows) for rows in panels]
    parts = figure.subfigures(len(panels), 1, squeeze=False, height_ratios=heights, hspace=0.02)
    for part, title, rows in zip(parts[:, 0], PARTS.values(), panels, strict=True):
        part.suptitle(title, fontsize=_POINTS + 3, fontweight="bold", x=0.01, ha="left")
        draw_rows(part, rows, drawn["areas"])
    figure.legend(handles=legend_handles(), loc="outside lower center", ncols=4, fontsize=_POINTS)
    return figure


def draw_rows(part: SubFigure, rows: Sequence[dict[str, Any]], areas: Sequence[int]) -> None:
    """Orders or teams, each with the share of its samples that end at the true state."""
    grid = part.subplots(len(rows), len(rows[0]["order"]), sharex=True, sharey=True)
    for line, panel in zip(grid, rows, strict=True):
        trajectory = np.asarray(panel["trajectory"])
        for hop, axes in enumerate(line):
            draw_hop(axes, trajectory[:, hop], trajectory[:, hop + 1], np.asarray(panel["allowed"]))
            axes.set_title(f"hop {hop + 1}: agent {panel['order'][hop] + 1}", fontsize=_POINTS, fontweight="normal")
            axes.tick_params(labelsize=_POINTS)
        line[0].set_ylabel(f"area {areas[1] + 1}", fontsize=_POINTS)
        told = {"transform": line[-1].transAxes, "va": "center", "fontsize": _POINTS + 2}
        line[-1].text(1.06, 0.5, f"{panel['exact']:.0%}\nexact", **told)
    for axes in grid[-1]:
        axes.set_xlabel(f"area {areas[0] + 1}", fontsize=_POINTS)


def draw_hop(axes: Axes, before: np.ndarray, after: np.ndarray, allowed: np.ndarray) -> None:
    """Where every sample is before and after one agent has denoised it."""
    axes.plot(*np.stack([before, after]).transpose(2, 0, 1), color=MUTED, linewidth=0.4, alpha=0.35, zorder=1)
    axes.scatter(*before.T, s=9, facecolor="none", edgecolor=MUTED, linewidth=0.6, zorder=2)
    axes.scatter(*after.T, s=9, color=BLUE, linewidth=0, alpha=0.7, zorder=3)
    distinct = np.unique(allowed, axis=0)
    axes.scatter(*distinct.T, s=70, facecolor="none", edgecolor=RED, linewidth=1.2, zorder=4)
    axes.scatter(1, 1, marker="*", s=80, color=ORANGE, edgecolor=INK, linewidth=0.5, zorder=5)
    axes.set(xlim=(-1.6, 2.1), ylim=(-1.6, 2.1), xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    axes.grid(color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)


def legend_handles() -> list[Line2D]:
    """Entries for the marks of a hop."""

    def mark(marker: str, face: str, edge: str, size: float, label: str) -> Line2D:
        return Line2D(
            [],
            [],
            linestyle="none",
            marker=marker,
            markerfacecolor=face,
            markeredgecolor=edge,
            markersize=size,
            label=label,
        )

    return [
        mark("o", "none", MUTED, 4, "before the hop"),
        mark("o", BLUE, BLUE, 4, "after the hop"),
        mark("o", "none", RED, 9, "states the team allows"),
        mark("*", ORANGE, INK, 10, "true state"),
    ]


def draw_curves(cells: dict[str, list[dict[str, Any]]]):
    """Exact rate of composite diffusion on validation episodes over training time, evaluation aside."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    colours = {"ours": BLUE, "withheld": PURPLE, "flows": GREEN, "paper": ORANGE}
    labels = {
        "ours": "ours",
        "withheld": "ours, a tenth of the states withheld",
        "flows": "ours, also where flows go",
        "paper": "the paper's",
    }
    for name in labels:
        for index, one in enumerate(cells.get(name, [])):
            label = labels[name] if index == 0 else None
            rated = [point for point in one["curves"] if "exact_rate_composite" in point]
            seconds = [point["seconds"] for point in rated]
            rates = [point["exact_rate_composite"] for point in rated]
            left.plot(seconds, rates, color=colours[name], label=label, marker="o", markersize=2.5)
            excess = [(point["seconds"], point["excess"]) for point in one["curves"] if "excess" in point]
            right.plot(*zip(*excess, strict=True), color=colours[name])
    for index, one in enumerate(cells.get("fusion", [])):
        # other work was on the machine: the share of its CPU seconds
        per_second = one["cpu_seconds"] / one["train_seconds"]
        rated = [(point["seconds"] * per_second, point["exact_rate_fusion"]) for point in one["curves"]]
        label = "fusion (CPU seconds)" if index == 0 else None
        left.plot(*zip(*rated, strict=True), color=RED, label=label, marker="o", markersize=2.5)
    left.axhline(RATE, color=MUTED, linewidth=0.8, linestyle=":")
    left.set(xscale="log", xlabel="seconds of training", ylim=(-0.03, 1.03), title="Exact, validation episodes")
    right.set(xscale="log", yscale="log", xlabel="seconds of training", title="Loss above the ideal denoiser's")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def draw_samples(found: dict[str, Any]):
    """Shares inside and total variation of the team denoiser's samples by size of team, and of exact ones."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    sizes = [int(size) for size in found[next(iter(SAMPLERS))]]
    for sampler, colour in zip(SAMPLERS, (BLUE, ORANGE), strict=True):
        for axes, score in ((left, "inside"), (right, "total_variation")):
            values = [one[score] for one in found[sampler].values()]
            axes.plot(sizes, values, color=colour, marker="o", label=sampler)
    exact = [one["floor"] for one in found[next(iter(SAMPLERS))].values()]
    left.plot(sizes, np.ones(len(sizes)), color=MUTED, linestyle=":", label="as many exact samples")
    right.plot(sizes, exact, color=MUTED, linestyle=":")
    left.set(ylim=(-0.03, 1.05), title="Samples that the joint history allows")
    right.set(ylim=(-0.03, 1.05), title="Total variation to the exact posterior")
    for axes in (left, right):
        axes.set(xlabel="agents in the team", xticks=sizes)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
