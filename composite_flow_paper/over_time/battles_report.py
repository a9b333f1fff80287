"""What the cells of battles come to: decibels of each way over the seeds, and what carrying adds, by episodes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from composite_flow.files.plain_table import PlainTable
from composite_flow.metrics import decibels
from composite_flow_paper.shared.paired_error import EpisodeErrors, mean_psnr_difference, psnr_difference

NAMES = {
    "carried": "gated chain, histories of one step",
    "one_step": "fusion, histories of one step",
    "more_steps": "fusion, histories of five steps",
}


def summarise_battles(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """PSNR of each way, its mean over the seeds, and by how much the chain is above each kind of fusion."""
    errors = [EpisodeErrors.from_json(cell["errors"]) for cell in cells]
    found = {name: [float(decibels(one.mean(name))) for one in errors] for name in NAMES}
    above = {
        name: mean_psnr_difference([psnr_difference(one, name, "carried") for one in errors])
        for name in NAMES
        if name != "carried"
    }
    return {
        "seeds": len(cells),
        "agents": cells[0]["agents"],
        "train_steps": [cell["train_steps"] for cell in cells],
        "test_steps": [cell["test_steps"] for cell in cells],
        "ways": {
            name: {
                "psnr": float(np.mean(each)),
                "psnr_of_seeds": each,
                "message_bytes": cells[0]["message_bytes"][name],
                "carried_above": above.get(name),
            }
            for name, each in found.items()
        },
    }


def battles_table(summary: Mapping[str, Any]) -> PlainTable:
    """A row for each way."""
    title = "Over time: battles, PSNR in decibels, mean over the seeds (each seed)"
    header = ["", "PSNR", "the chain is above by", "95% from", "to", "bytes a message"]
    rows = []
    for name, way in summary["ways"].items():
        seeds, above = ", ".join(f"{each:.2f}" for each in way["psnr_of_seeds"]), way["carried_above"]
        low, high = above["interval"] or (None, None) if above else (None, None)
        told = (f"{number:+.2f}" if number is not None else "" for number in (above and above["decibels"], low, high))
        rows.append((NAMES[name], f"{way['psnr']:.2f} ({seeds})", *told, str(way["message_bytes"])))
    return title, header, rows
