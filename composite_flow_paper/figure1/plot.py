"""The picture of Figure 1, from its result: vector fields, fixed points, and basin masses beside posteriors."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.gridspec import GridSpecFromSubplotSpec

from composite_flow.plots.sensor_map import draw_network, grid_positions
from composite_flow.plots.style import BLUE, FAINT, GREEN, INK, MUTED, ORANGE, RED, save_figure, styled
from composite_flow.problems.sensor import SensorNetwork
from composite_flow_paper.experiment import Result
from composite_flow_paper.figure1.cell import MISS, SHOWN
from composite_flow_paper.shared.cells import of_group

TITLES = {
    "observable": "Collectively observable: the target is in area 1",
    "unobservable": "Not collectively observable: areas 1 and 2 are overlooked half of the time; nobody sees a target",
}
STATES = ("1", "2", "3", "4")


def draw(result: Result, out: Path) -> list[Path]:
    """Write figure1.svg and figure1.png from the first seed's cells."""
    with styled():
        figure = plt.figure(figsize=(13, 9.4))
        rows = figure.add_gridspec(2, 1, hspace=0.04)
        for index, case in enumerate(MISS):
            draw_case(figure.add_subfigure(rows[index]), case, of_group(result.cells, case)[0])
        paths = save_figure(figure, out / "figure1")
        plt.close(figure)
    return list(paths)


def draw_case(figure: Any, case: str, cell: dict[str, Any]) -> None:
    """One network: its map, and for each agent the flow and the distribution over states."""
    figure.suptitle(TITLES[case], x=0.06, ha="left", fontsize=11, fontweight="bold")
    grid = figure.add_gridspec(1, 5, width_ratios=[0.9, 1, 1, 1, 1], wspace=0.28, left=0.06, right=0.99, top=0.86)
    left = GridSpecFromSubplotSpec(2, 1, grid[0], height_ratios=[2.2, 1], hspace=0.45)
    draw_map(figure.add_subplot(left[0]), case)
    draw_legend(figure.add_subplot(left[1]))
    shared = shared_points(case, cell)
    for agent in range(4):
        column = GridSpecFromSubplotSpec(2, 1, grid[agent + 1], height_ratios=[2.2, 1], hspace=0.45)
        history = shown_history(case, cell, agent)
        draw_flow(figure.add_subplot(column[0]), agent, history, cell["arrows"][agent], shared)
        draw_masses(figure.add_subplot(column[1]), history, first=agent == 0)


def shown_history(case: str, cell: dict[str, Any], agent: int) -> dict[str, Any]:
    """The agent's entry for what it sees in the joint history that is drawn."""
    seen = [float(value) for value in SHOWN[case][agent]]
    return next(one for one in cell["histories"] if one["agent"] == agent and one["observation"] == seen)


def shared_points(case: str, cell: dict[str, Any]) -> np.ndarray:
    """The fixed points that all agents share in the joint history that is drawn."""
    seen = np.asarray(SHOWN[case], float).tolist()
    return np.asarray(next(one["shared"] for one in cell["joint_histories"] if one["observations"] == seen))


def draw_map(axes: Axes, case: str) -> None:
    """The four sensors; where the target is known to be, a star."""
    problem = SensorNetwork.two_by_two()
    state = np.array([1, 0, 0, 0]) if case == "observable" else np.zeros(4)
    draw_network(axes, np.asarray(problem.coverage), grid_positions(2, 2), state)


def draw_legend(axes: Axes) -> None:
    """What the marks mean, once for each row."""
    handles = [
        axes.scatter([], [], s=45, facecolor="none", edgecolor=RED, linewidth=1.6, label="fixed point of this agent"),
        axes.scatter(
            [], [], s=110, marker="*", color=ORANGE, edgecolor=INK, linewidth=0.6, label="shared by all agents"
        ),
        axes.bar([0], [0], color=MUTED, label="exact posterior"),
        axes.bar([0], [0], color=GREEN, label="basins, ideal denoiser"),
        axes.bar([0], [0], color=BLUE, label="basins, learned denoiser"),
    ]
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(-0.25, 0.5), fontsize=8.5)
    axes.axis("off")


def draw_flow(axes: Axes, agent: int, history: dict[str, Any], arrows: dict[str, Any], shared: np.ndarray) -> None:
    """Arrows from noisy states to what the denoiser makes of them, in the first two features."""
    starts, ends = np.asarray(arrows["starts"])[:, :2], np.asarray(arrows["ends"])[:, :2]
    axes.quiver(
        *starts.T, *(ends - starts).T, angles="xy", scale_units="xy", scale=1, color=MUTED, alpha=0.55, width=0.0035
    )
    points = np.asarray(history["points"])[:, :2]
    axes.scatter(*points.T, s=75, facecolor="none", edgecolor=RED, linewidth=1.8, zorder=4)
    if len(shared):
        axes.scatter(*shared[:, :2].T, marker="*", s=150, color=ORANGE, edgecolor=INK, linewidth=0.6, zorder=5)
    count = len(points)
    sees = "sees the target" if any(history["observation"]) else "sees nothing"
    axes.set_title(f"Agent {agent + 1} {sees}\n{count} fixed point{'s' if count > 1 else ''}", fontsize=9.5)
    axes.set(xlim=(-1.1, 2.1), ylim=(-1.1, 2.1), xlabel="area 1", xticks=(-1, 0, 1, 2), yticks=(-1, 0, 1, 2))
    axes.set_ylabel("area 2" if agent == 0 else "")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def draw_masses(axes: Axes, history: dict[str, Any], first: bool) -> None:
    """Exact posterior, the ideal denoiser's basin masses and the learned one's, state by state."""
    columns = (("exact posterior", history["posterior"], MUTED),
               ("ideal", history["masses"]["ideal"], GREEN),
               ("learned", history["masses"]["learned"], BLUE))  # fmt: skip
    for offset, (_, values, colour) in zip((-0.27, 0.0, 0.27), columns, strict=True):
        axes.bar(np.arange(4) + offset, values, width=0.25, color=colour)
    axes.set(xticks=range(4), xticklabels=STATES, ylim=(0, 1.05), xlabel="area of the target", yticks=(0, 0.5, 1))
    axes.set_ylabel("probability" if first else "")
