"""Drawing a sensor network: sensors as squares, areas as rounds between them, targets as stars, scans as lines; how
likely an agent finds a target in an area is its colour."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap

from composite_flow.plots.sensor_map import grid_positions
from composite_flow.plots.style import BLUE, FAINT, INK, MUTED, ORANGE
from composite_flow.policy.episode import EpisodeRecord
from composite_flow.problems.sensor import SensorNetwork

_CHANCES = LinearSegmentedColormap.from_list("chances", ["white", "#f6d796", ORANGE, "#b45f06"])
_NUMBERED = 24  # areas, in networks of up to so many, carry their chance as a number
_APART = 0.35  # from its sensor to an area that nobody else covers


class SensorPainter:
    """Draws the steps of one episode of a sensor network."""

    def __init__(self, problem: SensorNetwork, record: EpisodeRecord):
        self.record, self.slots = record, np.asarray(problem.slots)
        self.coverage = np.asarray(problem.coverage)
        self.sensors = sensor_places(self.coverage)
        self.areas = area_places(self.coverage, self.sensors)
        self.scale = 1.0 if len(self.areas) <= _NUMBERED else 0.5
        # the mean of an agent's samples, which estimates the chance of a target; its only sample where it draws one
        self.chances = None if record.samples is None else np.clip(record.samples.mean(axis=2), 0.0, 1.0)

    @property
    def key(self) -> str:
        scans = "Star: target; blue line: scan; blue ring: area that an agent watches, doubled where it sees a target"
        if self.record.samples is None:
            return f"{scans}. This team infers nothing."
        count = self.record.samples.shape[2]
        drawn = "a state drawn" if count == 1 else f"the mean of {count} states drawn"
        return f"{scans}; colour: {drawn} from what it holds possible."

    def world(self, axes: Axes, step: int) -> None:
        """Targets, and who scans what."""
        state = self.record.states[step]
        self._network(axes, "The world")
        self._areas(axes, np.zeros(len(state)), np.full(len(state), MUTED))
        scans = [self._scan(step, agent) for agent in range(len(self.sensors))]
        self._scans(axes, [scan for scan in scans if scan is not None])
        self._targets(axes, state > 0.5, "large")
        self._sensors(axes, range(len(self.sensors)))

    def agent(self, axes: Axes, step: int, agent: int) -> None:
        """Its own areas as it sees them, its estimate of all others, and its scan."""
        state, own = self.record.states[step], self.coverage[agent]
        self._network(axes, f"Agent {agent + 1}")
        chances = np.zeros(len(state)) if self.chances is None else self.chances[step, agent]
        self._areas(axes, chances, np.where(own, BLUE, MUTED), thick=own)
        scan = self._scan(step, agent)
        self._scans(axes, [] if scan is None else [scan])
        self._numbers(axes, chances)
        self._targets(axes, state > 0.5, "small")
        self._seen(axes, step, agent)
        self._sensors(axes, [agent])

    def _scan(self, step: int, agent: int) -> np.ndarray | None:
        """From the sensor to what it scans."""
        action = int(self.record.actions[step, agent])
        if action == 0:
            return None
        return np.stack([self.sensors[agent], self.areas[self.slots[agent, action - 1]]])

    def _network(self, axes: Axes, title: str) -> None:
        """Lines between sensors and their areas."""
        agents, areas = np.nonzero(self.coverage)
        lines = np.stack([self.sensors[agents], self.areas[areas]], axis=1)
        axes.add_collection(LineCollection(list(lines), colors=FAINT, linewidths=1.5, zorder=1))
        axes.set_title(title, color=INK)
        axes.set_aspect("equal")
        low, high = np.min([*self.sensors, *self.areas], axis=0), np.max([*self.sensors, *self.areas], axis=0)
        middle, half = (low + high) / 2, np.max(high - low) / 2 + 0.35
        axes.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half))
        axes.axis("off")

    def _areas(self, axes: Axes, chances: np.ndarray, edges: np.ndarray, thick: np.ndarray | None = None) -> None:
        widths = 0.8 if thick is None else np.where(thick, 1.8, 0.6)
        axes.scatter(
            *self.areas.T, s=230 * self.scale, c=_CHANCES(chances), edgecolor=edges, linewidth=widths, zorder=4
        )

    def _numbers(self, axes: Axes, chances: np.ndarray) -> None:
        """The chances, where there is room for them and they are not about zero."""
        for place, chance in zip(self.areas, chances, strict=True):
            if self.scale == 1.0 and chance >= 0.05:
                colour = "white" if chance > 0.6 else INK
                style = {"ha": "center", "va": "center_baseline", "fontsize": 9.6, "color": colour}
                axes.annotate(f"{chance:.1f}".removeprefix("0").removesuffix(".0"), place, zorder=7, **style)

    def _targets(self, axes: Axes, held: np.ndarray, size: str) -> None:
        """Where targets are: on their areas, or, where these are coloured by an estimate, beside them."""
        if size == "large":
            axes.scatter(*self.areas[held].T, marker="*", s=150 * self.scale, color=ORANGE, edgecolor=INK, zorder=6)
            return
        beside = self.areas[held] + np.array([0.16, 0.16])[None]
        axes.scatter(*beside.T, marker="*", s=55 * self.scale, color=ORANGE, edgecolor=INK, linewidth=0.5, zorder=8)

    def _seen(self, axes: Axes, step: int, agent: int) -> None:
        """Where the agent's own observation says that a target is: a second frame."""
        slots = self.slots[agent]
        used = slots < len(self.areas)
        seen = slots[used][self.record.observations[step, agent][used] > 0.5]
        axes.scatter(*self.areas[seen].T, s=330 * self.scale, facecolor="none", edgecolor=BLUE, linewidth=1.4, zorder=5)

    def _scans(self, axes: Axes, scans: list[np.ndarray]) -> None:
        axes.add_collection(LineCollection(scans, colors=BLUE, linewidths=3.0, alpha=0.75, zorder=2))

    def _sensors(self, axes: Axes, strong) -> None:
        colours = np.array([INK if sensor in strong else MUTED for sensor in range(len(self.sensors))])
        size = 190 * self.scale
        axes.scatter(*self.sensors.T, marker="s", s=size, facecolor="white", edgecolor=colours, zorder=5)
        if self.scale == 1.0:
            for sensor, (place, colour) in enumerate(zip(self.sensors, colours, strict=True)):
                axes.annotate(
                    f"{sensor + 1}", place, ha="center", va="center_baseline", fontsize=9.6, color=colour, zorder=6
                )


def sensor_places(coverage: np.ndarray) -> np.ndarray:
    """Where sensors stand: on a grid where the network is one, otherwise on a circle; (sensors, 2).

    Args:
        coverage: booleans (sensors, areas).
    """
    num_sensors, edges = len(coverage), _members(coverage)
    for rows in range(1, num_sensors + 1):
        columns = num_sensors // rows
        if num_sensors > 1 and rows * columns == num_sensors:
            grid = np.asarray(SensorNetwork.grid(rows, columns).coverage)
            if _members(grid) == edges:
                return grid_positions(rows, columns)
    angles = np.pi / 2 - 2 * np.pi * np.arange(num_sensors) / num_sensors
    radius = max(1.0, num_sensors / 6)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def area_places(coverage: np.ndarray, sensors: np.ndarray) -> np.ndarray:
    """Where areas lie: amid the sensors that cover them, beside each other where these are the same; (areas, 2).

    Args:
        coverage: booleans (sensors, areas).
        sensors: where they stand.
    """
    places, met = np.zeros((coverage.shape[1], 2)), {}
    for area, column in enumerate(coverage.T):
        members = tuple(np.flatnonzero(column))
        number = met[members] = met.get(members, -1) + 1
        centre = sensors[list(members)].mean(axis=0) if members else sensors.mean(axis=0)
        angle = 2.4 * number + np.arctan2(*(centre - sensors.mean(axis=0))[::-1])
        aside = _APART * np.array([np.cos(angle), np.sin(angle)])
        places[area] = centre + (aside if len(members) < 2 or number else 0.0)
    return places


def _members(coverage: np.ndarray) -> list[tuple[int, ...]]:
    """Who covers each area, in an order of their own."""
    return sorted(tuple(np.flatnonzero(column).tolist()) for column in coverage.T)
