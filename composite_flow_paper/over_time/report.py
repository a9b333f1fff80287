"""What the cells come to: excess errors over the exact filter, over the seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from composite_flow.files.plain_table import PlainTable
from composite_flow_paper.over_time.cell import OverTimeSettings
from composite_flow_paper.shared.cells import Results, of_group

TARGET = 0.004
"""Of the excess squared error a feature on 3×3 sensors, with all answers heard."""
NAMES = {
    "residual": "residual chain",
    "gated": "gated chain",
    "product": "product",
    "residual_lost": "residual chain, trained with losses",
    "product_lost": "product, trained with losses",
}
WORLDS = {"3x3": "3×3 sensors", "5x5": "5×5 sensors"}


def summarise(settings: OverTimeSettings, results: Results) -> dict[str, Any]:
    """Of each world and filter the means over the seeds at each share of lost answers."""
    worlds = {}
    for world, names in settings.ways.items():
        found = {name: of_group(results, f"{world}-{name}") for name in names}
        ways = {name: summarise_way(cells) for name, cells in found.items() if cells}
        if ways:
            worlds[world] = {**_fixed(next(cells for cells in found.values() if cells)), "ways": ways}
    return {"worlds": worlds, "target": TARGET, "best": best(worlds)}


def _fixed(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: cells[0][name] for name in ("agents", "states")}


def summarise_way(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the seeds, and the excess of each seed."""
    losses = [[cell["losses"][place] for cell in cells] for place in range(len(cells[0]["losses"]))]
    numbers = ("error", "excess", "exact_error", "fusion_error", "fusion_excess")
    return {
        "losses": [
            {
                "lost": each[0]["lost"],
                **{name: float(np.mean([one[name] for one in each])) for name in numbers},
                "excess_of_seeds": [one["excess"] for one in each],
            }
            for each in losses
        ],
        "message_bytes": cells[0]["message_bytes"],
        "filter_seconds": [cell["filter_seconds"] for cell in cells],
        "seeds": len(cells),
    }


def best(worlds: Mapping[str, Any]) -> dict[str, Any] | None:
    """On 3×3 sensors the filter of the least excess with all answers heard, and whether that reaches the target."""
    if "3x3" not in worlds:
        return None
    ways = worlds["3x3"]["ways"]
    name = min(ways, key=lambda way: ways[way]["losses"][0]["excess"])
    excess = ways[name]["losses"][0]["excess"]
    return {"name": NAMES[name], "excess": excess, "reached": excess <= TARGET}


def tables(summary: Mapping[str, Any]) -> Sequence[PlainTable]:
    """A table for each world."""
    return [world_table(name, world) for name, world in summary["worlds"].items()]


def world_table(name: str, world: Mapping[str, Any]) -> PlainTable:
    """A row for each filter: its excess at each share of lost answers; then what stands beside it."""
    title = (
        f"Over time: {WORLDS[name]}, excess squared error a feature over the exact filter, mean (largest over seeds)"
    )
    shares = [each["lost"] for each in next(iter(world["ways"].values()))["losses"]]
    header = ["", *(f"{share:.0%} lost" for share in shares), "bytes a message", "training (s)"]
    rows = []
    for way, found in world["ways"].items():
        excess = [f"{each['excess']:.4f} ({max(each['excess_of_seeds']):.4f})" for each in found["losses"]]
        rows.append((NAMES[way], *excess, str(found["message_bytes"]), f"{max(found['filter_seconds']):.0f}"))
    all_losses = [[way["losses"][place] for way in world["ways"].values()] for place in range(len(shares))]
    for words, number in (("fusion of one step", "fusion_excess"), ("error of the exact filter itself", "exact_error")):
        means = [f"{np.mean([each[number] for each in losses]):.4f}" for losses in all_losses]
        rows.append((words, *means, "", ""))
    return title, header, rows
