"""What the cells come to: total variation of each way above exact sampling, over the seeds, and a table of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from composite_flow.files.plain_table import PlainTable
from composite_flow_paper.jointly.cell import JointlySettings
from composite_flow_paper.shared.cells import Results, of_group

TARGET = 0.05
WORLDS = {"xor": "XOR", "parity": "parity of three", "sum": "sum modulo 4", "partly": "partly told"}
WAYS = {
    "team_denoiser": "team denoiser",
    "without_one_agent": "without one agent",
    "no_free_numbers": "no free numbers",
    "summed_answers": "summed answers",
    "composite": "composite diffusion",
}


def summarise(settings: JointlySettings, results: Results) -> dict[str, Any]:
    """Of each world its sizes, chance, and each way's total variation above that of exact samples, over the seeds."""
    found = {name: of_group(results, name) for name in settings.problems}
    worlds = {name: summarise_world(cells) for name, cells in found.items() if cells}
    largest = max(max(world["ways"]["team_denoiser"]["above"]) for world in worlds.values())
    return {"worlds": worlds, "largest_above": largest, "reached": largest <= TARGET}


def summarise_world(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the seeds; `above` of each way for each seed."""
    ways = {name: [cell["ways"][name] for cell in cells] for name in WAYS}
    return {
        **{name: cells[0][name] for name in ("agents", "states", "states_allowed")},
        "chance": float(np.mean([cell["chance"] for cell in cells])),
        "seconds": [cell["seconds"] for cell in cells],
        "ways": {name: summarise_way(each) for name, each in ways.items()},
    }


def summarise_way(scores: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Total variation, that of exact samples, and what it is above that; the share inside, and of the undecided."""
    return {
        **{name: float(np.mean([one[name] for one in scores])) for name in scores[0] if name != "states_allowed"},
        "above": [one["total_variation"] - one["floor"] for one in scores],
    }


def tables(summary: Mapping[str, Any]) -> Sequence[PlainTable]:
    """Total variations above exact sampling; then what else is known of the samples of the team denoiser."""
    return [above_table(summary["worlds"]), samples_table(summary["worlds"])]


def above_table(worlds: Mapping[str, Any]) -> PlainTable:
    """A row for each way, a column for each world."""
    title = "Jointly: total variation to the exact posterior above that of exact samples, mean (largest) over the seeds"
    header = ["", *(WORLDS[name] for name in worlds)]
    rows = [(words, *(_above(world["ways"][way]) for world in worlds.values())) for way, words in WAYS.items()]
    uniform = ("uniform guesses (exactly)", *(f"{world['chance']:.3f}" for world in worlds.values()))
    return title, header, [*rows, uniform]


def samples_table(worlds: Mapping[str, Any]) -> PlainTable:
    """A row for each world: how large it is, and how the team denoiser's samples fare."""
    title = "Jointly: samples of the team denoiser, means over the seeds"
    header = ["", "agents", "states", "allowed", "inside", "total variation", "of exact samples", "CPU-seconds"]
    rows = []
    for name, world in worlds.items():
        team = world["ways"]["team_denoiser"]
        numbers = (f"{team[part]:.3f}" for part in ("inside", "total_variation", "floor"))
        sizes = (world["agents"], world["states"], f"{world['states_allowed']:.0f}")
        rows.append((WORLDS[name], *map(str, sizes), *numbers, f"{max(world['seconds']):.0f}"))
    return title, header, rows


def _above(way: Mapping[str, Any]) -> str:
    return f"{np.mean(way['above']):.3f} ({max(way['above']):.3f})"
