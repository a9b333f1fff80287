"""What Figure 4's cells come to: rates with lower bounds over the seeds, and times."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from composite_flow.files.plain_table import PlainTable, TableValue
from composite_flow.metrics import rate_lower_bound
from composite_flow_paper.figure4.cell import IDEAL_SAMPLES, STEADY, Figure4Settings, reaches_rate
from composite_flow_paper.figure4.fusion import SAMPLERS
from composite_flow_paper.shared.cells import Results, of_group

KINDS = ("partial", "stirred")
RATES = (
    ("ours, all states in training", ("exact_rate",)),
    ("ours, a tenth of the states withheld: seen ones", ("exact_rate_with_withheld_states",)),
    ("ours, a tenth of the states withheld: unseen ones", ("exact_rate_unseen_states",)),
    ("trained also where flows go", ("flows", "exact_rate")),
    ("fusion", ("fusion", "exact_rate")),
    ("fusion, all states that there are", ("fusion", "states")),
    ("fusion, a tenth of the states withheld: seen ones", ("fusion_withheld", "exact_rate")),
    ("fusion, a tenth of the states withheld: unseen ones", ("fusion_withheld", "exact_rate_unseen")),
    ("fusion, the withheld states, each once", ("fusion_withheld", "withheld_states")),
)
"""Of the first table: what people read, and the path of the number in the summary."""
TEAMS = (
    ("ours", ("partial",)),
    ("trained also where flows go", ("flows", "partial")),
    ("trained also where flows go, stirred", ("flows", "stirred")),
    ("ideal denoiser", ("ideal", "partial")),
    ("ideal denoiser, stirred", ("ideal", "stirred")),
)
"""Of the second table, likewise."""
ENDS = (("inside", "in a state that all members allow"), ("identified", "in the true one, where they allow no other"))

COSTS = ("cpu_seconds", "compile_cpu_seconds", "gigaflops_per_cpu_second")
SCORES = ("inside", "total_variation", "floor")


def seconds_to_rate(curves: list[dict[str, float]], in_a_row: int = 1) -> float | None:
    """Training seconds, evaluation aside, at the first of so many points in a row with 99% exact samples."""
    rated = [point for point in curves if "exact_rate_composite" in point]
    for first in range(len(rated) - in_a_row + 1):
        if all(map(reaches_rate, rated[first : first + in_a_row])):
            return rated[first]["seconds"]
    return None


def summarise(settings: Figure4Settings, results: Results) -> dict[str, Any]:
    """Rates with lower 95% bounds over the seeds, and times, of the runs that are there."""
    cells = {name: of_group(results, name) for name in results}
    summary: dict[str, Any] = {}
    if "ours" in cells:
        summary["exact_rate"] = seen_rate(cells["ours"])
        summary["partial"] = partial_rates(cells["ours"], "partial", settings.num_samples)
        summary["train_seconds"] = [one["train_seconds"] for one in cells["ours"]]
        summary["seconds_to_rate"] = [seconds_to_rate(one["curves"]) for one in cells["ours"]]
    if "withheld" in cells:
        unseen = [one["unseen"] for one in cells["withheld"] if one["unseen"]]
        summary["exact_rate_with_withheld_states"] = seen_rate(cells["withheld"])
        summary["exact_rate_unseen_states"] = rate_of(unseen, "exact", "samples", settings.num_samples)
    if "flows" in cells:
        summary["flows"] = {
            "exact_rate": seen_rate(cells["flows"]),
            "partial": partial_rates(cells["flows"], "partial", settings.num_samples),
            "stirred": partial_rates(cells["flows"], "stirred", settings.num_samples // 2),
            "train_seconds": [one["train_seconds"] for one in cells["flows"]],
        }
    if "ideal" in cells:
        summary["ideal"] = {kind: partial_rates(cells["ideal"], kind, IDEAL_SAMPLES) for kind in KINDS}
    fusion = {name: summarise_fusion(cells[name]) for name in ("fusion", "fusion_withheld") if name in cells}
    samples = {"fusion_samples": summarise_samples(cells["fusion_samples"])} if "fusion_samples" in cells else {}
    times = times_beside_ours(cells) if {"paper", "paper_steady"} & cells.keys() else {}
    return {**summary, **fusion, **samples, **times}


def summarise_fusion(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rates of what the team says together, and what training took."""
    withheld = [one["withheld_states"] for one in cells if one["withheld_states"]]
    unseen = [one["unseen"] for one in cells if one["unseen"]]
    return {
        "exact_rate": rate_of([one["seen"] for one in cells], "exact", "histories"),
        "exact_rate_unseen": rate_of(unseen, "exact", "histories"),
        "states": rate_of([one["states"] for one in cells], "exact", "states"),
        "withheld_states": rate_of(withheld, "exact", "states"),
        "num_withheld_states": [one["states"] for one in withheld],
        "calls": cells[0]["calls"],
        **{name: [one[name] for one in cells] for name in COSTS},
    }


def summarise_samples(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How near samples of the team denoiser come to the exact posterior, by sampler and size of team."""
    found: dict[str, Any] = {}
    for sampler in SAMPLERS:
        by_size = {parts[0]["participants"]: parts for parts in zip(*(one[sampler] for one in cells), strict=True)}
        found[sampler] = {
            size: {name: float(np.mean([part[name] for part in parts])) for name in (*SCORES, "calls")}
            for size, parts in by_size.items()
        }
        for one in found[sampler].values():
            one["above_floor"] = one["total_variation"] - one["floor"]
    return {**found, **{name: [one[name] for one in cells] for name in COSTS}}


def times_beside_ours(cells: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """How long the paper's recipe takes, and by how many times longer than ours, if all of ours reach the rate.

    The rate counts where five evaluations in a row reach it; where the first is, until such cells are there.
    """
    steady = cells.get("paper_steady", [])
    paper, in_a_row = (steady, STEADY) if steady else (cells["paper"], 1)
    ours = [seconds_to_rate(one["curves"], in_a_row) for one in cells.get("ours", [])]
    times = [seconds_to_rate(one["curves"], in_a_row) for one in paper]
    found = {
        "paper_in_a_row": in_a_row,
        "paper_seconds_to_rate": times,
        "paper_seconds_trained": [one["train_seconds"] for one in paper],
        "paper_best_rate": [best_rate(one["curves"]) for one in paper],
    }
    if ours and all(ours):
        reached = [t or one["train_seconds"] for t, one in zip(times, paper, strict=True)]
        found["speed_ratio"] = float(np.median(reached) / np.median(np.asarray(ours)))
        found["speed_ratio_is_lower_bound"] = not all(times)
        found["step_cost_ratio"] = seconds_per_step(paper) / seconds_per_step(cells["ours"])
    return found


def seconds_per_step(cells: Sequence[Mapping[str, Any]]) -> float:
    """The median over the runs, without a curve's first stretch, in which programs are compiled."""
    ends = [(one["curves"][0], one["curves"][-1]) for one in cells]
    return float(np.median([(b["seconds"] - a["seconds"]) / max(b["step"] - a["step"], 1) for a, b in ends]))


def seen_rate(cells: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """Of the samples on held-out episodes in states seen in training."""
    seen = [one["seen"] for one in cells]
    return rate_of(seen, "exact", "samples", seen[0]["samples"] // seen[0]["histories"])


def partial_rates(cells: list[dict[str, Any]], kind: str, samples: int) -> dict[int, dict[str, Any]]:
    """Of each size of team: how many samples end inside, and in the true state where the team identifies it.

    Args:
        cells: of all seeds.
        kind: of the flows, one of `KINDS`.
        samples: of each joint history.
    """
    by_size = {parts[0]["participants"]: parts for parts in zip(*(one[kind] for one in cells), strict=True)}
    return {
        size: {"inside": rate_of(parts, "inside", "samples", samples), "identified": identified_bound(parts, samples)}
        for size, parts in by_size.items()
    }


def rate_of(parts: Sequence[dict[str, Any]], successes: str, trials: str, samples: int = 1) -> dict[str, float] | None:
    """The rate over all seeds and its lower 95% bound, which counts joint histories; None where nothing was tried.

    Args:
        parts: counts of each seed.
        successes, trials: their names.
        samples: of each joint history, which depend on each other.
    """
    if not parts:
        return None
    counts = [part[successes] for part in parts], [part[trials] for part in parts]
    histories = [number // samples for number in counts[1]]
    return {"rate": sum(counts[0]) / sum(counts[1]), "lower_bound": rate_lower_bound(*counts, groups=histories)}


def identified_bound(parts: Sequence[dict[str, Any]], samples: int) -> dict[str, float] | None:
    """Rate of the true state where the team identifies it; None where no team did."""
    parts = [part for part in parts if part["identified_samples"]]
    rate = rate_of(parts, "identified_exact", "identified_samples", samples)
    return rate and {**rate, "samples": sum(part["identified_samples"] for part in parts)}


def best_rate(curves: list[dict[str, float]]) -> float:
    """The highest exact rate along a learning curve."""
    return max((point["exact_rate_composite"] for point in curves if "exact_rate_composite" in point), default=0.0)


def tables(summary: Mapping[str, Any]) -> Sequence[PlainTable]:
    """Rates of the whole team, of partial teams by their size, and the times of training."""
    whole = (
        "Figure 4: samples of composite diffusion, and estimates of fusion, that are the true state, in brackets the "
        "lower 95% bound over seeds"
    )
    rows = [(words, with_bound(at_path(summary, path))) for words, path in RATES]
    sizes = list(dict.fromkeys(size for _, path in TEAMS for size in at_path(summary, path) or {}))
    partial = [
        (f"{words}: {what}", *(with_bound((found.get(size) or {}).get(kind)) for size in sizes))
        for words, path in TEAMS
        if (found := at_path(summary, path))
        for kind, what in (
            ("inside", "in a state that all members allow"),
            ("identified", "the true state, if certain"),
        )
    ]
    about = "Figure 4: where flows of random teams end, by the number of agents; in brackets the lower 95% bound"
    return [
        (whole, ["", "exact"], [row for row in rows if row[1] is not None]),
        *([(about, ["", *sizes], partial)] if partial else []),
        *(samples_table(summary["fusion_samples"]) if "fusion_samples" in summary else []),
        *times_table(summary),
        *costs_table(summary),
    ]


def samples_table(found: Mapping[str, Any]) -> list[PlainTable]:
    """Samples of the team denoiser, by sampler and size of team."""
    sizes = list(found[next(iter(SAMPLERS))])
    rows: list[tuple[TableValue, ...]] = []
    for sampler in SAMPLERS:
        by_size = [found[sampler][size] for size in sizes]
        rows.append(
            (f"{sampler}, {by_size[0]['calls']:.0f} calls: inside", *(f"{one['inside']:.3f}" for one in by_size))
        )
        rows.append((f"{sampler}: total variation", *(f"{one['total_variation']:.3f}" for one in by_size)))
    floor = [found[next(iter(SAMPLERS))][size]["floor"] for size in sizes]
    rows.append(("as many exact samples: total variation", *(f"{value:.3f}" for value in floor)))
    title = "Figure 4: joint samples of random teams by the team denoiser, by the number of agents"
    return [(title, ["", *sizes], rows)]


def costs_table(summary: Mapping[str, Any]) -> list[PlainTable]:
    """CPU seconds of training fusion, and the machine's own speed."""
    names = (
        ("fusion", "fusion"),
        ("fusion, a tenth of the states withheld", "fusion_withheld"),
        ("fusion with the team denoiser", "fusion_samples"),
    )
    rows = [
        (words, *(listed(summary[name][cost]) for cost in COSTS[:2]), f"{max(summary[name][COSTS[2]]):.0f}")
        for words, name in names
        if name in summary
    ]
    title = "Figure 4: CPU seconds of fusion's training, a number for each seed"
    return (
        [(title, ["", "training", "compiling, where not done before", "matrix products (GFLOP/CPU s)"], rows)]
        if rows
        else []
    )


def times_table(summary: Mapping[str, Any]) -> list[PlainTable]:
    """Seconds of training, evaluation aside, to 99% exact samples; of ours and of the paper's recipe."""
    rows: list[tuple[TableValue, ...]] = []
    if "seconds_to_rate" in summary:
        rows.append(("ours", listed(summary["seconds_to_rate"]), listed(summary["train_seconds"]), None))
    if "paper_seconds_to_rate" in summary:
        best = ", ".join(f"{rate:.1%}" for rate in summary["paper_best_rate"])
        reached, trained = summary["paper_seconds_to_rate"], summary["paper_seconds_trained"]
        rows.append(("the paper's recipe", listed(reached), listed(trained), best))
    if not rows:
        return []
    title = "Figure 4: seconds of training, a number for each seed; – where 99% are never exact"
    if (ratio := summary.get("speed_ratio")) is not None:
        least = "at least " if summary["speed_ratio_is_lower_bound"] else ""
        title += f"\nThe paper's recipe takes {least}{ratio:.1f} times as long as ours."
    return [(title, ["", "to 99% exact samples", "in all", "best rate"], rows)]


def at_path(summary: Mapping[str, Any], path: Sequence[str]) -> Any:
    """The value at the end of the path; None where there is none."""
    found: Any = summary
    for name in path:
        found = (found or {}).get(name)
    return found


def with_bound(rate: Mapping[str, float] | None) -> str | None:
    """A rate and its lower bound."""
    return None if rate is None else f"{rate['rate']:.2%} ({rate['lower_bound']:.2%})"


def listed(seconds: Sequence[float | None]) -> str:
    """A number for each seed."""
    return ", ".join("–" if value is None else f"{value:.0f}" for value in seconds)
