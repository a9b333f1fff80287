"""Drawing sensor networks: sensors as circles, areas as the marks between them, targets as stars."""

import numpy as np
from matplotlib.axes import Axes

from composite_flow.plots.style import FAINT, INK, MUTED, ORANGE


def grid_positions(rows: int, columns: int) -> np.ndarray:
    """Where the sensors of a grid stand, row by row from the top; (sensors, 2)."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    return np.stack([column, rows - 1 - row], axis=1).astype(float)


def area_positions(coverage: np.ndarray, sensors: np.ndarray) -> np.ndarray:
    """Each area stands in the middle of the sensors that cover it; (areas, 2)."""
    return np.stack([sensors[column].mean(axis=0) for column in coverage.T])


def draw_network(
    axes: Axes,
    coverage: np.ndarray,
    sensors: np.ndarray,
    state: np.ndarray,
    *,
    highlighted: tuple[int, ...] = (),
    area_labels: bool = True,
) -> None:
    """Draw sensors with their numbers, areas, and the areas that hold a target.

    Args:
        axes: where to draw.
        coverage: booleans (sensors, areas).
        sensors: positions (sensors, 2).
        state: 1 for each area that holds a target.
        highlighted: sensors drawn in ink, the others faint; none means all.
        area_labels: whether areas carry their numbers.
    """
    areas = area_positions(coverage, sensors)
    for area, members in enumerate(coverage.T):
        axes.plot(*sensors[members].T, color=FAINT, linewidth=2, zorder=1, solid_capstyle="round")
        if area_labels:
            axes.annotate(
                f"{area + 1}", areas[area], ha="center", va="center", fontsize=8, color=MUTED, zorder=2,
                bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"},
            )  # fmt: skip
    for sensor, position in enumerate(sensors):
        strong = not highlighted or sensor in highlighted
        axes.scatter(*position, s=190, facecolor="white", edgecolor=INK if strong else MUTED, linewidth=1.2, zorder=3)
        axes.annotate(
            f"{sensor + 1}", position, ha="center", va="center", fontsize=8, color=INK if strong else MUTED, zorder=4
        )
    held = areas[np.asarray(state) > 0.5]
    axes.scatter(*held.T, marker="*", s=170, color=ORANGE, edgecolor=INK, linewidth=0.6, zorder=5)
    axes.set_aspect("equal")
    axes.margins(0.18)
    axes.axis("off")
