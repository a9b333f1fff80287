"""Table 1 summed up: each column over the seeds beside the paper's, each rival beside composite diffusion."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from composite_flow.errors import MismatchError
from composite_flow.files.plain_table import PlainTable
from composite_flow_paper.shared.cells import Results, of_group
from composite_flow_paper.shared.paired_error import EpisodeErrors, mean_psnr_difference, psnr_difference
from composite_flow_paper.table1.battles import differences_of_worlds
from composite_flow_paper.table1.beyond import beyond_tables, summarise_beyond
from composite_flow_paper.table1.cell import Setting, Table1Settings, columns_of

PANELS = {"width": "width", "samples": "samples", "length": "H =", "sight": "sight", "race": ""}
"""What stands before a column's value."""
PAPER_VALUES: dict[str, tuple[Any, ...]] = {
    "width": (1024, 4096, 8192),
    "samples": (10, 100_000, 500_000),
    "length": (1, 5, 10),
    "sight": (5, 9),
    "race": ("zerg", "terran", "protoss"),
}
PAPER: dict[str, dict[str, dict[str, tuple[float, ...]]]] = {
    "train": {
        "individual": {
            "width": (13.28, 18.71, 28.20),
            "samples": (56.45, 28.20, 35.29),
            "length": (26.39, 28.20, 31.86),
            "sight": (26.29, 28.20),
            "race": (28.20, 29.01, 27.79),
        },
        "composite": {
            "width": (15.98, 22.18, 30.77),
            "samples": (56.77, 30.77, 36.39),
            "length": (27.88, 30.77, 33.13),
            "sight": (27.92, 30.77),
            "race": (30.77, 30.68, 30.20),
        },
    },
    "test": {
        "individual": {
            "width": (13.37, 15.37, 17.42),
            "samples": (11.32, 17.43, 23.22),
            "length": (20.77, 17.43, 16.54),
            "sight": (15.94, 17.43),
            "race": (17.42, 17.28, 17.24),
        },
        "composite": {
            "width": (16.07, 18.49, 20.40),
            "samples": (12.38, 20.40, 25.49),
            "length": (23.54, 20.40, 18.94),
            "sight": (17.90, 20.40),
            "race": (20.40, 18.59, 20.08),
        },
    },
}
"""PSNR in the paper's Table 1."""

SPLITS = ("train", "test")
METHODS = ("individual", "composite")
ROWS = (
    ("denoiser", "individual", "individual diffusion"),
    ("denoiser", "composite", "composite diffusion"),
    ("denoiser", "one_step", "one step of each agent, averaged"),
    ("denoiser", "mean_of_individual_flows", "mean of the individual flows"),
    ("denoiser", "parallel_mean", "parallel mean"),
    ("denoiser", "parallel_mean_averaged", "parallel mean: mean of its samples"),
    ("denoiser", "composite_averaged", "composite diffusion: mean of its samples"),
    ("plain", "individual", "history at the input: individual"),
    ("plain", "composite", "history at the input: composite"),
    ("stronger", "individual", "stronger network: individual"),
    ("stronger", "composite", "stronger network: composite"),
    ("joint_regression", "best_step", "joint regression, best step on validation"),
    ("joint_regression", "last_step", "joint regression, last step"),
    ("variational", "individual", "conditional VAE: an agent's sample"),
    ("variational", "individual_mean", "conditional VAE: mean of an agent's samples"),
    ("variational", "team_mean", "conditional VAE: mean of all agents' samples"),
)
"""Of the second table: the cell, the estimator in it, and what people read."""


def summarise(settings: Table1Settings, results: Results) -> dict[str, Any]:
    """Everything that the table and the picture show, of the cells that are there."""
    columns = columns_of(settings)
    planned = {setting.name for panel in columns.values() for setting in panel} | set(settings.rivals)
    done = sum(len(found) for name, found in results.items() if name in planned)
    return {
        "cells": {"done": done, "planned": len(planned) * settings.num_seeds},
        "settings": len(planned) - len(settings.rivals),
        "default": settings.default.name,
        "columns": [
            _column(panel, place, setting, len(panel_settings), of_group(results, setting.name))
            for panel, panel_settings in columns.items()
            for place, setting in enumerate(panel_settings)
        ],
        "rows": _rows(settings, results),
        "common": _common(of_group(results, settings.default.name)),
        "beyond": summarise_beyond(settings, results),
    }


def _common(found: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What common information saves, over the seeds."""
    if not found:
        return None
    parts = [one["common"] for one in found]
    means = {name: np.mean([part[name] for part in parts], axis=0).tolist() for name in ("psnr", "psnr_given")}
    share = float(np.mean([part["common_share"] for part in parts]))
    return {"common_share": share, **means, "sweeps_to_equal": [part["sweeps_to_equal"] for part in parts]}


def paper_place(panel: str, value: Any, place: int, count: int) -> int:
    """The paper's column of the same place; with fewer columns, that of the same value, else from first to last."""
    if count < len(PAPER_VALUES[panel]) and value in PAPER_VALUES[panel]:
        return PAPER_VALUES[panel].index(value)
    return round(place * (len(PAPER_VALUES[panel]) - 1) / max(1, count - 1))


def _column(panel: str, place: int, setting: Setting, count: int, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    theirs = paper_place(panel, getattr(setting, panel), place, count)
    paper = {split: {name: PAPER[split][name][panel][theirs] for name in METHODS} for split in SPLITS}
    return {
        "panel": panel,
        "value": getattr(setting, panel),
        "setting": setting.name,
        "seeds": len(found),
        "world": found[0]["world"] if found else None,
        "psnr": {split: {name: _mean_psnr(found, split, name) for name in METHODS} for split in SPLITS},
        "gap": {
            split: mean_psnr_difference([one[split]["gap"] for one in found]) if found else None for split in SPLITS
        },
        "paper": {
            "value": PAPER_VALUES[panel][theirs],
            "psnr": paper,
            "gap": {split: round(paper[split]["composite"] - paper[split]["individual"], 2) for split in SPLITS},
        },
    }


def _mean_psnr(found: Sequence[Mapping[str, Any]], split: str, estimator: str) -> float | None:
    return float(np.mean([one[split]["psnr"][estimator] for one in found])) if found else None


def _rows(settings: Table1Settings, results: Results) -> list[dict[str, Any]]:
    """What each estimator reaches at the default setting, and how far composite diffusion is above it on test steps."""
    composite = results.get(settings.default.name, {})
    rows = []
    for kind, estimator, title in ROWS:
        name = settings.default.name if kind == "denoiser" else kind
        found = {
            seed: one
            for seed, one in results.get(name, {}).items()
            # cells of before an estimator was added lack it
            if estimator in one["test"]["psnr"]
        }
        if not found:
            continue
        parts = list(found.values())
        rows.append(
            {
                "cell": kind,
                "estimator": estimator,
                "title": title,
                "seeds": len(parts),
                "parameters": parts[0]["parameters"],
                "psnr": {split: _mean_psnr(parts, split, estimator) for split in SPLITS},
                "composite_above": None
                if (kind, estimator) == ("denoiser", "composite")
                else _above([(composite[seed], one) for seed, one in found.items() if seed in composite], estimator),
                "best_step": [one["best_step"] for one in parts] if estimator == "best_step" else None,
            }
        )
    return rows


def _above(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], estimator: str) -> dict[str, Any] | None:
    """Decibels by which the default's composite diffusion is above an estimator, paired by test step."""
    gaps = []
    for ours, theirs in pairs:
        if told := differences_of_worlds(ours["world"], theirs["world"]):
            raise MismatchError(
                f"Composite diffusion and '{estimator}' were judged on different episodes: they differ in {told}; "
                "remove the JSON file of the older of the two to compute it again."
            )
        first, second = (EpisodeErrors.from_json(one["test"]["episodes"]) for one in (ours, theirs))
        both = EpisodeErrors(second.counts, {"rival": second.means[estimator]}).beside(
            EpisodeErrors(first.counts, {"composite": first.means["composite"]})
        )
        gaps.append(psnr_difference(both, "rival", "composite"))
    return mean_psnr_difference(gaps) if gaps else None


# --- for people


def tables(summary: Mapping[str, Any]) -> Sequence[PlainTable]:
    """Title, header and rows of each table."""
    done, planned = summary["cells"]["done"], summary["cells"]["planned"]
    about = (
        f"PSNR in decibels of individual and composite diffusion, and the gap ({done} of {planned} cells).\n"
        "In brackets: 95% intervals. On the right: the paper's setting and its numbers.\n"
        "The worlds are not collectively observable: `unseen` is the share of steps in which nobody sees some "
        "living enemy."
    )
    header = ["", "seeds", "unseen", "individual", "composite", "gap", "composite is", "paper", "ind.", "comp.", "gap"]
    columns = [
        (
            f"Table 1, {'held-out episodes' if split == 'test' else 'training samples'}. {about}",
            header,
            [_column_row(column, split) for column in summary["columns"]],
        )
        for split in SPLITS
    ]
    rivals = (
        f"At {summary['default']}: baselines on as many denoiser calls, a mean of samples on as many times these; and "
        "rivals trained as long.\nOn the right: by how much composite diffusion is above each on the same test steps."
    )
    rows = [_rival_row(row) for row in summary["rows"]]
    found = [*columns, (rivals, ["", "seeds", "parameters", "train", "test", "composite above", "composite is"], rows)]
    common = [_common_content(summary["common"])] if summary["common"] else []
    return [*found, *common, *beyond_tables(summary["beyond"])]


def _common_content(common: Mapping[str, Any]) -> PlainTable:
    """Title, header and rows of the last table."""
    equal = ", ".join("none" if sweeps is None else str(sweeps) for sweeps in common["sweeps_to_equal"])
    title = (
        f"Common information: {common['common_share']:.0%} of the features, over the test steps, are of units that "
        "every living ally sees.\nPSNR of all other features after each sweep. Sweeps with the common ones given that "
        f"are as good as all without (a seed each): {equal}."
    )
    sweeps = [str(place + 1) for place in range(len(common["psnr"]))]
    rows = {"composite diffusion": common["psnr"], "with common information": common["psnr_given"]}
    return title, ["sweeps", *sweeps], [[name, *map(_decibels, values)] for name, values in rows.items()]


def _column_row(column: Mapping[str, Any], split: str) -> list[Any]:
    world, paper, gap = column["world"], column["paper"], column["gap"][split]
    label = PANELS[column["panel"]]
    return [
        f"{label} {_said(column['value'])}".strip(),
        column["seeds"],
        world and f"{world['unseen_share']:.0%}",
        *(_decibels(column["psnr"][split][name]) for name in METHODS),
        _interval(gap),
        gap and gap["shown"],
        f"{label} {_said(paper['value'])}".strip(),
        *(_decibels(paper["psnr"][split][name]) for name in METHODS),
        f"{paper['gap'][split]:+.2f}",
    ]


def _rival_row(row: Mapping[str, Any]) -> list[Any]:
    above = row["composite_above"]
    psnr = [_decibels(row["psnr"][split]) for split in SPLITS]
    title = row["title"] + (f" ({', '.join(map(str, row['best_step']))})" if row["best_step"] else "")
    return [title, row["seeds"], f"{row['parameters']:,}", *psnr, above and _interval(above), above and above["shown"]]


def _said(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def _decibels(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def _interval(gap: Mapping[str, Any] | None) -> str | None:
    if gap is None:
        return None
    if gap["interval"] is None:
        return f"{gap['decibels']:+.2f}"
    low, high = gap["interval"]
    return f"{gap['decibels']:+.2f} [{low:+.2f}, {high:+.2f}]"
