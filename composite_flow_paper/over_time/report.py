"""What the cells come to: excess errors over the exact filter, over the seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from composite_flow.files.plain_table import PlainTable
from composite_flow.metrics import student_half_width
from composite_flow_paper.over_time.acting import Acting, OverTimeAndActing
from composite_flow_paper.over_time.battles import GROUP
from composite_flow_paper.over_time.battles_report import battles_table, summarise_battles
from composite_flow_paper.over_time.cell import WAYS
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


RETURN_TARGET = 17.8
"""Of the mean return on 3×3 sensors in the last tenth of training, with a discount of 0."""


def summarise(settings: OverTimeAndActing, results: Results) -> dict[str, Any]:
    """Of each world and filter the means over the seeds at each share of lost answers; what policies earn."""
    worlds = {}
    for world, names in settings.filters.ways.items():
        found = {name: of_group(results, f"{world}-{name}") for name in names}
        ways = {name: summarise_way(cells) for name, cells in found.items() if cells}
        if ways:
            worlds[world] = {**_fixed(next(cells for cells in found.values() if cells)), "ways": ways}
    ways = {way: of_group(results, way.group) for way in settings.acting.ways}
    earned = [{**told_of(way), **summarise_acting(cells)} for way, cells in ways.items() if cells]
    exact = of_group(results, "exact-acting")
    told: dict[str, Any] = {"exact_acting": exact[0]["returns"]} if exact else {}
    if fought := of_group(results, GROUP):
        told["battles"] = summarise_battles(fought)
    return {"worlds": worlds, "target": TARGET, "best": best(worlds), "acting": earned, **told}


def told_of(way: Acting) -> dict[str, Any]:
    """What a way to act is; what is usual is left out."""
    usual = Acting(way.chain, way.discount)
    found = {name: value for name, value in vars(way).items() if value != getattr(usual, name)}
    return {"chain": way.chain, "discount": way.discount, **found}


def summarise_acting(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean of the last tenth's returns over the seeds, with Student's 95% interval; means of what else is told."""
    last = [cell["last_tenth"] for cell in cells]
    means = {name: float(np.mean([cell[name] for cell in cells])) for name in ("return", "psnr", "messages", "seconds")}
    told = {"last_tenth": float(np.mean(last)), "interval": t_interval(last), "last_tenths": last}
    if "exact_return" in cells[0]:
        exact = float(np.mean([cell["exact_return"] for cell in cells]))
        told |= {"exact_return": exact, "share_of_exact": told["last_tenth"] / exact}
    return {**told, **means, "seeds": len(last), "target": RETURN_TARGET}


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Of the mean of independent values, at 95%; None of a single one."""
    if len(values) < 2:
        return None
    half = student_half_width(values)
    return float(np.mean(values)) - half, float(np.mean(values)) + half


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
    """A table for each world, one of what policies earn, and one of battles."""
    found = [world_table(name, world) for name, world in summary["worlds"].items()]
    found += [acting_table(summary["acting"])] if summary["acting"] else []
    return [*found, battles_table(summary["battles"])] if "battles" in summary else found


def acting_table(acting: Sequence[Mapping[str, Any]]) -> PlainTable:
    """A row for each way; where messages are lost, with the share of what exact filters of what arrives earn."""
    title = "Over time: returns on 3×3 sensors of policies that act on what is carried"
    header = ["", "last tenth of training", "95% from", "to", "after it", "exact", "messages a step", "CPU-s a run"]
    rows = []
    for found in acting:
        low, high = (f"{end:.2f}" for end in found["interval"]) if found["interval"] else ("", "")
        exact = f"{found['exact_return']:.2f} ({found['share_of_exact']:.0%})" if "exact_return" in found else ""
        numbers = (low, high, f"{found['return']:.2f}", exact, f"{found['messages']:.0f}", f"{found['seconds']:.0f}")
        rows.append((way_in_words(found), f"{found['last_tenth']:.2f}", *numbers))
    return title, header, rows


def way_in_words(found: Mapping[str, Any]) -> str:
    """Whose chain it is, and what else differs."""
    whose = "each agent's own " if found.get("inputs") == "own-belief" else ""
    lost = f", {found['lost']:.0%} lost" if "lost" in found else ""
    beside = ", learned beside the policy" if "beside" in found else ""
    return f"{whose}{WAYS[found['chain']].kind} chain{beside}, discount {found['discount']:g}{lost}"


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
