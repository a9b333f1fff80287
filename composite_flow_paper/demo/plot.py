"""The demo's picture: one reconstruction, hop by hop, and what one sensor alone makes of its own view."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from composite_flow.plots.style import BLUE, FAINT, GREEN, INK, MUTED, ORANGE, save_figure, styled
from composite_flow_paper.demo.report import GROUP
from composite_flow_paper.experiment import Result
from composite_flow_paper.shared.cells import of_group

_VALUES = LinearSegmentedColormap.from_list("values", [FAINT, "#f6d796", ORANGE, "#b45f06"])
_REACHED = 0.5  # two states are at least √2 apart
_MAPS = 5  # networks in the upper row beside the truth


def draw(result: Result, out: Path) -> Sequence[Path]:
    """Draw `reconstruction.svg` and `.png` from what the demo computed."""
    (found,) = of_group(result.cells, GROUP)
    with styled():
        figure = Figure(figsize=(11.5, 6.4))
        rows = figure.add_gridspec(2, 1, height_ratios=(1.0, 1.25), hspace=0.34)
        maps = rows[0].subgridspec(1, _MAPS + 1, wspace=0.1)
        graphs = rows[1].subgridspec(1, 2, width_ratios=(1.45, 1.0), wspace=0.2)
        _draw_maps([figure.add_subplot(maps[0, place]) for place in range(_MAPS + 1)], found)
        _draw_distances(figure.add_subplot(graphs[0, 0]), found["drawn"])
        _draw_masses(figure.add_subplot(graphs[0, 1]), found)
        return save_figure(figure, out / "reconstruction")


def _draw_maps(axes: list[Axes], result: dict[str, Any]) -> None:
    """The truth with what each sensor sees, then one sample after more and more messages."""
    drawn, network = result["drawn"], result["network"]
    sample, order = np.asarray(drawn["sample"]), drawn["order"]
    seeing = {row["agent"] - 1 for row in result["agents"] if row["sees_target_in_areas"]}
    allowed = [str(row["states_allowed"]) for row in result["agents"]]
    _draw_network(axes[0], network, np.asarray(drawn["state"]), labels=allowed, bold=seeing)
    axes[0].set_title("The true state")
    axes[0].set_xlabel("how many states\neach sensor allows")
    for axis, hop in zip(axes[1:], _shown_hops(len(network["places"])), strict=True):
        speaker = None if hop == 0 else order[hop - 1]
        _draw_network(axis, network, sample[hop], speaker=speaker)
        axis.set_title("Noise" if hop == 0 else f"{hop} message{'s' if hop > 1 else ''}")
        distance = np.linalg.norm(sample[hop] - np.asarray(drawn["state"]))
        spoken = "no one has spoken" if speaker is None else f"sensor {speaker} spoke"
        axis.set_xlabel(f"{spoken}\ndistance {distance:.2f}")


def _shown_hops(num_agents: int) -> list[int]:
    """Noise, the first messages, and the end of the first sweep."""
    return [0, *np.unique(np.linspace(1, num_agents, _MAPS - 1).round().astype(int)).tolist()]


def _draw_network(
    axis: Axes,
    network: dict[str, Any],
    values: np.ndarray,
    *,
    labels: list[str] | None = None,
    bold: frozenset[int] | set[int] = frozenset(),
    speaker: int | None = None,
) -> None:
    """Sensors as circles; each area as the line between its two, coloured by its value."""
    places = np.asarray(network["places"], float)
    for area, value in zip(network["areas"], values, strict=True):
        ends = places[area]
        colour = _VALUES(float(np.clip(value, 0.0, 1.0)))
        axis.plot(ends[:, 0], ends[:, 1], color=colour, linewidth=7, solid_capstyle="round", zorder=1)
        if value > 0.5:
            axis.plot(*ends.mean(axis=0), marker="o", markersize=5.5, color="white", zorder=2)
    for sensor, (x, y) in enumerate(places):
        speaks = speaker == sensor + 1
        edge = BLUE if speaks else INK if sensor in bold else MUTED
        width = 2.2 if speaks or sensor in bold else 1.0
        face = BLUE if speaks else "white"
        axis.scatter([x], [y], s=250, facecolor=face, edgecolor=edge, linewidth=width, zorder=3)
        text = str(sensor + 1) if labels is None else labels[sensor]
        axis.text(
            x, y, text, ha="center", va="center_baseline", color="white" if speaks else INK, fontsize=8.5, zorder=4
        )
    axis.set_aspect("equal")
    axis.margins(0.16)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def _draw_distances(axis: Axes, drawn: dict[str, Any]) -> None:
    """Distance of every sample to the true state, together and alone, with as many denoiser calls."""
    together, alone = np.asarray(drawn["distances_together"]), np.asarray(drawn["distances_alone"])
    hops = np.arange(together.shape[1])
    for name, distances, colour in (
        (f"sensor {drawn['alone']} alone, asked again and again", alone, ORANGE),
        ("together: composite diffusion", together, BLUE),
    ):
        axis.plot(hops, distances.T, color=colour, linewidth=0.7, alpha=0.35)
        axis.plot([], [], color=colour, linewidth=2, label=name)
    num_agents = len(set(drawn["order"]))
    for sweep in range(num_agents, len(hops) - 1, num_agents):
        axis.axvline(sweep, ymax=0.6, color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
        axis.text(sweep + 0.1, 0.55 * together.max(), "next sweep", va="center", color=MUTED, fontsize=8)
    reached = [int((distances[:, -1] < _REACHED).sum()) for distances in (together, alone)]
    axis.set_title(f"Together {reached[0]} of {len(together)} samples reach the true state, alone {reached[1]}")
    axis.set_ylabel("distance to the true state")
    axis.set_xlabel("who speaks: one message each")
    axis.set_xticks(hops, ["noise", *(str(agent) for agent in drawn["order"])])
    axis.set_xlim(0, len(hops) - 1)
    axis.set_ylim(0)
    axis.legend(loc="upper right", bbox_to_anchor=(1.0, 0.98))


def _draw_masses(axis: Axes, result: dict[str, Any]) -> None:
    """What the sensor of the left panel believes exactly, and how many starts its own flow brings to each state."""
    row = result["agents"][result["drawn"]["alone"] - 1]
    posterior, masses = np.asarray(row["posterior"]), np.asarray(row["basin_masses"])
    places = np.arange(len(posterior))
    axis.bar(places, posterior, width=0.86, color=FAINT, label="exact posterior")
    axis.plot(places, masses, linestyle="none", marker="o", markersize=3.5, color=ORANGE, label="basin mass, learned")
    true_place = row["true_place"]
    axis.annotate(
        "true state",
        (true_place, max(posterior[true_place], masses[true_place])),
        xytext=(0, 22),
        textcoords="offset points",
        ha="center",
        color=GREEN,
        arrowprops={"arrowstyle": "->", "color": GREEN},
    )
    axis.set_title(f"The {len(places)} states that sensor {row['agent']} alone allows")
    axis.set_ylabel("probability")
    axis.set_xlabel("states, by falling posterior")
    axis.set_xticks([])
    axis.set_ylim(0, 1.45 * max(posterior.max(), masses.max()))
    axis.legend(loc="upper right")
