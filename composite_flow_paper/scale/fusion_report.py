"""What the cells of fusion come to: what teams say on each grid, messages by their bytes, and costs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from composite_flow.files.plain_table import PlainTable, TableValue
from composite_flow.metrics import rate_lower_bound
from composite_flow_paper.scale.fusion import FusionGrid
from composite_flow_paper.scale.message_bytes import cheapest

TEAMS = ("all", "half")
RATES = ("exact", "marginals_exact", "same_decision")
AIM = 0.99  # share of exact estimates whose bytes are told


def summarise_grid(grid: FusionGrid, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the seeds of one grid come to."""
    trials = [one["histories"] for one in found]
    seconds = ("cpu_seconds", "compile_cpu_seconds", "gigaflops_per_cpu_second")
    return {
        "rows": grid.rows,
        "targets": grid.num_targets,
        "miss": grid.miss,
        **{team: summarise_team([one[team] for one in found], trials) for team in TEAMS},
        **{name: [one[name] for one in found] for name in seconds},
        "values_sent": found[0]["values_sent"],
        "messages": mean_curve([one["messages"] for one in found]) if grid.num_sent else None,
    }


def summarise_team(parts: Sequence[Mapping[str, Any]], trials: Sequence[int]) -> dict[str, Any]:
    """Rates over all seeds with their lower bounds, and the excess over the exact marginals beside their own error."""
    rates = {}
    for name in RATES:
        counts = [part[name] for part in parts]
        rates[name] = {"rate": sum(counts) / sum(trials), "lower_bound": rate_lower_bound(counts, trials)}
    excess, own = (float(np.mean([part[name] for part in parts])) for name in ("excess", "own_error"))
    return {**rates, "excess": excess, "own_error": own, "share": excess / own if own > 0.0 else None}


def mean_curve(curves: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The curve of accuracy over bytes, averaged over seeds, its first point, and the cheapest of 99%."""
    points = [
        {name: float(np.mean([one[name] for one in same])) for name in same[0]} for same in zip(*curves, strict=True)
    ]
    return {"curve": points, "whole": points[0], "cheapest": cheapest(points, AIM)}


def fusion_tables(summary: Mapping[str, Any]) -> list[PlainTable]:
    """What teams say, messages and costs, of what is there."""
    grids = list(summary.get("fusion", {}).values())
    told = [one for one in grids if one["messages"]]
    return [
        *([teams_table(summary, grids)] if grids else []),
        *([messages_table(told)] if told else []),
        *([fusion_costs_table(summary["fusion_costs"])] if "fusion_costs" in summary else []),
    ]


def teams_table(summary: Mapping[str, Any], grids: Sequence[Mapping[str, Any]]) -> PlainTable:
    """What all sensors and half of them say, on each grid, and beside it composite diffusion."""
    title = (
        "Scale: fusion on held-out joint histories, in brackets the lower 95% bound over seeds; "
        "CPU seconds of training, compiling apart, by seed"
    )
    about = ["exact", "half lost: decides as exact marginals", "excess error", "excess error, half lost", "CPU seconds"]
    rows: list[tuple[TableValue, ...]] = [
        (
            grid_name(one),
            with_bound(one["all"]["exact"]),
            with_bound(one["half"]["same_decision"]),
            *(percent(one[team]["share"]) for team in TEAMS),
            ", ".join(f"{seconds:.0f}" for seconds in one["cpu_seconds"]),
        )
        for one in grids
    ]
    if "exact_rate" in summary:
        rate = {"rate": summary["exact_rate"], "lower_bound": summary["exact_rate_lower_bound"]}
        seconds = ", ".join(f"{seconds:,.0f}" for seconds in summary["train_seconds"]) + " (by the clock)"
        rows.append(("composite diffusion, 10 × 10, 1 target", with_bound(rate), None, None, None, seconds))
    return title, ["", *about], rows


def messages_table(grids: Sequence[Mapping[str, Any]]) -> PlainTable:
    """Bytes of all messages of an estimate: as answers are, and the fewest with 99% exact."""
    header = [
        "",
        "whole answers: bytes",
        "exact",
        "fewest: bytes",
        "exact",
        "values",
        "speakers",
        "threshold",
        "bits",
    ]
    rows = []
    for one in grids:
        whole, least = one["messages"]["whole"], one["messages"]["cheapest"] or {}
        numbers = [f"{least[name]:,.1f}" if least else None for name in ("values", "speakers")]
        rows.append(
            (
                grid_name(one),
                f"{whole['bytes']:,.0f}",
                f"{whole['exact_rate']:.1%}",
                f"{least['bytes']:,.0f}" if least else None,
                f"{least['exact_rate']:.1%}" if least else None,
                *numbers,
                f"{least['threshold']:g}" if least else None,
                f"{least['bits']:.0f}" if least else None,
            )
        )
    return "Scale: messages of an estimate by fusion, and the fewest bytes with 99% exact", header, rows


def fusion_costs_table(costs: Sequence[Mapping[str, Any]]) -> PlainTable:
    """Each grid: what an estimate and a training step of fusion take."""
    title = "Scale: costs of fusion (milliseconds; memory: peak of the process)"
    header = ["", "agents", "areas", "estimate", "memory (GB)", "training step", "memory (GB)"]
    rows = [
        (
            f"{one['rows']} × {one['rows']}",
            *(f"{one[name]:,}" for name in ("agents", "state")),
            f"{1e3 * one['estimate_seconds']:.2f}",
            f"{one['estimate_gigabytes']:.2f}",
            f"{1e3 * one['step_seconds']:.1f}",
            f"{one['step_gigabytes']:.2f}",
        )
        for one in costs
    ]
    return title, header, rows


def grid_name(one: Mapping[str, Any]) -> str:
    """What people read of a grid."""
    targets = f"{one['targets']} target{'s' if one['targets'] > 1 else ''}"
    return f"{one['rows']} × {one['rows']}, {targets}" + (f", misses of {one['miss']:g}" if one["miss"] else "")


def with_bound(rate: Mapping[str, float]) -> str:
    """A rate and its lower bound."""
    return f"{rate['rate']:.1%} ({rate['lower_bound']:.1%})"


def percent(share: float | None) -> str | None:
    """A share, where there is one."""
    return None if share is None else f"{share:.2%}"
