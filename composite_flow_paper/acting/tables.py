"""What each way earns in each world, and the comparisons that count, in tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from composite_flow.files.plain_table import PlainTable
from composite_flow_paper.acting.report import LEVEL
from composite_flow_paper.figure5.report import signed
from composite_flow_paper.figure5.tables import MEASURES, curve_title, number_or_none, within


def tables(summary: Mapping[str, Any]) -> Sequence[PlainTable]:
    """Title, header and rows of each table."""
    reached = [_reached(name, world) for name, world in summary["worlds"].items() if world["curves"]]
    return [*reached, _compared(summary["comparisons"])]


def _reached(name: str, world: Mapping[str, Any]) -> PlainTable:
    measure = MEASURES[world["measure"]]
    title = (
        f"{name} ({world['problem']}, discount {world['discount']:g}): {measure} after training\n"
        "In brackets: the 95% interval of the mean over seeds and episodes."
    )
    header = ["", "seeds", "weights", measure, "PSNR", "messages", "bytes", "steps/s"]
    rows = [
        [
            curve_title(way), part["seeds"], f"{part['weights']:,}", within(part["final"]),
            number_or_none(part["final_psnr"], ".1f"), number_or_none(part["messages"] or None, "g"),
            number_or_none(part["message_bytes"] or None, ",g"), f"{part['steps_per_second']:,.0f}",
        ]
        for way, part in world["curves"].items()
    ]  # fmt: skip
    return title, header, rows


def _compared(comparisons: Sequence[Mapping[str, Any]]) -> PlainTable:
    title = (
        "Comparisons that were named before any cell was computed, at the end of training\n"
        f"Welch's test on the means of seeds; p-values are adjusted for {len(comparisons)} comparisons by Holm's rule, "
        f"and decided below {LEVEL}."
    )
    rows = [
        [
            one["world"], f"{one['first']} ≥ {one['second']}", *(
                (signed(one), f"{one['p_value']:.2g}", f"{one['adjusted']:.2g}")
                if one["p_value"] is not None
                else (None, None, None)
            ), one["verdict"],
        ]
        for one in comparisons
    ]  # fmt: skip
    return title, ["world", "claim", "difference", "p", "adjusted", "corrected"], rows
