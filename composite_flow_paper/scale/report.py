"""What the scale experiment's cells come to: rates with their bounds, how costs grow, and tables of both.

Fusion's are in `fusion_report.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from composite_flow.files.plain_table import PlainTable
from composite_flow.metrics import rate_lower_bound
from composite_flow_paper.scale.cell import ScaleSettings
from composite_flow_paper.scale.fusion_report import fusion_tables, summarise_grid
from composite_flow_paper.shared.cells import Results, of_group

TRAINED = "trained"


def cost_group(rows: int) -> str:
    """The cell of a grid's cost."""
    return f"cost-{rows}"


def fusion_cost_group(rows: int) -> str:
    """The cell of what fusion costs on a grid."""
    return f"fusion-cost-{rows}"


def costs_of(settings: ScaleSettings, results: Results) -> list[dict[str, Any]]:
    """The costs that are there, from the smallest grid to the largest."""
    return [one for rows in settings.cost_rows for one in of_group(results, cost_group(rows))]


def summarise(settings: ScaleSettings, results: Results) -> dict[str, Any]:
    """The rates with their bounds over the seeds, and how the cost of a call grows beside the network's inputs."""
    costs, trained = costs_of(settings, results), of_group(results, TRAINED)
    return {
        **(summarise_trained(trained) if trained else {}),
        **(summarise_costs(costs) if costs else {}),
        **summarise_fusion(settings, results),
    }


def summarise_fusion(settings: ScaleSettings, results: Results) -> dict[str, Any]:
    """What fusion reaches on each grid, and what it costs, of the cells that are there."""
    grids = {grid.group: (grid, of_group(results, grid.group)) for grid in settings.fusion}
    reached = {name: summarise_grid(grid, found) for name, (grid, found) in grids.items() if found}
    costs = [one for rows, _ in settings.fusion_costs for one in of_group(results, fusion_cost_group(rows))]
    return {**({"fusion": reached} if reached else {}), **({"fusion_costs": costs} if costs else {})}


def summarise_trained(trained: list[dict[str, Any]]) -> dict[str, Any]:
    """What the trained grid reaches, over the seeds."""
    return {
        **summed_rate(trained, trained),
        "stirred": summed_rate([one["stirred"] for one in trained], trained),
        "exact_rates": [one["exact_rate_composite"] for one in trained],
        "train_seconds": [one["train_seconds"] for one in trained],
        "checks": [check for one in trained for check in one["checks"]],
    }


def summarise_costs(costs: list[dict[str, Any]]) -> dict[str, Any]:
    """How costs grow from the smallest grid to the largest."""
    first, last = costs[0], costs[-1]
    return {
        "costs": costs,
        "growth_of_inputs": last["inputs"] / first["inputs"],
        "growth_of_seconds_per_call": last["seconds_per_call"] / first["seconds_per_call"],
        "peak_gigabytes": max(one["peak_gigabytes"] for one in costs),
    }


def summed_rate(qualities: list[dict[str, Any]], trained: list[dict[str, Any]]) -> dict[str, float]:
    """The exact-state rate over all seeds, one sample a joint history, with its lower 95% bound, and the mean PSNR."""
    trials = [one["histories"] for one in trained]
    exact = [round(one["exact_rate_composite"] * count) for one, count in zip(qualities, trials, strict=True)]
    return {
        "exact_rate": sum(exact) / sum(trials),
        "exact_rate_lower_bound": rate_lower_bound(exact, trials),
        "psnr_composite": sum(one["psnr_composite"] for one in qualities) / len(qualities),
    }


def tables(summary: Mapping[str, Any]) -> Sequence[PlainTable]:
    """What is reached and what checks say, where a grid was trained; and the costs, where some were measured."""
    trained = [rates_table(summary), checks_table(summary["checks"])] if "checks" in summary else []
    return [*trained, *([costs_table(summary)] if "costs" in summary else []), *fusion_tables(summary)]


def rates_table(summary: Mapping[str, Any]) -> PlainTable:
    """Composite diffusion of the trained grid, as it is and stirred."""
    seeds = ", ".join(f"{seconds:.0f}" for seconds in summary["train_seconds"])
    title = (
        f"Scale: composite diffusion on held-out episodes, one sample for each; seconds of training by seed: {seeds}"
    )
    rows = [
        (name, f"{part['exact_rate']:.1%}", f"{part['exact_rate_lower_bound']:.1%}", f"{part['psnr_composite']:.1f}")
        for name, part in (("as it is", summary), ("stirred", summary["stirred"]))
    ]
    return title, ["", "exact samples", "lower 95% bound", "PSNR (dB)"], rows


def checks_table(checks: Sequence[Mapping[str, Any]]) -> PlainTable:
    """Some samples, each certified by products with vectors alone."""
    title = "Scale: certificates of single samples, without dense Jacobians"
    header = ["", "accepted", "exact", "spectral radius", "of the whole sweep", "distance", "seconds"]
    rows = [
        (
            f"sample {place + 1}",
            "yes" if check["accepted"] else "no",
            "yes" if check["exact"] else "no",
            *(f"{check[name]:.3f}" for name in ("largest_radius", "composite_radius", "largest_distance")),
            f"{check['seconds']:.0f}",
        )
        for place, check in enumerate(checks)
    ]
    return title, header, rows


def costs_table(summary: Mapping[str, Any]) -> PlainTable:
    """Each grid: its sizes and what a training step, a sweep and a call take."""
    title = (
        f"Scale: costs; inputs grow {summary['growth_of_inputs']:.1f} times, a call "
        f"{summary['growth_of_seconds_per_call']:.1f} times (milliseconds; memory: peak of the process)"
    )
    header = ["", "agents", "areas", "inputs", "training step", "sweep", "call", "memory (GB)"]
    rows = [
        (
            f"{one['rows']} × {one['rows']}",
            *(f"{one[name]:,}" for name in ("agents", "state", "inputs")),
            *(f"{1e3 * one[name]:,.1f}" for name in ("step_seconds", "sweep_seconds")),
            f"{1e3 * one['seconds_per_call']:.3f}",
            f"{one['peak_gigabytes']:.2f}",
        )
        for one in summary["costs"]
    ]
    return title, header, rows
