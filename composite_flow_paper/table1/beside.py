"""Draws what reads the same histories as fusion at Table 1's default: decibels against it, paired by test step."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from composite_flow.plots.style import BLUE, FAINT, GREEN, INK, MUTED, ORANGE, save_figure, styled

GROUPS = {
    "messages, learned together": (
        BLUE,
        {
            ("fusion", "fused"): "fusion: five agents",
            ("chain", "chain"): "gated chain: five agents",
            ("joint_samples", "mean_of_samples"): "joint samples: mean of 16",
            ("fusion", "fused_3_of_5"): "fusion: three agents",
            ("fusion", "fused_1_of_5"): "fusion: one agent",
        },
    ),
    "all histories in one place": (
        GREEN,
        {
            ("transformer", "all"): "transformer over agents",
            ("transformer_of_any_team", "all"): "transformer, trained on teams of every size",
            ("joint_tuned", "best_step"): "joint regression, six times the weights",
            ("joint_tuned_of_equal_weights", "best_step"): "joint regression, equal weights",
            ("latent_diffusion", "mean_of_samples"): "diffusion with a latent mode: mean of 16",
            ("ridge", "joint"): "ridge regression",
        },
    ),
    "agents learned alone": (
        ORANGE,
        {
            ("singly", "intersection"): "covariance intersection",
            ("composite_samples", "mean_of_composite"): "composite diffusion: mean of 16",
            ("composite_samples", "composite"): "composite diffusion: one sample",
            ("composite_samples", "mean_of_individual"): "individual diffusion: mean of the team's",
            ("ridge", "individual"): "ridge regression, own history",
        },
    ),
    "nobody": (MUTED, {("fusion", "constant"): "training mean"}),
}
"""Who is asked, in what colour, and the rows of the table beyond the paper with names for the picture."""


def draw_beside(beyond: Mapping[str, Any] | None, out: Path) -> list[Path]:
    """Write beside.png and beside.svg; nothing without fusion."""
    if beyond is None:
        return []
    told = {(row["cell"], row["estimator"]): row for row in beyond["rows"]}
    rows = [
        (group, colour, name, told[place])
        for group, (colour, names) in GROUPS.items()
        for place, name in names.items()
        if place in told
    ]
    with styled():
        figure, axes = plt.subplots(figsize=(9, 0.27 * len(rows) + 1.2), layout="constrained")
        for place, (_, colour, _, row) in enumerate(rows):
            _draw_row(axes, place, row, colour)
        axes.set_yticks(range(len(rows)), [name for _, _, name, _ in rows])
        axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel="decibels against fusion of five agents, on the same test steps")
        axes.annotate(
            "PSNR (divisions)", (1.0, -0.6), xycoords=("axes fraction", "data"), xytext=(8, 2),
            textcoords="offset points", fontsize=8, color=INK,
        )  # fmt: skip
        axes.axvline(0.0, color=MUTED, lw=0.9)
        axes.set_axisbelow(True)
        axes.grid(axis="x", color=FAINT, lw=0.6)
        for group, colour in dict.fromkeys((group, colour) for group, colour, _, _ in rows):
            axes.plot([], [], "o", color=colour, ms=5, label=group)
        figure.legend(loc="outside lower center", ncols=len(GROUPS))
        paths = save_figure(figure, out / "beside")
        plt.close(figure)
    return list(paths)


def _draw_row(axes: Axes, place: int, row: Mapping[str, Any], colour: str) -> None:
    """A dot and an interval; PSNR and the number of divisions at the right."""
    above = row["fusion_above"] or {"decibels": 0.0, "interval": (0.0, 0.0)}
    axes.plot([-end for end in above["interval"]], [place, place], color=colour, lw=1.6)
    axes.plot(-above["decibels"], place, "o", color=colour, ms=5)
    axes.annotate(
        f"{row['psnr']['test']:.1f} dB ({row['seeds']})", (1.0, place), xycoords=("axes fraction", "data"),
        xytext=(8, 0), textcoords="offset points", va="center", fontsize=8, color=INK,
    )  # fmt: skip
