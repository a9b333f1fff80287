"""The picture of this experiment: what teams earn while they learn, a panel per world."""

from pathlib import Path

from composite_flow.plots.style import styled
from composite_flow_paper.acting.settings import WaysSettings
from composite_flow_paper.experiment import Result
from composite_flow_paper.figure5.plot import draw_worlds


def draw(result: Result[WaysSettings], out: Path) -> list[Path]:
    """Write acting.svg and acting.png."""
    worlds = {name: world for name, world in result.summary["worlds"].items() if world["curves"]}
    with styled():
        return draw_worlds(worlds, "learning", out / "acting")
