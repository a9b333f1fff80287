"""Draws Figure 5: a panel per world with the learning curves, and the quality of the inferred states below."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from composite_flow.plots.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    save_figure,
    styled,
)  # fmt: skip
from composite_flow_paper.experiment import Result
from composite_flow_paper.figure5.tables import MEASURES, TITLES

STYLES: dict[str, dict[str, Any]] = {
    "agent": {"color": ORANGE},
    "matched": {"color": ORANGE, "linestyle": "--"},
    "remembering": {"color": RED, "linestyle": "--"},
    "composite-shared": {"color": PURPLE, "linestyle": "--"},
    "belief": {"color": BLUE},
    "remembering-belief": {"color": BLUE, "linestyle": "--"},
    "own-belief": {"color": SKY},
    "learned-messages": {"color": RED},
    "observations": {"color": GREEN},
    "state": {"color": INK},
    "denoised": {"color": BLUE},
    "composite": {"color": PURPLE},
    "safe": {"color": RED},
    "mean": {"color": SKY},
    "quantile": {"color": SKY, "linestyle": "--"},
    "cvar": {"color": SKY, "linestyle": ":"},
}
_ACROSS = 3  # panels of one row; more stand in two


def draw(result: Result, out: Path) -> list[Path]:
    """Two figures of a panel per world: what teams earn or win while they learn, and the PSNR of inferred states."""
    worlds = {name: world for name, world in result.summary["worlds"].items() if world["curves"]}
    with styled():
        paths = [
            *draw_worlds(worlds, "learning", out / "figure5"),
            *draw_worlds(worlds, "psnr", out / "figure5_psnr"),
        ]
    return paths


def draw_worlds(worlds: dict[str, Any], drawn: str, stem: Path) -> list[Path]:
    """A figure of a panel per world.

    Args:
        worlds: of the summary, by their names.
        drawn: "learning", or "psnr" of the inferred states.
        stem: of the files' paths.
    """
    across = len(worlds) if len(worlds) <= _ACROSS else math.ceil(len(worlds) / 2)
    down = math.ceil(len(worlds) / across)
    width, height = max(5.5, 3.7 * across), down * (3.6 if drawn == "learning" else 2.6)
    figure, grid = plt.subplots(down, across, figsize=(width, height), squeeze=False, layout="constrained")
    axes = grid.ravel()[: len(worlds)]
    for empty in grid.ravel()[len(worlds) :]:
        empty.set_axis_off()
    for axis, (name, world) in zip(axes, worlds.items(), strict=True):
        draw_panel(axis, world, drawn)
        axis.set_title(name)
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    columns = max(2, int(width / 2.4))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns)
    paths = save_figure(figure, stem)
    plt.close(figure)
    return list(paths)


def draw_panel(axis: Axes, world: dict[str, Any], drawn: str) -> None:
    """The curves of one world: interquartile mean over seeds, and its bootstrap interval as a band.

    Args:
        axis: to draw on.
        world: of the summary.
        drawn: "learning", or "psnr" of the inferred states.
    """
    longest = max(part["steps"][-1] for part in world["curves"].values())
    unit, counted = (1e6, "millions") if longest >= 1e6 else (1e3, "thousands")
    for curve, part in world["curves"].items():
        band = part[drawn]
        if band is None:
            continue
        steps = np.array(part["steps"]) / unit
        mean, low, high = (np.array(band[name], np.float64) for name in ("mean", "low", "high"))
        axis.fill_between(steps, low, high, color=STYLES[curve]["color"], alpha=0.15, linewidth=0)
        axis.plot(steps, mean, linewidth=1.5, label=f"{curve}: {TITLES[curve]}", **STYLES[curve])
    axis.set_axisbelow(True)
    axis.grid(axis="y", color=FAINT, linewidth=0.6)
    axis.set_xlim(left=0)
    axis.set_xlabel(f"{counted} of steps")
    axis.set_ylabel("PSNR (dB)" if drawn == "psnr" else MEASURES[world["measure"]])
    if drawn == "learning" and world["measure"] == "return":
        axis.axhline(0.0, color=MUTED, linewidth=0.8)
