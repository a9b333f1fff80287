"""What Figure 4's cells come to: rates with lower bounds over the seeds, and times."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from composite_flow.metrics import rate_lower_bound

RATE = 0.99
"""Share of exact samples that is aimed at."""


def reaches_rate(point: Mapping[str, float]) -> bool:
    """Whether a point of the learning curve has 99% of its samples exact."""
    return point.get("exact_rate_composite", 0.0) >= RATE


def seconds_to_rate(curves: list[dict[str, float]]) -> float | None:
    """Training seconds, evaluation aside, at the first point with 99% exact samples; None if there is none."""
    return next((point["seconds"] for point in curves if reaches_rate(point)), None)


def summarise(cells: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Rates with lower 95% bounds over the seeds, and times."""
    ours = [seconds_to_rate(one["curves"]) for one in cells["ours"]]
    summary = {
        "exact_rate": rate_of([one["seen"] for one in cells["ours"]], "exact", "samples"),
        "exact_rate_with_withheld_states": rate_of([one["seen"] for one in cells["withheld"]], "exact", "samples"),
        "exact_rate_unseen_states": rate_of(
            [one["unseen"] for one in cells["withheld"] if one["unseen"]], "exact", "samples"
        ),
        "partial": partial_rates(cells["ours"], "partial"),
        "train_seconds": [one["train_seconds"] for one in cells["ours"]],
        "seconds_to_rate": ours,
    }
    if "flows" in cells:
        summary["flows"] = {
            "exact_rate": rate_of([one["seen"] for one in cells["flows"]], "exact", "samples"),
            "partial": partial_rates(cells["flows"], "partial"),
            "stirred": partial_rates(cells["flows"], "stirred"),
            "train_seconds": [one["train_seconds"] for one in cells["flows"]],
        }
    if "ideal" in cells:
        summary["ideal"] = {kind: partial_rates(cells["ideal"], kind) for kind in ("partial", "stirred")}
    if cells.get("paper"):
        paper = [seconds_to_rate(one["curves"]) for one in cells["paper"]]
        summary["paper_seconds_to_rate"] = paper
        summary["paper_seconds_trained"] = [one["train_seconds"] for one in cells["paper"]]
        summary["paper_best_rate"] = [best_rate(one["curves"]) for one in cells["paper"]]
        if all(ours):
            reached = [t or one["train_seconds"] for t, one in zip(paper, cells["paper"], strict=True)]
            summary["speed_ratio"] = float(np.median(reached) / np.median(np.asarray(ours)))
            summary["speed_ratio_is_lower_bound"] = not all(paper)
    return summary


def partial_rates(cells: list[dict[str, Any]], kind: str) -> dict[int, dict[str, Any]]:
    """Of each size of team: how many samples end inside, and in the true state where the team identifies it."""
    by_size = {parts[0]["participants"]: parts for parts in zip(*(one[kind] for one in cells), strict=True)}
    return {
        size: {"inside": rate_of(parts, "inside", "samples"), "identified": identified_bound(parts)}
        for size, parts in by_size.items()
    }


def rate_of(parts: Sequence[dict[str, Any]], successes: str, trials: str) -> dict[str, float]:
    """The rate over all seeds and its lower 95% bound."""
    counts = [part[successes] for part in parts], [part[trials] for part in parts]
    return {"rate": sum(counts[0]) / sum(counts[1]), "lower_bound": rate_lower_bound(*counts)}


def identified_bound(parts: Sequence[dict[str, Any]]) -> dict[str, float] | None:
    """Rate of the true state where the team identifies it; None where no team did."""
    parts = [part for part in parts if part["identified_samples"]]
    if not parts:
        return None
    return {
        **rate_of(parts, "identified_exact", "identified_samples"),
        "samples": sum(part["identified_samples"] for part in parts),
    }


def best_rate(curves: list[dict[str, float]]) -> float:
    """The highest exact rate along a learning curve."""
    return max((point["exact_rate_composite"] for point in curves if "exact_rate_composite" in point), default=0.0)
