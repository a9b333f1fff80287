"""Draws Table 1: by how much composite diffusion is above individual, column by column, ours and the paper's."""

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from composite_flow.plots.style import BLUE, FAINT, INK, MUTED, ORANGE, save_figure, styled
from composite_flow_paper.experiment import Result
from composite_flow_paper.table1.beside import draw_beside

TITLES = {
    "width": "network width",
    "samples": "training samples",
    "length": "length of histories",
    "sight": "sight",
    "race": "race",
}
COLOURS = {"train": ORANGE, "test": BLUE}
OFFSETS = {"train": -0.17, "test": 0.17}
HIGHEST = 16.0
"""Gaps above this, in decibels, stand at the upper edge with their number: memorised samples would dwarf all others."""


def draw(result: Result, out: Path) -> list[Path]:
    """The columns; and, beyond the paper, what reads the same histories as fusion."""
    return [*draw_columns(result, out), *draw_beside(result.summary["beyond"], out)]


def draw_columns(result: Result, out: Path) -> list[Path]:
    """A panel for each group of columns; the gaps of train and test with intervals, the paper's beside them."""
    columns = result.summary["columns"]
    panels = [(name, list(group)) for name, group in groupby(columns, key=lambda column: column["panel"])]
    with styled():
        figure, axes = plt.subplots(
            1, len(panels), figsize=(11, 3.6), sharey=True, squeeze=False, layout="constrained",
            gridspec_kw={"width_ratios": [len(group) + 0.6 for _, group in panels]},
        )  # fmt: skip
        for axis, (name, group) in zip(axes[0], panels, strict=True):
            draw_panel(axis, name, group)
        axes[0, 0].set_ylim(top=min(axes[0, 0].get_ylim()[1], HIGHEST))
        axes[0, 0].set_ylabel("composite above individual (dB)")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        shares = sorted({column["world"]["unseen_share"] for column in columns if column["world"]})
        if shares:
            share = f"{shares[0]:.0%}" if len(shares) == 1 else f"{shares[0]:.0%} to {shares[-1]:.0%}"
            figure.suptitle(
                f"Not collectively observable: some living enemy is seen by nobody in {share} of the steps",
                fontsize=9, color=INK,
            )  # fmt: skip
        paths = save_figure(figure, out / "table1")
        plt.close(figure)
    return list(paths)


def draw_panel(axis: Axes, name: str, group: list[dict[str, Any]]) -> None:
    """One group of columns; a cell's own seeds as small dots."""
    for split, colour in COLOURS.items():
        places = [place + OFFSETS[split] for place in range(len(group))]
        theirs = [column["paper"]["gap"][split] for column in group]
        axis.plot(
            [place + 0.09 for place in places], theirs, linestyle="none", marker="D", markersize=4,
            markerfacecolor="none", color=colour, label=f"{split}, paper",
        )  # fmt: skip
        done = [(place, column["gap"][split]) for place, column in zip(places, group, strict=True) if column["seeds"]]
        for place, gap in done:
            low, high = gap["interval"] or (gap["decibels"], gap["decibels"])
            axis.plot([place, place], [low, high], color=colour, linewidth=1.6)
            axis.plot([place] * len(gap["seeds"]), gap["seeds"], ".", markersize=3, color=MUTED)
            if gap["decibels"] > HIGHEST:
                axis.annotate(
                    f"▲ {gap['decibels']:+.0f}", (place, HIGHEST), xytext=(0, -12), textcoords="offset points",
                    fontsize=8, color=colour, ha="left", clip_on=False,
                )  # fmt: skip
        done = [(place, gap) for place, gap in done if gap["decibels"] <= HIGHEST]
        axis.plot(
            [place for place, _ in done], [gap["decibels"] for _, gap in done], linestyle="none", marker="o",
            markersize=5, color=colour, label=f"{split}, ours",
        )  # fmt: skip
    axis.axhline(0.0, color=MUTED, linewidth=0.9)
    axis.set_axisbelow(True)
    axis.grid(axis="y", color=FAINT, linewidth=0.6)
    axis.set_xlim(-0.6, len(group) - 0.4)
    axis.set_xticks(range(len(group)), [tick(column) for column in group])
    axis.set_title(TITLES[name])


def tick(column: Mapping[str, Any]) -> str:
    """Our value, and the paper's below it where that is another."""
    values = column["value"], column["paper"]["value"]
    ours, theirs = (f"{value:,}" if isinstance(value, int) else str(value) for value in values)
    return ours if ours == theirs else f"{ours}\n(paper\n{theirs})"
