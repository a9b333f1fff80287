"""The picture of this experiment: how much of the error is removed over the messages, in every order."""

from pathlib import Path

from matplotlib import pyplot as plt

from composite_flow.plots.style import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, save_figure, styled
from composite_flow_paper.experiment import Result
from composite_flow_paper.whom.cell import WhomSettings
from composite_flow_paper.whom.report import NAMES, SHARE

COLOURS = dict(zip(NAMES, (INK, BLUE, GREEN, PURPLE, ORANGE), strict=True))


def draw(result: Result[WhomSettings], out: Path) -> list[Path]:
    """Write whom.svg and whom.png: as many messages in every case, and where each case stops by itself."""
    curves, agents = result.summary["curves"], result.summary["agents"]
    with styled():
        figure, panels = plt.subplots(1, 2, figsize=(9.6, 3.6), layout="constrained", sharey=True)
        for order, words in NAMES.items():
            options = {"color": COLOURS[order], "lw": 1.2}
            if order == "learned":  # dots, since it lies on other lines
                options = {"color": COLOURS[order], "ls": "", "marker": "o", "ms": 3.5, "zorder": 3}
            panels[0].plot(range(agents + 1), curves[order]["team"], label=words.replace("`", ""), **options)
            stopped = curves[order]["stopped"]
            panels[1].plot(stopped["messages"], stopped["removed"], **options)
        for axes, title in zip(panels, ("As many messages in every case", "Each case stops by itself"), strict=True):
            axes.axhline(SHARE, color=MUTED, ls=":", lw=1)
            axes.set(title=title, xlabel="messages", xlim=(0, agents), ylim=(0, 1.03))
        panels[0].set_ylabel("share of the removed error")
        panels[0].annotate(f"{SHARE:.0%}", (0.3, SHARE + 0.01), color=MUTED, va="bottom")
        figure.legend(loc="outside right upper")
        paths = save_figure(figure, out / "whom")
        plt.close(figure)
    return list(paths)
