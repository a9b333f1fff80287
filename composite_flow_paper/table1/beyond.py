"""What Table 1's cells beyond the paper show: fusion beside all that else reads the same histories."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from composite_flow.files.plain_table import PlainTable
from composite_flow_paper.shared.cells import Results
from composite_flow_paper.shared.paired_error import (
    EpisodeErrors,
    mean_psnr_difference,
    psnr_difference,
    shared_standard_error,
)
from composite_flow_paper.table1.battles import differences_of_worlds
from composite_flow_paper.table1.cell import Table1Settings
from composite_flow_paper.table1.fusion_columns import column_tables, fusion_in_columns
from composite_flow_paper.table1.sample_scores import score_tables, scores_of_samples

ROWS = (
    ("fusion", "fused", "fusion: one answer of each agent"),
    ("fusion", "coarse", "fusion: answers in 8 bits"),
    ("fusion", "fused_4_of_5", "fusion: four of the five agents"),
    ("fusion", "fused_3_of_5", "fusion: three"),
    ("fusion", "fused_2_of_5", "fusion: two"),
    ("fusion", "fused_1_of_5", "fusion: one"),
    ("fusion", "lost_10%", "fusion: each answer lost with 10%"),
    ("fusion", "lost_30%", "fusion: 30%"),
    ("fusion", "lost_50%", "fusion: 50%"),
    ("chain", "chain", "gated chain: one message through all agents"),
    ("chain", "second_sweep", "gated chain: through all once more"),
    ("chain", "chain_3_of_5", "gated chain: through three"),
    ("joint_of_equal_weights", "best_step", "joint regression of equal weights, best step on validation"),
    ("joint_of_equal_weights", "last_step", "joint regression of equal weights, last step"),
    ("joint_tuned_of_equal_weights", "best_step", "joint regression of equal weights, tuned"),
    ("joint_regression", "best_step", "joint regression of the rows above, best step on validation"),
    ("joint_tuned", "best_step", "joint regression of as many weights as that, tuned"),
    ("transformer", "all", "transformer over agents"),
    ("transformer_of_any_team", "all", "transformer trained on teams of every size"),
    ("transformer_of_any_team", "3_of_5", "transformer trained on teams of every size: three agents"),
    ("latent_diffusion", "mean_of_samples", "diffusion with a latent mode: mean of 16 samples"),
    ("latent_diffusion", "samples", "diffusion with a latent mode: one sample"),
    ("ridge", "joint", "ridge regression of all histories"),
    ("joint_samples", "mean_of_samples", "mean of 16 joint samples"),
    ("joint_samples", "samples", "one joint sample"),
    ("joint_samples", "mean_of_samples_3_of_5", "mean of 16 joint samples of three agents"),
    ("composite_samples", "mean_of_composite", "composite diffusion: mean of 16 samples"),
    ("composite_samples", "composite", "composite diffusion, one sample"),
    ("composite_samples", "mean_of_individual", "mean of four individual flows of each agent"),
    ("singly", "product", "agents trained singly: product"),
    ("singly", "intersection", "agents trained singly: covariance intersection"),
    ("singly", "most_certain", "agents trained singly: the surest of each feature"),
    ("singly", "mean", "agents trained singly: mean"),
    ("singly", "individual", "an agent trained singly, alone"),
    ("ridge", "individual", "ridge regression of an agent's own history"),
    ("fusion", "constant", "the training mean"),
    ("without_centring", "fused", "fusion without centring"),
    ("one_precision", "fused", "fusion with one precision for weight and claim"),
    ("whole_teams", "fused", "fusion trained on whole teams alone"),
    ("whole_teams", "fused_3_of_5", "fusion trained on whole teams alone: three agents"),
)
"""The cell, the estimator in it, and what people read."""
_ABOUT = """Beyond the paper, at the default column: fusion (128 units a layer) beside others, PSNR in decibels.
Fusion and composite diffusion are judged at their last step, other networks at their best step on validation episodes.
Joint regression is tuned where it says so, the other networks beside fusion always: the best of three rates, as fusion.
On the right: by how much fusion is above each on the same test steps; in brackets 95% intervals."""
_REFERENCE = ("fusion", "fused")


def summarise_beyond(settings: Table1Settings, results: Results) -> dict[str, Any] | None:
    """Each estimator on test steps, how far fusion is above it, and how often intervals hold; None without fusion."""
    fused = results.get("fusion", {})
    if not fused:
        return None
    ids = _episode_ids(results)
    return {
        "rows": [row for row in (_row(settings, results, ids, *named) for named in ROWS) if row],
        "columns": fusion_in_columns(settings, results),
        "scores": scores_of_samples(results),
        "coverage": _coverage(fused),
        "intervals": _intervals(results.get("intervals", {})),
    }


def _row(
    settings: Table1Settings, results: Results, ids: Mapping[int | None, Any], kind: str, estimator: str, title: str
) -> dict[str, Any] | None:
    found = results.get(settings.default.name if kind == "denoiser" else kind, {})
    found = {seed: one for seed, one in found.items() if estimator in one["test"]["psnr"]}
    if not found:
        return None
    psnr = {split: [one[split]["psnr"][estimator] for one in found.values()] for split in ("train", "test")}
    return {
        "cell": kind,
        "estimator": estimator,
        "title": title,
        "seeds": len(found),
        "parameters": next(iter(found.values()))["parameters"],
        "psnr": {split: float(np.mean(values)) for split, values in psnr.items()},
        "psnr_of_seeds": psnr["test"],
        "fusion_above": None
        if (kind, estimator) == _REFERENCE
        else _fusion_above(results["fusion"], found, estimator, ids),
    }


def _fusion_above(
    fused: Mapping[int | None, Any], found: Mapping[int | None, Any], estimator: str, ids: Mapping[int | None, Any]
) -> dict[str, Any] | None:
    """Decibels by which fusion is above an estimator, paired by test step, over the seeds that both have.

    Seeds whose episodes are of another collection are left out, since their steps are not the same. An episode that
    several seeds test on counts once in the interval (`shared_standard_error`).
    """
    pairs = {
        seed: _paired(fused[seed], theirs, estimator)
        for seed, theirs in found.items()
        if seed in fused and not differences_of_worlds(fused[seed]["world"], theirs["world"])
    }
    if not pairs:
        return None
    numbered = [replace(errors, ids=ids.get(seed)) for seed, errors in pairs.items()]
    gaps = [psnr_difference(errors, "other", "fused") for errors in pairs.values()]
    return mean_psnr_difference(gaps, shared_standard_error(numbered, "other", "fused"))


def _paired(ours: Mapping[str, Any], theirs: Mapping[str, Any], estimator: str) -> EpisodeErrors:
    """The test episodes' errors of fusion and of the estimator."""
    fused, other = (EpisodeErrors.from_json(one["test"]["episodes"]) for one in (ours, theirs))
    both = EpisodeErrors(fused.counts, {"fused": fused.means["fused"]})
    return both.beside(EpisodeErrors(other.counts, {"other": other.means[estimator]}))


def _episode_ids(results: Results) -> dict[int | None, Any]:
    """The numbers of the test episodes of fusion's cells, by seed.

    All cells of a seed and a collection are judged on the same steps; those of before the numbers were kept have them
    from another cell.
    """
    found = {}
    for group in results.values():
        for seed, one in group.items():
            ids = EpisodeErrors.from_json(one["test"]["episodes"]).ids if "test" in one else None
            ours = results["fusion"].get(seed)
            if ids is not None and ours is not None and not differences_of_worlds(one["world"], ours["world"]):
                found[seed] = ids
    return found


def _coverage(found: Mapping[int | None, Any]) -> dict[str, Any] | None:
    """The mean over seeds of the share that intervals cover, by size of team and level."""
    cells = [one["coverage"] for one in found.values()]
    if not cells:
        return None
    return {
        size: {level: float(np.mean([cell[size][level] for cell in cells])) for level in levels}
        for size, levels in cells[0].items()
    }


def _intervals(found: Mapping[int | None, Any]) -> dict[str, Any] | None:
    """The same of the cells that have episodes of their own, and how many these are."""
    coverage = _coverage(found)
    return coverage and {"episodes": next(iter(found.values()))["episodes"], "coverage": coverage}


def beyond_tables(beyond: Mapping[str, Any] | None) -> Sequence[PlainTable]:
    """Title, header and rows of each table."""
    if beyond is None:
        return []
    header = ["", "seeds", "parameters", "train", "test", "fusion above", "fusion is"]
    rows = [
        (
            row["title"],
            row["seeds"],
            f"{row['parameters']:,}",
            f"{row['psnr']['train']:.2f}",
            f"{row['psnr']['test']:.2f}",
            row["fusion_above"] and _interval(row["fusion_above"]),
            row["fusion_above"] and row["fusion_above"]["shown"],
        )
        for row in beyond["rows"]
    ]
    return [
        (_ABOUT, header, rows),
        *column_tables(beyond["columns"]),
        *score_tables(beyond["scores"]),
        _covered("the validation episodes", beyond["coverage"]),
        *_covered_by_intervals(beyond["intervals"]),
    ]


def _covered_by_intervals(intervals: Mapping[str, Any] | None) -> list[PlainTable]:
    if intervals is None:
        return []
    calibration, test = (f"{intervals['episodes'][part]:,}" for part in ("calibration", "test"))
    return [_covered(f"{calibration} fresh episodes and judged on {test} others", intervals["coverage"])]


def _covered(source: str, coverage: Mapping[str, Any]) -> PlainTable:
    title = (
        f"Intervals of fusion, taken from {source}: share of the numbers of living units, on test episodes, that lie "
        "within them."
    )
    levels = list(next(iter(coverage.values())))
    rows = [(size, *(f"{found[level]:.1%}" for level in levels)) for size, found in coverage.items()]
    return title, ["agents that answer", *(f"{float(level):.0%}" for level in levels)], rows


def _interval(gap: Mapping[str, Any]) -> str:
    if gap["interval"] is None:
        return f"{gap['decibels']:+.2f}"
    low, high = gap["interval"]
    return f"{gap['decibels']:+.2f} [{low:+.2f}, {high:+.2f}]"
