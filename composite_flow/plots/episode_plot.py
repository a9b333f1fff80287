"""An episode as an animation: the world as it is, and beside it what agents see and infer; a frame for each step."""

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from matplotlib.animation import PillowWriter
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from composite_flow.errors import InputError
from composite_flow.plots.episode_battle import BattlePainter
from composite_flow.plots.episode_features import FeaturePainter
from composite_flow.plots.episode_pictures import PicturePainter
from composite_flow.plots.episode_sensors import SensorPainter
from composite_flow.plots.style import styled
from composite_flow.policy.episode import EpisodeRecord
from composite_flow.problems import SMAX, SensorNetwork
from composite_flow.problems.host import AnyProblem

SHOWN = 6
"""Most agents that are drawn where none are named."""

_DOTS = 90  # per inch: a few megabytes for a hundred steps, and no letter below 12 pixels
_FOOT = 0.62  # inches below the panels, for three lines of the key
_KEY_POINTS, _TITLE_POINTS = 10, 11
_LETTERS = 13.5  # of the key, an inch


class Painter(Protocol):
    """Draws one episode's steps, each on empty axes."""

    def world(self, axes: Axes, step: int) -> None:
        """The world as it is, and what the agents do in it."""
        ...

    def agent(self, axes: Axes, step: int, agent: int) -> None:
        """What an agent sees, and what it infers."""
        ...

    @property
    def key(self) -> str:
        """What the marks in an agent's panel mean."""
        ...


_PAINTERS: tuple[tuple[type[AnyProblem], Callable[..., Painter]], ...] = (
    (SMAX, BattlePainter),
    (SensorNetwork, SensorPainter),
)


def painter_of(problem: AnyProblem, record: EpisodeRecord) -> Painter:
    """Who draws this problem's episodes: its own painter, one of `_PAINTERS`, its library, or else rows of features."""
    own = problem.painter(record)
    if own is not None:
        return own
    for kind, painter in _PAINTERS:
        if isinstance(problem, kind):
            return painter(problem, record)
    return FeaturePainter(problem, record) if record.pictures is None else PicturePainter(problem, record)


def shown_agents(num_agents: int, chosen: Sequence[int] = ()) -> tuple[int, ...]:
    """Which agents have a panel: those chosen, or else the first `SHOWN`.

    Raises:
        InputError: there is no agent of that number, or one is named twice.
    """
    for agent in chosen:
        if not 0 <= agent < num_agents:
            raise InputError(f"There is no agent {agent}: the team's are 0 to {num_agents - 1}.")
    if len(set(chosen)) < len(chosen):
        raise InputError("Name each agent once.")
    return tuple(chosen) or tuple(range(min(num_agents, SHOWN)))


def animate(
    problem: AnyProblem,
    records: Sequence[EpisodeRecord],
    path: Path,
    *,
    agents: Sequence[int] = (),
    frames_per_second: float = 4.0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write episodes, one after the other, as an animation (GIF) with a frame for each step.

    Args:
        problem: whose episodes they are.
        records: of the episodes.
        path: of the file, which is renamed into place when it is whole.
        agents: whose panels are drawn; the first `SHOWN` where none are named.
        frames_per_second: pace; positive.
        progress: called with the frames drawn and all.

    Raises:
        InputError: there is no such agent.
    """
    agents = shown_agents(problem.num_agents, agents)
    partial = path.with_name(f"{path.stem}.partial.gif")  # the writer tells the format by the ending
    writer = PillowWriter(fps=frames_per_second)  # type: ignore[arg-type]  (any number will do)
    total, done = sum(record.num_steps for record in records), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with styled():
            figure, panels = _panels(len(agents))
            with writer.saving(figure, str(partial), _DOTS):
                for number, record in enumerate(records):
                    painter = painter_of(problem, record)
                    name = f"episode {number + 1}, " if len(records) > 1 else ""
                    for step in range(record.num_steps):
                        draw_step(figure, panels, painter, record, step, agents, name)
                        writer.grab_frame()
                        done += 1
                        if progress is not None:
                            progress(done, total)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def draw_still(problem: AnyProblem, record: EpisodeRecord, step: int, agents: Sequence[int] = ()) -> Figure:
    """One step as a figure of its own, as a frame of the animation shows it.

    Args:
        problem: whose episode it is.
        record: of the episode.
        step: which one.
        agents: whose panels are drawn; the first `SHOWN` where none are named.
    """
    agents = shown_agents(problem.num_agents, agents)
    with styled():
        figure, panels = _panels(len(agents))
        draw_step(figure, panels, painter_of(problem, record), record, step, agents)
        return figure


def draw_step(
    figure: Figure,
    panels: Sequence[Axes],
    painter: Painter,
    record: EpisodeRecord,
    step: int,
    agents: Sequence[int],
    name: str = "",
) -> None:
    """Draw a step: the world in the first panel, these agents in the others."""
    for axes in panels:
        axes.clear()
    painter.world(panels[0], step)
    for axes, agent in zip(panels[1:], agents, strict=True):
        painter.agent(axes, step, agent)
    earned = float(record.rewards[: step + 1].sum())
    last = step + 1 == record.num_steps
    ending = {True: ", won", False: ", not won", None: ""}[record.won] if last else ""
    title = f"{name}step {step + 1} of {record.num_steps}, return so far {earned:.2f}{ending}"
    for text in list(figure.texts):
        text.remove()
    figure.text(0.01, 0.985, title, fontsize=_TITLE_POINTS, va="top")
    key = textwrap.fill(painter.key, int(_LETTERS * figure.get_figwidth()))
    figure.text(0.01, 0.015, key, fontsize=_KEY_POINTS, va="bottom")


def _panels(num_agents: int) -> tuple[Figure, list[Axes]]:
    """A large panel for the world, and a grid of small ones beside it."""
    rows = 1 if num_agents <= 1 else 2
    columns = -(-num_agents // rows)
    side = 2.6 if rows == 2 else 4.2
    height = rows * side + 0.75 + _FOOT
    width = (5.2 if rows == 2 else side) + columns * side
    figure = Figure(figsize=(width, height))
    top, bottom = 1 - 0.62 / height, (_FOOT + 0.05) / height
    grid = figure.add_gridspec(1, 2, width_ratios=(width - columns * side, columns * side), wspace=0.04)
    grid.update(left=0.01, right=0.99, top=top, bottom=bottom)
    small = grid[0, 1].subgridspec(rows, columns, wspace=0.06, hspace=0.16)
    places = [small[number // columns, number % columns] for number in range(num_agents)]
    return figure, [figure.add_subplot(place) for place in (grid[0, 0], *places)]
