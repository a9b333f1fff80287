"""What the cells come to: what each way earns in each world, and whether the comparisons that count are decided."""

from collections.abc import Mapping, Sequence
from typing import Any

from composite_flow_paper.acting.settings import Comparison, WaysSettings
from composite_flow_paper.figure5.report import compared, curve_summary
from composite_flow_paper.figure5.team import Panel, group_of
from composite_flow_paper.shared.cells import Results, of_group
from composite_flow_paper.shared.interquartile import holm

LEVEL = 0.05
"""Probability of any wrong verdict among the comparisons."""
_UNKNOWN = {"difference": None, "interval": None, "p_value": None, "adjusted": None, "verdict": "not measured"}


def summarise(settings: WaysSettings, results: Results) -> dict[str, Any]:
    """Everything that tables and pictures show, of the cells that are there."""
    cells = {
        world.panel.name: {way: of_group(results, group_of(world.panel.name, way)) for way in world.ways}
        for world in settings.worlds
    }
    return {
        "cells": {
            "done": sum(len(parts) for ways in cells.values() for parts in ways.values()),
            "planned": sum(world.num_seeds * len(world.ways) for world in settings.worlds),
        },
        "worlds": {world.panel.name: _world(world.panel, cells[world.panel.name]) for world in settings.worlds},
        "comparisons": decided(settings.comparisons, cells),
    }


def _world(world: Panel, here: Mapping[str, list[Any]]) -> dict[str, Any]:
    found = {way: parts for way, parts in here.items() if parts}
    return {
        "problem": world.problem,
        "discount": world.policy.discount,
        "measure": next((parts[0]["measure"] for parts in found.values()), None),
        "curves": {way: curve_summary(parts) for way, parts in found.items()},
    }


def decided(comparisons: Sequence[Comparison], cells: Mapping[str, Mapping[str, list[Any]]]) -> list[dict[str, Any]]:
    """Each comparison at the end of training, by Welch's test on the means of seeds.

    The p-values are adjusted for as many comparisons as were named (Holm), those that have no cells yet included.
    """
    named = [{"world": one.world, "first": one.first, "second": one.second} for one in comparisons]
    found = [compared(cells[one.world], one.first, one.second) for one in comparisons]
    parts = [{} if one is None or one["final"]["p_value"] is None else one["final"] for one in found]
    adjusted = holm([part.get("p_value", 1.0) for part in parts])
    return [
        {**name, **_UNKNOWN, **part, **(_verdict(part, value) if part else {})}
        for name, part, value in zip(named, parts, adjusted, strict=True)
    ]


def _verdict(part: Mapping[str, Any], adjusted: float) -> dict[str, Any]:
    return {"adjusted": adjusted, "verdict": part["verdict"] if adjusted < LEVEL else "undecided"}
