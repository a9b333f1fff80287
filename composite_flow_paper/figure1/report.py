"""What Figure 1's cells come to: its claims over all histories and seeds, and tables of them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from composite_flow.files.plain_table import PlainTable, TableValue
from composite_flow_paper.figure1.cell import MISS, Figure1Settings
from composite_flow_paper.shared.cells import Results, of_group

TITLES = {"observable": "collectively observable", "unobservable": "not collectively observable"}
ROWS = (
    ("local histories", "num_histories", "d"),
    ("fixed points are the states that the history allows", "fixed_points_are_consistent_states", ".1%"),
    ("largest distance of a fixed point and its state", "largest_distance_to_state", ".4f"),
    ("largest spectral radius at a fixed point", "largest_radius", ".3f"),
    ("joint histories", "num_joint_histories", "d"),
    ("shared fixed points are the states that it allows", "shared_fixed_points_are_possible_states", ".1%"),
    ("candidates of composite diffusion are these states", "composite_candidates_are_possible_states", ".1%"),
    ("basins, total variation: learned to ideal, largest", "largest_distance_learned_to_ideal", ".3f"),
    ("basins, total variation: learned to posterior, largest", "largest_distance_learned_to_posterior", ".3f"),
    ("basins, total variation: ideal to posterior, largest", "largest_distance_ideal_to_posterior", ".3f"),
)
"""Of the first table: what people read, the number's name in the summary, and its form."""


def summarise(settings: Figure1Settings, results: Results) -> dict[str, Any]:
    """The claims of the figure for each network that is there."""
    return {case: summarise_network(settings, of_group(results, case)) for case in MISS if case in results}


def summarise_network(settings: Figure1Settings, cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The claims of the figure, over all histories and seeds."""
    histories = [history for one in cells for history in one["histories"]]
    joint = [history for one in cells for history in one["joint_histories"]]
    by_scale = {name: np.mean([one["by_scale"][name] for one in cells], axis=0) for name in ("learned", "ideal")}
    return {
        "num_histories": len(histories),
        "fixed_points_are_consistent_states": float(np.mean([history["is_consistent_set"] for history in histories])),
        "largest_distance_to_state": max(
            math.inf if history["largest_distance"] is None else history["largest_distance"] for history in histories
        ),
        "largest_radius": max((radius for history in histories for radius in history["radii"]), default=None),
        "num_joint_histories": len(joint),
        "shared_fixed_points_are_possible_states": float(np.mean([one["shared_are_possible"] for one in joint])),
        "composite_candidates_are_possible_states": float(np.mean([one["candidates_are_possible"] for one in joint])),
        "largest_distance_learned_to_ideal": max(history["learned_to_ideal"] for history in histories),
        "largest_distance_learned_to_posterior": max(history["learned_to_posterior"] for history in histories),
        "largest_distance_ideal_to_posterior": max(history["ideal_to_posterior"] for history in histories),
        "mean_distance_to_posterior_by_scale": {name: list(values) for name, values in by_scale.items()},
        "scales": settings.scales,
        "nearest_scale": {name: settings.scales[int(np.argmin(values))] for name, values in by_scale.items()},
    }


def tables(summary: Mapping[str, Any]) -> Sequence[PlainTable]:
    """The claims, a column for each network; and how far basins are from the posterior for each scale of the noise."""
    title = (
        "Figure 1: fixed points and states of four sensors\nDistances in units of the state, whose features are 0 or 1."
    )
    rows = [(words, *(formatted(part[name], form) for part in summary.values())) for words, name, form in ROWS]
    claims = title, ["", *(TITLES[case] for case in summary)], rows
    return [claims, *(scale_table(TITLES[case], part) for case, part in summary.items())]


def scale_table(title: str, part: Mapping[str, Any]) -> PlainTable:
    """Of one network: which scale of the initial noise makes basin masses most like posterior probabilities."""
    about = f"Mean total variation of basin masses and posterior by the initial noise's standard deviation: {title}"
    distances = part["mean_distance_to_posterior_by_scale"]
    rows = [
        (f"{name} denoiser", *(f"{value:.3f}" for value in values), f"{part['nearest_scale'][name]:g}")
        for name, values in distances.items()
    ]
    return about, ["", *(f"{scale:g}" for scale in part["scales"]), "least at"], rows


def formatted(value: float | None, form: str) -> TableValue:
    """A number in this form; None where it is unknown or infinite."""
    return None if value is None else format(value, form)
