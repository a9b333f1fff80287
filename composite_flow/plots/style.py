"""How every figure looks, and how it is saved: SVG and PNG side by side."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

INK = "#22262e"
MUTED = "#8a919e"
FAINT = "#dfe3ea"
# Okabe and Ito's palette: told apart with any kind of colour vision.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
CYCLE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)

SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=CYCLE),
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "svg.hashsalt": "composite-flow",
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw with the one style, without touching the caller's matplotlib settings."""
    with mpl.rc_context(SETTINGS):
        yield


def save_figure(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write `stem`.svg and `stem`.png and return their paths; without dates, so that equal figures are equal files."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    svg, png = stem.with_suffix(".svg"), stem.with_suffix(".png")
    figure.savefig(png, bbox_inches="tight")  # first, as the first drawing settles what stands where
    figure.savefig(svg, bbox_inches="tight", metadata={"Date": None})
    return svg, png
