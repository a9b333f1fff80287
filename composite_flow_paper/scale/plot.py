"""The picture of the scale experiment, from its result: what a call costs, what it takes to learn."""

from pathlib import Path

from matplotlib import pyplot as plt

from composite_flow.plots.style import BLUE, MUTED, ORANGE, save_figure, styled
from composite_flow_paper.experiment import Result
from composite_flow_paper.scale.cell import ScaleSettings
from composite_flow_paper.scale.report import TRAINED, costs_of
from composite_flow_paper.shared.cells import of_group


def draw(result: Result[ScaleSettings], out: Path) -> list[Path]:
    """Write scale.svg and scale.png."""
    costs, trained = costs_of(result.settings, result.cells), of_group(result.cells, TRAINED)
    with styled():
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
        inputs = [one["inputs"] for one in costs]
        calls = [1e3 * one["seconds_per_call"] for one in costs]
        left.loglog(inputs, calls, color=BLUE, marker="o", label="measured")
        left.loglog(inputs, [calls[-1] * x / inputs[-1] for x in inputs], color=MUTED, ls=":", label="linear")
        for one, call in zip(costs, calls, strict=True):
            left.annotate(f"{one['agents']} agents", (one["inputs"], call), textcoords="offset points", xytext=(6, -10))
        left.set(xlabel="inputs of the network", ylabel="milliseconds per call in a sweep", title="Cost of a call")
        left.margins(x=0.2)
        left.legend(loc="lower right")
        for one in trained:
            rated = [point for point in one["curves"] if "exact_rate_composite" in point]
            seconds = [point["seconds"] for point in rated]
            right.plot(seconds, [point["exact_rate_composite"] for point in rated], color=ORANGE, marker="o")
        right.set(xlabel="seconds of training", ylim=(-0.03, 1.03), title="Exact samples, validation episodes")
        paths = save_figure(figure, out / "scale")
        plt.close(figure)
    return list(paths)
