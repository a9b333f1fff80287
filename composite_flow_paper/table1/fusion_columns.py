"""Fusion in the columns of Table 1 beside the default: other samples, lengths, sights and races."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from composite_flow.files.plain_table import PlainTable
from composite_flow_paper.shared.cells import Results
from composite_flow_paper.table1.cell import Table1Settings, columns_of, group_of

_TITLE = """Fusion in the columns of Table 1, PSNR in decibels. Its network has 128 units a layer in each of them.
Composite diffusion is that of Table 1, which in some columns was judged on other episodes of the same policy; so the
difference is one of means, not paired by step."""


def fusion_in_columns(settings: Table1Settings, results: Results) -> list[dict[str, Any]]:
    """Each column's fusion and composite diffusion on test steps, mean of the seeds, where both are there."""
    found = []
    for panel, columns in columns_of(settings).items():
        for setting in columns:
            fused = list(results.get(group_of(settings, setting, "fusion"), {}).values())
            composite = list(results.get(setting.name, {}).values())
            told = panel != "width" and (panel == "samples" or setting != settings.default)  # the default once
            if not (told and fused and composite):
                continue
            found.append(
                {
                    "panel": panel,
                    "value": getattr(setting, panel),
                    "seeds": len(fused),
                    "train": _mean(fused, "train", "fused"),
                    "test": _mean(fused, "test", "fused"),
                    "composite": _mean(composite, "test", "composite"),
                }
            )
    return found


def _mean(cells: Sequence[Mapping[str, Any]], split: str, estimator: str) -> float:
    return float(np.mean([one[split]["psnr"][estimator] for one in cells]))


def column_tables(columns: Sequence[Mapping[str, Any]]) -> list[PlainTable]:
    """One table, or none where only the default was computed."""
    rows = [
        (
            f"{one['panel']} {one['value']:,}" if isinstance(one["value"], int) else f"{one['panel']} {one['value']}",
            one["seeds"],
            f"{one['train']:.2f}",
            f"{one['test']:.2f}",
            f"{one['composite']:.2f}",
            f"{one['test'] - one['composite']:+.2f}",
        )
        for one in columns
    ]
    header = ["column", "seeds", "fusion, train", "fusion, test", "composite, test", "difference"]
    return [(_TITLE, header, rows)] if len(rows) > 1 else []
