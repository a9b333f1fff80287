"""Pictures of trust: coverage beside what is promised, and which broken sensors are named."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D

from composite_flow.plots.style import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, RED, SKY, save_figure, styled
from composite_flow_paper.experiment import Result
from composite_flow_paper.trust.report import FAULTS, KINDS, WORLD_NAMES
from composite_flow_paper.trust.worlds import TrustSettings

_COLOURS = {"numbers": BLUE, "others": ORANGE, "regions": GREEN, "sets of states": PURPLE}
_STYLES = [
    (BLUE, "o-"),
    (ORANGE, "s-"),
    (GREEN, "^-"),
    (RED, "D-"),
    (PURPLE, "v-"),
    (SKY, "o--"),
    (INK, "s--"),
    (MUTED, "^--"),
]
_BINS = ("< 1.1", "1.1–1.5", "1.5–2", "2–3", "> 3")


def draw(result: Result[TrustSettings], out: Path) -> Sequence[Path]:
    """Coverage, and broken sensors where they were computed."""
    paths: list[Path] = []
    with styled():
        if result.summary.get("coverage"):
            paths += save_figure(draw_coverage(result.summary["coverage"]), out / "trust-coverage")
        if result.summary.get("broken"):
            paths += save_figure(draw_broken(result.summary["broken"]), out / "trust-broken")
        plt.close("all")
    return paths


def draw_coverage(rows: Sequence[Mapping[str, Any]]):
    """A panel for each world and promise: coverage less the level, with two standard errors."""
    worlds = list(dict.fromkeys(row["world"] for row in rows))
    figure, axes = plt.subplots(
        2, len(worlds), figsize=(4.0 * len(worlds), 5.6), sharey=True, squeeze=False, layout="constrained"
    )
    for column, world in enumerate(worlds):
        for line, over in enumerate(("step", "episode")):
            _panel(axes[line, column], [row for row in rows if row["world"] == world and row["over"] == over])
            what = {"step": "a new step", "episode": "a whole new episode"}[over]
            axes[line, column].set_title(f"{WORLD_NAMES[world]}: {what}", fontsize=10)
    axes[0, 0].set_ylabel("coverage less the level (points)")
    axes[1, 0].set_ylabel("coverage less the level (points)")
    kinds = [kind for kind in _COLOURS if any(row["kind"] == kind for row in rows)]
    handles = [Line2D([], [], color=_COLOURS[kind], marker="o", lw=1) for kind in kinds]
    names = [KINDS.get(kind, kind) for kind in kinds]
    figure.legend(handles, names, loc="outside lower center", ncols=len(kinds), fontsize=9)
    return figure


def _panel(axis, rows: Sequence[Mapping[str, Any]]) -> None:
    levels = sorted({row["level"] for row in rows})
    marks = list(dict.fromkeys((row["kind"], row["size"], row["lost"]) for row in rows))
    for number, mark in enumerate(marks):
        chosen = [row for row in rows if (row["kind"], row["size"], row["lost"]) == mark]
        shift = (number - (len(marks) - 1) / 2) * 0.75 / max(1, len(marks))
        axis.errorbar(
            [levels.index(row["level"]) + shift for row in chosen],
            [100 * (row["covered"] - row["level"]) for row in chosen],
            yerr=[200 * row["error"] for row in chosen],
            fmt="o",
            ms=3,
            lw=1,
            color=_COLOURS[mark[0]],
            mfc="white" if mark[2] else None,
        )
    axis.axhline(0, color="black", lw=0.8)
    axis.set_xticks(range(len(levels)), [f"{level:.0%}" for level in levels])
    axis.grid(axis="y", alpha=0.3)


def draw_broken(worlds: Mapping[str, Any]):
    """A panel for each world: the share of steps in which the broken agent is named, by how much its fault harms."""
    figure, axes = plt.subplots(
        1, len(worlds), figsize=(4.4 * len(worlds), 3.6), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, (name, world) in zip(axes[0], worlds.items(), strict=True):
        for (colour, style), kind in zip(_STYLES, FAULTS, strict=True):
            bins = world["faults"][f"{kind}-1"]["by_growth"]
            shown = [k for k, one in enumerate(bins) if one["named"] is not None and one["share"] >= 0.005]
            axis.plot(shown, [bins[k]["named"] for k in shown], style, ms=5, lw=1.2, color=colour, label=kind)
        axis.axhline(0.9, color="black", lw=0.8, ls=":")
        axis.set_xticks(range(len(_BINS)), _BINS)
        axis.set_title(f"{WORLD_NAMES[name]}, one of {world['agents']} broken", fontsize=10)
        axis.set_xlabel("error with it over error without its fault")
        axis.set_ylim(-0.03, 1.03)
        axis.grid(axis="y", alpha=0.3)
    axes[0, 0].set_ylabel("share of the steps in which it is named")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center", fontsize=9)
    return figure
