"""The picture of the scale experiment, from its result: what a call costs, what it takes to learn, and to send."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from composite_flow.plots.style import BLUE, GREEN, MUTED, ORANGE, PURPLE, RED, save_figure, styled
from composite_flow_paper.experiment import Result
from composite_flow_paper.scale.cell import ScaleSettings
from composite_flow_paper.scale.fusion_report import AIM, grid_name
from composite_flow_paper.scale.message_bytes import FULL_BITS
from composite_flow_paper.scale.report import TRAINED, costs_of
from composite_flow_paper.shared.cells import of_group


def draw(result: Result[ScaleSettings], out: Path) -> list[Path]:
    """Write scale.svg and scale.png."""
    told = [one for one in result.summary.get("fusion", {}).values() if one["messages"]]
    with styled():
        figure, axes = plt.subplots(1, 3 if told else 2, figsize=(15 if told else 10, 3.6), layout="constrained")
        draw_costs(axes[0], costs_of(result.settings, result.cells))
        draw_training(axes[1], result)
        if told:
            draw_messages(axes[2], told)
        paths = save_figure(figure, out / "scale")
        plt.close(figure)
    return list(paths)


def draw_costs(axes: Axes, costs: Sequence[Mapping[str, Any]]) -> None:
    """Milliseconds of a call of composite diffusion's network over its inputs."""
    inputs = [one["inputs"] for one in costs]
    calls = [1e3 * one["seconds_per_call"] for one in costs]
    axes.loglog(inputs, calls, color=BLUE, marker="o", label="measured")
    axes.loglog(inputs, [calls[-1] * x / inputs[-1] for x in inputs], color=MUTED, ls=":", label="linear")
    for place, (one, call) in enumerate(zip(costs, calls, strict=True)):
        before, after = calls[max(place - 1, 0)], calls[min(place + 1, len(calls) - 1)]
        across, up, aside = (
            (-4, 6, "right") if call > before else (6, 6, "left") if call > after else (0, -15, "center")
        )
        style = {"textcoords": "offset points", "xytext": (across, up), "ha": aside}  # where no line goes
        axes.annotate(f"{one['agents']} agents", (one["inputs"], call), **style)
    axes.set(xlabel="inputs of the network", ylabel="milliseconds per call in a sweep", title="Cost of a call")
    axes.margins(x=0.2, y=0.12)
    axes.legend(loc="lower right")


def draw_training(axes: Axes, result: Result[ScaleSettings]) -> None:
    """Exact rates over the seconds of training, of composite diffusion and of fusion on the same grid."""
    for index, one in enumerate(of_group(result.cells, TRAINED)):
        rated = [point for point in one["curves"] if "exact_rate_composite" in point]
        seconds, rates = [point["seconds"] for point in rated], [point["exact_rate_composite"] for point in rated]
        label = "composite diffusion" if index == 0 else None
        axes.plot(seconds, rates, color=ORANGE, marker="o", markersize=3, label=label)
    grid = next((grid for grid in result.settings.fusion if grid.num_targets == 1 and not grid.miss), None)
    for index, one in enumerate(of_group(result.cells, grid.group) if grid else []):
        # other work was on the machine: the share of its CPU seconds
        per_second = one["cpu_seconds"] / one["train_seconds"]
        rated = [(point["seconds"] * per_second, point["exact_rate_fusion"]) for point in one["curves"]]
        label = "fusion (CPU seconds)" if index == 0 else None
        axes.plot(*zip(*rated, strict=True), color=BLUE, marker="o", markersize=3, label=label)
    axes.set(xscale="log", xlabel="seconds of training", ylim=(-0.03, 1.03), title="Exact, validation episodes")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="center left")


def draw_messages(axes: Axes, grids: Sequence[Mapping[str, Any]]) -> None:
    """Exact rates over the bytes of all messages of an estimate, the largest evidence first, not rounded."""
    for one, colour in zip(grids, (BLUE, GREEN, PURPLE, RED), strict=False):
        points = [point for point in one["messages"]["curve"] if point["bits"] == FULL_BITS]
        by_bytes = sorted((point["bytes"], point["exact_rate"]) for point in points if point["bytes"] > 0.0)
        axes.plot(*zip(*by_bytes, strict=True), color=colour, marker="o", markersize=3, label=grid_name(one))
    axes.axhline(AIM, color=MUTED, linewidth=0.8, linestyle=":")
    axes.set(xscale="log", xlabel="bytes of all messages", ylim=(-0.03, 1.03), title="Exact, largest evidence first")
    axes.legend(loc="center left")
