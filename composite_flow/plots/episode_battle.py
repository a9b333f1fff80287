"""Drawing a battle (SMAX): allies blue, enemies red, filled by their health; what an ally sees, and where it
believes the others."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from composite_flow.plots.style import BLUE, FAINT, INK, MUTED, RED
from composite_flow.policy.episode import EpisodeRecord
from composite_flow.problems.smax import SMAX

_WIDTH = 32.0  # of the map, in the units of sight
_SIZE = 70.0  # of a unit in full health, in points²
_NUMBERED = 3.2  # times as large: units that carry their numbers
_FIRST_SHOT = 5  # the action that shoots at the first enemy
_ALIVE = 0.5  # who is inferred to be alive with less than this is believed dead


class BattlePainter:
    """Draws the steps of one battle."""

    def __init__(self, problem: SMAX, record: EpisodeRecord):
        self.record, self.num_allies = record, problem.num_agents
        self.columns = {
            feature: [column for column, name in enumerate(problem.state_names) if name.endswith(f"_{feature}")]
            for feature in ("x", "y", "health", "alive")
        }
        states = record.states
        self.alive = states[:, self.columns["alive"]] > 0
        self.health = states[:, self.columns["health"]]
        self.places = _last_known(self._places(states), self.alive)
        self.sees = np.asarray(jax.vmap(problem.sees_units)(jnp.asarray(states)))
        self.sight = np.asarray(jax.vmap(problem.sight_ranges)(jnp.asarray(states)))
        self.colours = np.array([BLUE] * self.num_allies + [RED] * (len(self.health[0]) - self.num_allies))

    def _places(self, states: np.ndarray) -> np.ndarray:
        """Where units stand, (..., units, 2), in the map's units."""
        return _WIDTH * np.stack([states[..., self.columns["x"]], states[..., self.columns["y"]]], axis=-1)

    @property
    def key(self) -> str:
        seen = "Allies blue, enemies red, filled by health; × where they fell; dots are out of sight"
        if self.record.estimates is None:
            return f"{seen}. This team infers nothing."
        believed = "a diamond, tied to its dot: where the agent believes that unit (untied: it is dead)"
        return f"{seen}; {believed}; × on a dot: believed dead."

    def world(self, axes: Axes, step: int) -> None:
        """All units, how far allies see, and who shoots whom."""
        alive, places = self.alive[step], self.places[step]
        _map(axes, "The world")
        for ally in np.flatnonzero(alive[: self.num_allies]):
            axes.add_patch(Circle(places[ally], self.sight[step, ally], facecolor=BLUE, alpha=0.05, edgecolor="none"))
            axes.add_patch(Circle(places[ally], self.sight[step, ally], fill=False, edgecolor=BLUE, alpha=0.3))
        actions = self.record.actions[step]
        shots = [
            (places[ally], places[self.num_allies + action - _FIRST_SHOT])
            for ally, action in enumerate(actions)
            if action >= _FIRST_SHOT and alive[ally]
        ]
        axes.add_collection(LineCollection(shots, colors=INK, linewidths=0.8, alpha=0.6, zorder=3))
        self._units(axes, step, alive, _NUMBERED * _SIZE)
        self._dead(axes, step)
        for ally in np.flatnonzero(alive[: self.num_allies]):
            self._number(axes, places[ally], int(ally))

    def agent(self, axes: Axes, step: int, agent: int) -> None:
        """Units that it sees as they are, the others where it believes them."""
        lives, sees, places = self.alive[step, agent], self.sees[step, agent], self.places[step]
        _map(axes, f"Agent {agent + 1}" + ("" if lives else " (dead)"))
        if lives:
            axes.add_patch(Circle(places[agent], self.sight[step, agent], fill=False, edgecolor=BLUE, alpha=0.4))
            axes.scatter(*places[agent], s=2.6 * _SIZE, facecolor="none", edgecolor=INK, linewidth=1.0, zorder=6)
        self._units(axes, step, sees)
        self._dead(axes, step)
        unseen = self.alive[step] & ~sees
        axes.scatter(*places[unseen].T, s=9, color=self.colours[unseen], alpha=0.5, zorder=3, linewidth=0)
        if self.record.estimates is not None:
            self._believed(axes, step, self.record.estimates[step, agent], sees)

    def _believed(self, axes: Axes, step: int, estimate: np.ndarray, sees: np.ndarray) -> None:
        """Units that are not seen, at the places that an agent infers, tied to where they are."""
        believed = self._places(estimate)
        lives = estimate[self.columns["alive"]] > _ALIVE
        shown = lives & ~sees
        axes.scatter(
            *believed[shown].T,
            s=0.7 * _SIZE,
            marker="D",
            facecolor="none",
            edgecolor=self.colours[shown],
            linewidth=1.3,
            zorder=5,
        )
        tied = shown & self.alive[step]
        ties = np.stack([believed[tied], self.places[step][tied]], axis=1)
        axes.add_collection(LineCollection(list(ties), colors=self.colours[tied], linewidths=0.7, alpha=0.5, zorder=2))
        missed = ~lives & ~sees & self.alive[step]
        axes.scatter(
            *self.places[step][missed].T, s=40, marker="x", color=self.colours[missed], linewidth=1.2, zorder=5
        )

    def _number(self, axes: Axes, place: np.ndarray, ally: int) -> None:
        """On its unit, outlined, and above all units: none can hide it."""
        outlined = [withStroke(linewidth=1.8, foreground="white")]
        style = {"ha": "center", "va": "center_baseline", "fontsize": 10, "fontweight": "bold", "color": INK}
        axes.annotate(f"{ally + 1}", tuple(place), zorder=7, path_effects=outlined, **style)

    def _units(self, axes: Axes, step: int, shown: np.ndarray, size: float = _SIZE) -> None:
        """Living units: a ring, filled by health."""
        places, colours = self.places[step][shown], self.colours[shown]
        axes.scatter(*places.T, s=size, facecolor="white", edgecolor=colours, linewidth=1.1, zorder=4)
        axes.scatter(*places.T, s=size * self.health[step][shown], color=colours, linewidth=0, zorder=5)

    def _dead(self, axes: Axes, step: int) -> None:
        """The dead, where they fell."""
        dead = ~self.alive[step]
        axes.scatter(*self.places[step][dead].T, s=28, marker="x", color=self.colours[dead], alpha=0.3, zorder=2)


def _last_known(places: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """Places of (steps, units, 2), those of the dead as they were before: a state does not tell where they lie."""
    known = places.copy()
    for step in range(1, len(known)):
        known[step] = np.where(alive[step][:, None], places[step], known[step - 1])
    return known


def _map(axes: Axes, title: str) -> None:
    """An empty map."""
    axes.set(xlim=(0, _WIDTH), ylim=(0, _WIDTH), xticks=[], yticks=[], aspect="equal")
    axes.set_title(title, color=INK)
    for spine in axes.spines.values():
        spine.set(visible=True, color=FAINT if title != "The world" else MUTED)
