"""What Figure 2's cells come to: numbers over the seeds, and tables of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from composite_flow.files.plain_table import PlainTable, TableValue, text
from composite_flow_paper.figure2.cell import Figure2Settings
from composite_flow_paper.shared.cells import Results, of_group

TITLES = {"kept": "all states", "withheld": "a tenth withheld", "battles": "battles"}


def summarise(settings: Figure2Settings, results: Results) -> dict[str, Any]:
    """Each number over the seeds: its mean, smallest and largest; and what is told of the battles' episodes."""
    found = {name: summarise_seeds(of_group(results, name)) for name in results}
    if "battles" in found:
        found["battles"]["world"] = of_group(results, "battles")[0]["world"]
    return found


def summarise_seeds(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Deviations, correlations by threshold, the bounds by ε, conformal coverage, Theorem 7 and 8's rates."""
    correlations = {
        columns: {
            measure: over_seeds([part["ranks"][columns]["measures"][measure]["correlation"]["value"] for part in parts])
            for measure in parts[0]["ranks"][columns]["measures"]
        }
        for columns in parts[0]["ranks"]
    }
    bounds = []
    for column, first in enumerate(parts[0]["surrogate"]["epsilons"]):
        rows = [part["surrogate"]["epsilons"][column] for part in parts]
        bounds.append(
            {"quantile": first["quantile"], "epsilon": over_seeds([row["epsilon"] for row in rows])}
            | {
                f"{kind}_{measure}": over_seeds([row[kind][measure] for row in rows])
                for kind in ("residual", "root")
                for measure in ("share", "ratio_median")
            }
        )
    return {
        "exact_rate_composite": over_seeds([part["exact_rate_composite"] for part in parts]),
        "pairs": [part["pairs"]["pairs"] for part in parts],
        "stable": [part["pairs"]["stable"] for part in parts],
        "median_deviation": over_seeds([part["pairs"]["deviation"]["median"] for part in parts]),
        "largest_deviation": over_seeds([part["pairs"]["deviation"]["max"] for part in parts]),
        "rank_correlation": correlations,
        "bounds": bounds,
        "shift_relative_error": over_seeds([part["shifts"]["relative_error"]["median"] for part in parts]),
        "conformal": {
            kind: {
                level: {
                    name: over_seeds([part["conformal"][kind]["levels"][level].get(name) for part in parts])
                    for name in ("radius", "coverage", "p_value")
                }
                for level in parts[0]["conformal"][kind]["levels"]
            }
            for kind in parts[0]["conformal"]
        },
        "unseen_states": [part["unseen_states"] for part in parts],
        "analysis_seconds": [sum(part["stage_seconds"].values()) for part in parts],
        "pairs_seconds": [next(iter(part["stage_seconds"].values())) for part in parts],
        "train_seconds": [part["train_seconds"] for part in parts],
    }


def over_seeds(values: list[float | None]) -> dict[str, float] | None:
    """Mean, smallest and largest; None where a seed has none."""
    if any(value is None for value in values):
        return None
    numbers = np.asarray(values, np.float64)
    return {"mean": float(numbers.mean()), "low": float(numbers.min()), "high": float(numbers.max())}


def tables(summary: Mapping[str, Any]) -> Sequence[PlainTable]:
    """A column for each kind of run: fixed points and ranks; and for each, its bounds over ε."""
    titles = ["", *(TITLES[name] for name in summary)]
    title = "Figure 2: fixed points of pairs of a history and a state; means over seeds (smallest to largest)"
    columns = [dict(pair_rows(part)) for part in summary.values()]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [(name, *(column.get(name) for column in columns)) for name in names]
    return [(title, titles, rows), *(bounds_table(TITLES[name], part) for name, part in summary.items())]


def pair_rows(part: Mapping[str, Any]) -> list[tuple[str, TableValue]]:
    """What is told of all pairs of one kind of run."""
    shares: list[float | None] = [one / all_ for one, all_ in zip(part["stable"], part["pairs"], strict=True)]
    rows: list[tuple[str, TableValue]] = [
        ("pairs", " and ".join(f"{count:,}" for count in dict.fromkeys(part["pairs"]))),
        ("stable", spanned(over_seeds(shares))),
        ("deviation, median", spanned(part["median_deviation"])),
        ("deviation, largest", spanned(part["largest_deviation"])),
        ("relative error of the predicted shift, median", spanned(part["shift_relative_error"])),
        ("samples of composite diffusion exact", spanned(part["exact_rate_composite"])),
    ]
    for columns, measures in part["rank_correlation"].items():
        for measure, value in measures.items():
            rank = "effective rank" if measure == "effective" else f"rank at {measure}"
            rows.append((f"correlation of deviation and {rank}, {columns.replace('_', ' ')}", spanned(value)))
    for kind, levels in part["conformal"].items():
        for level, values in levels.items():
            name = f"conformal radius, {kind}, {float(level):.0%}"
            rows.append((name, spanned(values["radius"])))
            if values["coverage"] is not None:
                rows.append((f"{name}: share of other episodes covered", spanned(values["coverage"])))
    return rows


def bounds_table(title: str, part: Mapping[str, Any]) -> PlainTable:
    """The surrogate's residual and its root as bounds of the deviations, for each share of the pairs within ε."""
    head = ("pairs within ε", "ε", "√R̂ covers", "√R̂ over deviation", "R̂ covers", "R̂ over deviation")
    names = ("epsilon", "root_share", "root_ratio_median", "residual_share", "residual_ratio_median")
    rows = [(f"{row['quantile']:.0%}", *(spanned(row[name]) for name in names)) for row in part["bounds"]]
    return f"Residuals of the surrogate regression as bounds (ratios: medians): {title}", head, rows


def spanned(value: Mapping[str, float] | None) -> str | None:
    """A mean, and where they differ the smallest and the largest, in words."""
    if value is None:
        return None
    ends = text(value["low"]), text(value["high"])
    return text(value["mean"]) if ends[0] == ends[1] else f"{text(value['mean'])} ({ends[0]} to {ends[1]})"
