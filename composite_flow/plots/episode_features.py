"""Drawing any other problem: features of the state over time, as they are and as agents infer them, as colours."""

import numpy as np
from matplotlib.axes import Axes

from composite_flow.plots.style import INK, ORANGE
from composite_flow.policy.episode import EpisodeRecord
from composite_flow.problems.host import AnyProblem

_NAMED = 24  # features of which so many carry their names


class FeaturePainter:
    """Draws the steps of one episode as rows of features, up to the present."""

    def __init__(self, problem: AnyProblem, record: EpisodeRecord):
        self.record, self.names = record, problem.state_names
        self.limits = _range(record.states)
        self.seen_limits = _range(record.observations)

    @property
    def key(self) -> str:
        what = "observations" if self.record.estimates is None else "inferred state"
        text = f"Columns are steps, rows features: of the state in the first panel, of the {what} in an agent's."
        low, high = self.limits
        return f"{text}\nOf the state, {low:.3g} is dark and {high:.3g} is bright."

    @property
    def agent_key(self) -> str:
        """What an agent's panel shows."""
        what, limits = ("observations", self.seen_limits)
        if self.record.estimates is not None:
            what, limits = "inferred state", self.limits
        shown = f"In an agent's panel columns are steps, rows features of its {what}"
        return f"{shown}, {limits[0]:.3g} dark and {limits[1]:.3g} bright."

    def world(self, axes: Axes, step: int) -> None:
        """The true state's features so far."""
        self._rows(axes, self.record.states, step, self.limits, "The true state")
        if len(self.names) <= _NAMED:
            axes.set_yticks(range(len(self.names)), self.names, fontsize=9.6)
            axes.tick_params(axis="y", length=0, direction="in", pad=-3)
            for label in axes.get_yticklabels():
                label.set_horizontalalignment("left")
                label.set_bbox({"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5})

    def agent(self, axes: Axes, step: int, agent: int) -> None:
        """The state as the agent has inferred it so far; what it saw, where it infers nothing."""
        action = f"Agent {agent + 1} (action {self.record.actions[step, agent]})"
        if self.record.estimates is None:
            self._rows(axes, self.record.observations[:, agent], step, self.seen_limits, action)
        else:
            self._rows(axes, self.record.estimates[:, agent], step, self.limits, action)

    def _rows(self, axes: Axes, features: np.ndarray, step: int, limits: tuple[float, float], title: str) -> None:
        known = np.where(np.arange(len(features))[:, None] <= step, features, np.nan)
        axes.imshow(known.T, aspect="auto", vmin=limits[0], vmax=limits[1], cmap="viridis", interpolation="nearest")
        axes.axvline(step, color=ORANGE, linewidth=1.0)
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, color=INK)


def _range(values: np.ndarray) -> tuple[float, float]:
    """Smallest and largest value, which differ."""
    low, high = float(values.min()), float(values.max())
    return low, high if high > low else low + 1.0
