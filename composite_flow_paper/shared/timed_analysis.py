"""The analysis of a trained model, with the seconds of its stages beside it."""

import time
from itertools import pairwise
from typing import Any

from jaxtyping import PRNGKeyArray

from composite_flow.analysis.report import AnalysisSettings, analyse
from composite_flow.data.dataset import HistoryDataset
from composite_flow.model import Model
from composite_flow_paper.shared.cells import Progress


def timed_analysis(
    model: Model,
    dataset: HistoryDataset,
    calibration: HistoryDataset,
    evaluation: HistoryDataset,
    *,
    key: PRNGKeyArray,
    settings: AnalysisSettings,
    progress: Progress,
) -> dict[str, Any]:
    """`analyse` with the model's own radius, and how long training and each stage took.

    Arguments as of `analyse`.
    """
    marks: list[tuple[str, float]] = []

    def stage(sentence: str) -> None:
        marks.append((sentence, time.perf_counter()))
        progress(sentence)

    parts = dataset, calibration, evaluation
    options = {"radius": model.radius or 0.0, "key": key, "settings": settings, "progress": stage}
    found = analyse(model.denoiser, *parts, **options)
    marks.append(("", time.perf_counter()))
    return {
        **found,
        "stage_seconds": {name: end - start for (name, start), (_, end) in pairwise(marks)},
        "train_seconds": model.curves[-1]["seconds"],
        "radius": model.radius,
    }
