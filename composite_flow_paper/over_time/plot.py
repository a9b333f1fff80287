"""The picture of this experiment: excess errors over the share of lost answers."""

from pathlib import Path

from matplotlib import pyplot as plt

from composite_flow.plots.style import BLUE, GREEN, MUTED, ORANGE, PURPLE, SKY, save_figure, styled
from composite_flow_paper.experiment import Result
from composite_flow_paper.over_time.acting import OverTimeAndActing
from composite_flow_paper.over_time.report import NAMES, TARGET, WORLDS

COLOURS = dict(zip(NAMES, (BLUE, GREEN, ORANGE, SKY, PURPLE), strict=True))


def draw(result: Result[OverTimeAndActing], out: Path) -> list[Path]:
    """Write over_time.svg and over_time.png: a panel for each world, a line for each filter, a dot for each seed."""
    worlds = result.summary["worlds"]
    with styled():
        figure, panels = plt.subplots(
            1, len(worlds), figsize=(4.0 * len(worlds) + 2.4, 3.4), layout="constrained", squeeze=False, sharey=True
        )
        for axes, (name, world) in zip(panels[0], worlds.items(), strict=True):
            for way, found in world["ways"].items():
                shares = [100 * each["lost"] for each in found["losses"]]
                means = [each["excess"] for each in found["losses"]]
                axes.plot(shares, means, color=COLOURS[way], label=NAMES[way])
                for share, each in zip(shares, found["losses"], strict=True):
                    seeds = each["excess_of_seeds"]
                    axes.scatter([share] * len(seeds), seeds, color=COLOURS[way], s=14, zorder=3)
            losses = next(iter(world["ways"].values()))["losses"]
            fused = [each["fusion_excess"] for each in losses]
            axes.plot([100 * each["lost"] for each in losses], fused, color=MUTED, ls="--", label="fusion of one step")
            axes.axhline(TARGET, color=MUTED, ls=":", lw=1)
            axes.set(title=WORLDS[name], xlabel="answers lost (%)", yscale="log")
        panels[0][0].set_ylabel("excess squared error a feature")
        handles = {
            label: line for axes in panels[0] for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside right upper")
        paths = save_figure(figure, out / "over_time")
        plt.close(figure)
    return list(paths)
