"""Draws an analysis: ranks against deviations with the bounds, and how good the bounds are over ε."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from composite_flow.plots.style import BLUE, FAINT, GREEN, INK, MUTED, RED, save_figure, styled

NUM_LINES = 2  # of the ε's whose bounds are drawn over the scatter
LEVELS = {"0.9": (1.2, ":"), "0.99": (1.2, "-.")}
SPLITS: dict[str, tuple[Any, str]] = {
    "kept": ("-", "all states trained"),
    "withheld": ("--", "a tenth of the states withheld"),
    "battles": ("-", "battles"),
}
BOUNDS = {"residual": (RED, "o", r"$\hat R_\varepsilon$"), "root": (BLUE, "s", r"$\sqrt{\hat R_\varepsilon}$")}


def draw(result: dict[str, Any], out: Path) -> list[Path]:
    """Write the picture of one analysis as SVG and PNG."""
    with styled():
        return list(save_figure(draw_bounds({"kept": [result]}), out / "analysis"))


def grid_lines(axes: Axes) -> None:
    """Faint lines behind everything."""
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def draw_bounds(cells: dict[str, list[dict[str, Any]]]) -> Figure:
    """Rank against deviation with the bounds, and how good the bounds are over ε."""
    figure = plt.figure(figsize=(12.5, 5.4), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=[1.6, 1])
    draw_scatter(figure.add_subplot(grid[:, 0]), next(iter(cells.values()))[0])
    share = figure.add_subplot(grid[0, 1])
    ratio = figure.add_subplot(grid[1, 1], sharex=share)
    draw_over_epsilon(share, cells, lambda bound: bound["share"])
    share.set(ylim=(-0.04, 1.04), title="Deviations below the bound")
    share.yaxis.set_major_formatter(PercentFormatter(1.0))
    share.tick_params(which="both", labelbottom=False)
    draw_over_epsilon(ratio, cells, lambda bound: bound["ratio_median"])
    ratio.axhline(1.0, color=MUTED, linewidth=0.9, linestyle="--")
    ratio.set(yscale="log", xscale="log", title="Bound over deviation, median", xlabel=r"$\varepsilon$")
    plain_numbers(ratio.xaxis)
    plain_numbers(ratio.yaxis)
    figure.legend(handles=bound_marks(cells), loc="outside lower right", ncols=4)
    return figure


def plain_numbers(axis: Axis) -> None:
    """Ticks of a logarithmic axis at 1, 2 and 5 of each decade, not as powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def draw_scatter(axes: Axes, cell: dict[str, Any]) -> None:
    """A point per fixed point; bounds as horizontal lines."""
    norms = np.asarray(cell["drawn"]["deviations"], float)
    ranks, label = drawn_ranks(cell["drawn"])
    positive = norms > 0
    axes.scatter(ranks[positive], norms[positive], s=7, color=INK, alpha=0.3, linewidth=0, zorder=2)
    axes.set(yscale="log", xlabel=label, ylabel=r"deviation $\|D_\phi(\tau, s)\|$")
    axes.set_title("Rank and deviation, a point for each fixed point", fontsize=10)
    plain_numbers(axes.yaxis)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    labels: list[tuple[float, str, str]] = []
    for bound in spread(epsilons(cell), NUM_LINES):
        for name, (colour, _, symbol) in BOUNDS.items():
            value = bound["root_bound" if name == "root" else "bound"]
            labels += horizontal(axes, value, colour, "-", f"{symbol}, $\\varepsilon$ = {bound['epsilon']:.2g}")
    for level, (_, style) in LEVELS.items():
        radius = cell["conformal"]["deviation"]["levels"].get(level, {}).get("radius")
        labels += horizontal(axes, radius, GREEN, style, f"conformal, {float(level):.0%}")
    place_labels(axes, labels)
    grid_lines(axes)


def drawn_ranks(scatter: dict[str, Any]) -> tuple[np.ndarray, str]:
    """Ranks, jittered, and what they are; effective ranks where nearly all numerical ones are the same."""
    ranks = np.asarray(scatter["ranks"], float)
    common = float(np.median(ranks))
    if np.mean(ranks == common) > 0.9:
        words = f"effective rank of $J^+$ (its numerical rank is {common:g} nearly everywhere)"
        return np.asarray(scatter["effective_ranks"], float), words
    return ranks + np.random.default_rng(0).uniform(-0.3, 0.3, len(ranks)), "rank of $J^+$ (jittered)"


def epsilons(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """The bounds of one analysis; none where the state was too large for them."""
    return cell["surrogate"]["epsilons"] if cell["surrogate"] else []


def horizontal(axes: Axes, value: float | None, colour: str, style: str, label: str) -> list[tuple[float, str, str]]:
    """A bound's line, and what is to be written at its end; nothing for a bound that is absent or infinite."""
    if value is None or not np.isfinite(value) or value <= 0:
        return []
    axes.axhline(value, color=colour, linewidth=1.2, linestyle=style, zorder=3)
    return [(value, label, colour)]


def place_labels(axes: Axes, labels: list[tuple[float, str, str]]) -> None:
    """Write each label to the right of its line, moved where it would cover another or leave the panel."""
    axes.autoscale_view()
    low, high = np.log(axes.get_ylim())
    labels = sorted(labels)
    heights = [(np.log(value) - low) / (high - low) for value, _, _ in labels]
    for (_, label, colour), height, place in zip(labels, heights, spaced(heights, least=0.05), strict=True):
        axes.annotate(
            label, (1.0, height), xytext=(1.035, place), xycoords="axes fraction", textcoords="axes fraction",
            fontsize=8, color=colour, va="center",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "relpos": (0.0, 0.5)},
        )  # fmt: skip


def spaced(heights: list[float], least: float) -> list[float]:
    """Ascending heights moved at least so far apart, none above 1."""
    places: list[float] = []
    for height in heights:
        places.append(max(height, places[-1] + least) if places else height)
    limit = 1.0
    for index in reversed(range(len(places))):
        places[index] = min(places[index], limit)
        limit = places[index] - least
    return places


def spread(bounds: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """So many of the bounds, from the smallest ε to the largest, of those that have a value."""
    usable = sorted((bound for bound in bounds if bound["root_bound"] is not None), key=lambda one: one["epsilon"])
    places = np.unique(np.linspace(0, len(usable) - 1, min(count, len(usable))).round().astype(int))
    return [usable[place] for place in places]


def draw_over_epsilon(
    axes: Axes, cells: dict[str, list[dict[str, Any]]], value: Callable[[dict[str, Any]], float | None]
) -> None:
    """One line per bound, seed and split: R̂ and √R̂, dashed where states were withheld."""
    for split, runs in cells.items():
        for one in runs:
            bounds = sorted(epsilons(one), key=lambda bound: bound["epsilon"])
            for name, (colour, marker, _) in BOUNDS.items():
                points = [(bound["epsilon"], value(bound[name])) for bound in bounds]
                points = [point for point in points if point[1] is not None]
                if points:
                    axes.plot(
                        *zip(*points, strict=True), color=colour, marker=marker, markersize=3.5, linewidth=1.1,
                        linestyle=SPLITS[split][0],
                    )  # fmt: skip
    axes.set_xscale("log")
    grid_lines(axes)


def bound_marks(cells: dict[str, list[dict[str, Any]]]) -> list[Line2D]:
    """Entries for bounds and splits."""
    entries = [Line2D([], [], color=colour, marker=marker, label=label) for colour, marker, label in BOUNDS.values()]
    return entries + [
        Line2D([], [], color=MUTED, linestyle=style, label=label)
        for name, (style, label) in SPLITS.items()
        if cells.get(name)
    ]
