"""The pictures of Figure 2, from its result: flows and pooled fixed points; ranks, deviations and their bounds."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from composite_flow.plots.analysis import draw_bounds, grid_lines, plain_numbers
from composite_flow.plots.sensor_map import draw_network, grid_positions
from composite_flow.plots.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    RED,
    SKY,
    save_figure,
    styled,
)  # fmt: skip
from composite_flow_paper.experiment import Result
from composite_flow_paper.shared.cells import of_group

TRUE, ORIGIN = (1.0, 1.0), (0.0, 0.0)


def draw(result: Result, out: Path) -> list[Path]:
    """Write figure2-flows (a to f), figure2-bounds (g.1) and, where there are battles, figure2-battles (g.2).

    SVG and PNG each; flows and scatters are the first seed's.
    """
    cells = {name: of_group(result.cells, name) for name in result.cells}
    battles = cells.pop("battles", None)
    with styled():
        paths = save_figure(draw_flows(cells["kept"][0]["flows"]), out / "figure2-flows")
        paths += save_figure(draw_bounds(cells), out / "figure2-bounds")
        if battles:
            paths += save_figure(draw_bounds({"battles": battles}), out / "figure2-battles")
        plt.close("all")
    return list(paths)


def draw_flows(flows: dict[str, Any]) -> Figure:
    """Three agents and the map above; below, the fixed points of all agents, and two places of them enlarged."""
    figure, grid = plt.subplots(2, 4, figsize=(14, 7.4), layout="constrained")
    top, bottom = grid
    for letter, column, agent in zip("abd", (0, 1, 3), flows["agents"], strict=True):
        draw_agent(top[column], letter, agent, flows["areas"])
    draw_map(top[2], flows)
    draw_pooled(bottom[0], flows)
    draw_zoom(bottom[1], flows, ORIGIN, "(f) enlarged around (0, 0)")
    draw_zoom(bottom[2], flows, TRUE, "(f) around the true state")
    draw_numbers(bottom[3], flows)
    figure.legend(handles=flow_marks(), loc="outside lower center", ncols=6)
    return figure


def draw_agent(axes: Axes, letter: str, agent: dict[str, Any], areas: list[int]) -> None:
    """One agent's flow from noise, its stable fixed points and the states that it allows."""
    trajectory = np.asarray(agent["trajectory"])
    axes.plot(*trajectory.transpose(2, 1, 0), color=MUTED, linewidth=0.6, alpha=0.5, zorder=1)
    axes.scatter(*trajectory[:, 0].T, s=5, color=MUTED, alpha=0.7, linewidth=0, zorder=1)
    is_true = np.asarray(agent["is_true"], bool)
    mark_places(axes, agent["places"])
    mark_points(axes, np.asarray(agent["points"]).reshape(-1, 2), np.where(is_true, BLUE, RED), size=62)
    # From noise it is reached once in hundreds of flows or never; from the true state itself at once.
    mark_points(axes, np.asarray([agent["from_true"]]), [BLUE], size=62)
    sees = " and ".join(f"area {area + 1}" for area in agent["sees"])
    sees = f"sees the target in {sees}" if sees else "sees no target"
    axes.set_title(f"({letter}) Agent {agent['agent'] + 1} {sees}", fontsize=9.5)
    note = f"{agent['num_consistent']} states allowed\n{agent['num_found']} stable fixed points found"
    annotate_corner(axes, note)
    plane(axes, areas)


def draw_map(axes: Axes, flows: dict[str, Any]) -> None:
    """The part of a square grid where the three agents (in ink) and the targets (stars) are."""
    coverage = np.asarray(flows["coverage"], bool)
    columns = int(round(np.sqrt(len(coverage))))
    chosen = tuple(agent["agent"] for agent in flows["agents"])
    positions = grid_positions(columns, columns)
    draw_network(axes, coverage, positions, np.asarray(flows["state"]), highlighted=chosen)
    targets = [positions[column].mean(axis=0) for column in coverage.T[np.asarray(flows["state"]) > 0.5]]
    section = np.concatenate([positions[list(chosen)], targets])
    # A square with a margin around them.
    centre, half = (section.max(axis=0) + section.min(axis=0)) / 2, np.ptp(section, axis=0).max() / 2 + 0.7
    axes.set(xlim=(centre[0] - half, centre[0] + half), ylim=(centre[1] - half, centre[1] + half))
    for area, place in zip(flows["areas"], targets, strict=True):  # the star covers the area's number
        axes.annotate(
            f"area {area + 1}", place, xytext=(0, 9), textcoords="offset points", ha="center", fontsize=8, color=INK,
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.5}, zorder=6,
        )  # fmt: skip
    axes.set_title("(c) Sensors, areas and targets", fontsize=9.5)


def draw_pooled(axes: Axes, flows: dict[str, Any]) -> None:
    """The fixed points of all agents in one panel."""
    pooled = flows["pooled"]
    mark_places(axes, np.unique(np.asarray(pooled["places"]), axis=0))
    mark_points(axes, np.asarray(pooled["points"]), point_colours(pooled), size=30)
    axes.set_title("(e) Fixed points of all agents", fontsize=9.5)
    points = np.asarray(pooled["points"])
    plane(axes, flows["areas"], low=min(-0.5, points.min() - 0.1), high=max(1.5, points.max() + 0.1))


def draw_zoom(axes: Axes, flows: dict[str, Any], place: tuple[float, float], title: str) -> None:
    """The fixed points whose states project to one place, so far enlarged that their deviations are seen."""
    pooled, first_second = flows["pooled"], [area + 1 for area in flows["areas"]]
    here = np.all(np.asarray(pooled["places"]) == np.asarray(place), axis=1)
    points, agents = np.asarray(pooled["points"])[here], np.asarray(pooled["agents"])[here]
    axes.set_title(title, fontsize=9.5)
    axes.set(xlabel=f"area {first_second[0]}", ylabel=f"area {first_second[1]}")
    grid_lines(axes)
    if not len(points):
        return
    shifts = points - np.asarray(place)
    # Nearly all points: one flow that left for another state must not shrink all the others to a dot.
    reach = 1.15 * max(float(np.quantile(np.abs(shifts).max(axis=1), 0.95)), 1e-6)
    if np.asarray(pooled["is_true"])[here].all():
        segments = np.stack([np.broadcast_to(place, points.shape), points])
        axes.plot(*segments.transpose(2, 0, 1), color=BLUE, linewidth=0.6, alpha=0.5, zorder=2)
        for index in farthest_inside(shifts, reach):
            axes.annotate(
                f"{agents[index] + 1}", points[index], xytext=(4, 4), textcoords="offset points", fontsize=8, color=INK
            )
    mark_points(axes, points, point_colours({name: np.asarray(values)[here] for name, values in pooled.items()}), 30)
    mark_places(axes, [place])
    axes.set(xlim=(place[0] - reach, place[0] + reach), ylim=(place[1] - reach, place[1] + reach))
    axes.ticklabel_format(useOffset=False)
    axes.locator_params(nbins=5)
    outside = int(np.sum(np.abs(shifts).max(axis=1) > reach))
    note = f"{len(points)} points of {len(np.unique(agents))} agents" + (f"; {outside} beyond" if outside else "")
    annotate_corner(axes, note)


def farthest_inside(shifts: np.ndarray, reach: float, count: int = 6) -> list[int]:
    """The points farthest from the place within the panel, no two of them so near that their labels meet."""
    chosen: list[int] = []
    for index in np.argsort(-np.linalg.norm(shifts, axis=1)):
        apart = all(np.linalg.norm(shifts[index] - shifts[other]) > 0.15 * reach for other in chosen)
        if np.abs(shifts[index]).max() <= reach and apart and len(chosen) < count:
            chosen.append(int(index))
    return chosen


def draw_numbers(axes: Axes, flows: dict[str, Any]) -> None:
    """How far the agents' fixed points for the true state lie from it, and what the agents' sets share."""
    pooled = flows["pooled"]
    is_true, drawn = np.asarray(pooled["is_true"], bool), [agent["agent"] for agent in flows["agents"]]
    agents, norms = np.asarray(pooled["agents"])[is_true], np.asarray(pooled["norms"])[is_true]
    order = np.argsort(norms)  # the largest on top
    colours = [BLUE if agent in drawn else SKY for agent in agents[order]]
    axes.barh(np.arange(len(order)), np.maximum(norms[order], 1e-6), color=colours, height=0.8)
    axes.set_yticks(range(len(order)), [str(agent + 1) for agent in agents[order]], fontsize=6.5)
    axes.set(xscale="log", ylabel="agent", xlabel=r"$\|D_\phi\|$ over all areas")
    axes.set_title("Deviations at the true state (dark: a, b, d)", fontsize=9.5)
    least, largest = np.maximum(norms[[order[0], order[-1]]], 1e-6)
    axes.set_xlim(least / 2, largest * 4)
    plain_numbers(axes.xaxis)
    axes.margins(y=0.01)
    axes.set_ylim(-9, None)  # room for the words below the bars
    annotate_corner(axes, "\n".join(shared_lines(flows["intersection"])), low_right=True)


def annotate_corner(axes: Axes, words: str, *, low_right: bool = False) -> None:
    """A few words in the upper left or lower right corner, legible over what is drawn there."""
    paper = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}
    place, across, up = ((0.985, 0.02), "right", "bottom") if low_right else ((0.025, 0.975), "left", "top")
    axes.annotate(words, place, xycoords="axes fraction", va=up, ha=across, fontsize=8, color=INK, bbox=paper, zorder=7)


def shared_lines(intersection: dict[str, Any]) -> list[str]:
    """What the intersection of the agents' fixed point sets is, in words."""
    names = {"exact": "exactly", "1e-3": "within 0.001", "merge_radius": "within 0.1"}
    lines = ["fixed points that all agents share:"]
    for name, words in names.items():
        one = intersection[name]
        what = "the true state" if one["is_true_state"] else "none" if not one["count"] else f"{one['count']}"
        lines.append(f"{words}: {what}")
    return lines


def flow_marks() -> list[Line2D]:
    """Entries for the marks of panels a to f."""
    return [
        line("o", "none", BLUE, 8, "fixed point for the true state"),
        line("o", "none", RED, 8, "fixed point for another state"),
        line("*", BLUE, INK, 11, "true state"),
        line("^", GREEN, GREEN, 7, "state that the agent allows"),
        Line2D([], [], color=MUTED, linewidth=1, label="flow from noise"),
        line("*", ORANGE, INK, 11, "target on the map"),
    ]


def line(marker: str, face: str, edge: str, size: float, label: str) -> Line2D:
    """A legend entry for one mark."""
    return Line2D(
        [], [], linestyle="none", marker=marker, markerfacecolor=face, markeredgecolor=edge, markersize=size,
        markeredgewidth=0.6 if marker == "*" else 1.5, label=label,
    )  # fmt: skip


def mark_places(axes: Axes, places: Any) -> None:
    """States in the projection: triangles, and a star where the true state is."""
    places = np.asarray(places, float).reshape(-1, 2)
    is_true = np.all(places == np.asarray(TRUE), axis=1)
    axes.scatter(*places[~is_true].T, marker="^", s=34, color=GREEN, linewidth=0, zorder=5)
    axes.scatter(*places[is_true].T, marker="*", s=95, color=BLUE, edgecolor=INK, linewidth=0.5, zorder=5)


def mark_points(axes: Axes, points: np.ndarray, colours: Any, size: float) -> None:
    """Fixed points: open circles."""
    axes.scatter(*points.T, s=size, facecolor="none", edgecolor=list(colours), linewidth=1.1, alpha=0.8, zorder=4)


def point_colours(pooled: dict[str, Any]) -> np.ndarray:
    """Blue for the true state's fixed points, red for the others'."""
    return np.where(np.asarray(pooled["is_true"], bool), BLUE, RED)


def plane(axes: Axes, areas: list[int], low: float = -1.6, high: float = 2.1) -> None:
    """The plane of the two areas that hold the targets."""
    first, second = (area + 1 for area in areas)
    axes.set(xlim=(low, high), ylim=(low, high), xlabel=f"area {first}", ylabel=f"area {second}")
    axes.set(xticks=[tick for tick in (-1, 0, 1, 2) if low < tick < high])
    axes.set(yticks=[tick for tick in (-1, 0, 1, 2) if low < tick < high])
    grid_lines(axes)
