"""What the cells of trust come to: tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from composite_flow.files.plain_table import PlainTable
from composite_flow_paper.shared.cells import Results
from composite_flow_paper.trust.worlds import TrustSettings

KINDS = {"numbers": "intervals of numbers", "others": "sets of values", "regions": "regions"}
WORLD_NAMES = {"sensors": "sensors 5×5", "battles": "battles", "simple_tag": "simple_tag"}
SHIFTS = {
    "clean": "none",
    "policy": "another policy",
    "sight": "everybody sees less",
    "lost": "3 of 10 answers lost",
    "withheld": "states never seen before",
}
FAULTS = ("zeros", "frozen", "scaled", "offset", "noise", "another", "shifted", "nan")
SHORT, FAR_SHORT = 2.0, 4.0  # standard errors below what is promised


def summarise(settings: TrustSettings, results: Results) -> Mapping[str, Any]:
    """Coverage over draws with standard errors; everything else as the cells have it."""
    found: dict[str, Any] = {"coverage": [], "shift": {}, "broken": {}}
    for name in settings.worlds:
        for group in (f"coverage-{name}", f"coverage_lost-{name}"):
            if group in results:
                found["coverage"] += coverage_rows(name, results[group][None])
        for part in ("shift", "broken"):
            if f"{part}-{name}" in results:
                found[part][name] = results[f"{part}-{name}"][None]
        if f"sets-{name}" in results:
            found["sets"] = set_rows(results[f"sets-{name}"][None])
            found["coverage"] += [row for row in found["sets"] if row["kind"] == "sets of states"]
        if f"exact-{name}" in results:
            found["exact"] = results[f"exact-{name}"][None]
    found["kept"] = kept(found["coverage"]) if found["coverage"] else None
    found["harmful"] = {name: pooled(world["faults"]) for name, world in found["broken"].items()}
    return found


def coverage_rows(name: str, cell: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each kind, level, size of team and promise."""
    rows = []
    for over in ("step", "episode"):
        for level in cell["draws"][0][over]:
            for place, size in enumerate(cell["sizes"]):
                for kind in KINDS:
                    values = [draw[over][level][kind][place] for draw in cell["draws"]]
                    if None not in values:
                        rows.append(row_of(name, kind, over, float(level), size, cell["lost"], values))
    return rows


def row_of(
    name: str, kind: str, over: str, level: float, size: int, lost: float, values: Sequence[float]
) -> dict[str, Any]:
    """Mean coverage over draws, its standard error, and how many of these it lies below the level."""
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
    below = (level - mean) / error if error > 0 else (0.0 if mean >= level else float("inf"))
    told = {"world": name, "kind": kind, "over": over, "level": level, "size": size, "lost": lost}
    return {**told, "covered": mean, "error": error, "below": below, "draws": len(values)}


def set_rows(cell: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Coverage and mean size of sets of states, and how much larger they are than the exact posterior's."""
    rows = []
    for over in ("step", "episode"):
        for level in cell["said"][0][over]:
            for place, size in enumerate(cell["sizes"]):
                told = [draw[over][level] for draw in cell["said"]]
                exact = [draw[over][level] for draw in cell["exact"]]
                row = row_of(
                    "sensors", "sets of states", over, float(level), size, 0.0, [one["covered"][place] for one in told]
                )
                sizes = [float(np.mean([one["size"][place] for one in draws])) for draws in (told, exact)]
                rows.append({**row, "states": sizes[0], "exact_states": sizes[1], "ratio": sizes[0] / sizes[1]})
    return rows


def kept(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Share of the rows whose coverage is at most two standard errors below the level, and the worst of all."""
    below = np.array([row["below"] for row in rows])
    return {
        "rows": len(rows),
        "within_two": float(np.mean(below <= SHORT)),
        "within_four": float(np.mean(below <= FAR_SHORT)),
        "worst": float(below.max()),
    }


def pooled(faults: Mapping[str, Any]) -> dict[str, Any]:
    """Over all kinds, each by how often it harms: one agent broken, and two at once."""
    found = {}
    for number in (1, 2):
        some = [faults[f"{kind}-{number}"] for kind in FAULTS]
        harmed = np.array([one["harmful"] for one in some])
        doubled = np.array([one["doubled"] for one in some])
        found[str(number)] = {
            "named": _weighted([one["named"][0] if one["named"] else None for one in some], harmed),
            "abstained_or_named": _weighted(
                [one["abstained_or_named"][0] if one["abstained_or_named"] else None for one in some], doubled
            ),
            "robust_over_sound": _weighted([one["error"]["robust"] for one in some], harmed)
            / _weighted([one["error"]["of_the_sound"] for one in some], harmed),
        }
    return found


def _weighted(values: Sequence[float | None], weights: np.ndarray) -> float:
    known = np.array([value is not None for value in values])
    return float(np.average(np.array(values, float)[known], weights=weights[known])) if known.any() else float("nan")


def tables(summary: Mapping[str, Any]) -> Sequence[PlainTable]:
    """Coverage, sets, shift, broken sensors."""
    found: list[PlainTable] = []
    if summary["coverage"]:
        found += [coverage_table(summary["coverage"], summary["kept"], over) for over in ("step", "episode")]
    if "sets" in summary:
        found.append(sets_table(summary["sets"]))
    if summary["shift"]:
        found.append(shift_table(summary["shift"]))
    found += [broken_table(name, world, summary["harmful"][name]) for name, world in summary["broken"].items()]
    found += [exact_table(summary["exact"])] if "exact" in summary else []
    return found


def exact_table(found: Mapping[str, Any]) -> PlainTable:
    """Learned checks beside the exact test."""
    title = (
        "Trust, broken sensors that still observe what a sensor can: named by the exact test, −log p(own observation "
        f"given the others') beyond what 1% of clean steps have ({found['false_alarms']:.1%} of the judged ones), and "
        "by the learned checks"
    )
    rows = [
        (kind, f"{one['harmful']:.1%}", _interval(one["named_exactly"]), _interval(one["named"]))
        for kind, one in found["faults"].items()
    ]
    return title, ["how", "harmful steps", "exact test", "learned checks"], rows


def coverage_table(rows: Sequence[Mapping[str, Any]], of_all: Mapping[str, Any], over: str) -> PlainTable:
    """A row for each world, kind and size of team; a column for each level."""
    what = {"step": "a new step", "episode": "all steps of a new episode"}[over]
    title = (
        f"Trust: coverage of {what}, mean (standard error) over draws of calibration and test episodes. Of all "
        f"{of_all['rows']} means here and in the other tables of coverage {of_all['within_two']:.1%} are at most two "
        f"standard errors below the level, {of_all['within_four']:.1%} at most four"
    )
    chosen: dict[tuple, dict[float, Mapping[str, Any]]] = {}
    for row in rows:
        if row["over"] == over:
            chosen.setdefault((row["world"], row["kind"], row["size"], row["lost"]), {})[row["level"]] = row
    levels = sorted({row["level"] for row in rows})
    table = []
    for (world, kind, size, lost), by_level in chosen.items():
        told = [f"{by_level[level]['covered']:.3f} ({by_level[level]['error']:.3f})" for level in levels]
        heard = f"{size}, {lost:.0%} lost" if lost else str(size)
        table.append((WORLD_NAMES[world], KINDS.get(kind, kind), heard, *told))
    return title, ["", "", "agents", *(f"{level:.0%}" for level in levels)], table


def sets_table(rows: Sequence[Mapping[str, Any]]) -> PlainTable:
    """How many states sets hold."""
    title = (
        "Trust: mean number of states in the sets of the sensors' world, and with the exact posterior in their place"
    )
    header = ["for", "agents", "level", "covered", "states", "exact posterior", "ratio"]
    table = [
        (
            row["over"],
            str(row["size"]),
            f"{row['level']:.0%}",
            f"{row['covered']:.3f}",
            f"{row['states']:.1f}",
            f"{row['exact_states']:.1f}",
            f"{row['ratio']:.2f}",
        )
        for row in rows
    ]
    return title, header, table


def shift_table(worlds: Mapping[str, Any]) -> PlainTable:
    """Coverage at 90% of the whole team, and what the verdict says."""
    title = (
        "Trust under shift: coverage at 90%, the whole team, calibrated on clean episodes; share of estimates that are "
        "accepted [95%, over episodes]; mean error ‖ŝ − s‖ of all, of those accepted, and as expected"
    )
    header = [
        "",
        "shift",
        "numbers",
        "values",
        "regions",
        "whole episodes",
        "accepted",
        "error",
        "accepted's",
        "expected",
    ]
    rows = []
    for name, found in worlds.items():
        for shift, one in found.items():
            step, episode = one["coverage"]["step"], one["coverage"]["episode"]
            told = [_first(step[kind]) for kind in KINDS]
            rows.append(
                (
                    WORLD_NAMES[name],
                    SHIFTS[shift],
                    *told,
                    _first(episode["regions"]),
                    _interval(one["accepted"]),
                    f"{one['error']:.3f}",
                    "–" if one["error_accepted"] is None else f"{one['error_accepted']:.3f}",
                    f"{one['expected_error']:.3f}",
                )
            )
    return title, header, rows


def broken_table(name: str, world: Mapping[str, Any], of_all: Mapping[str, Any]) -> PlainTable:
    """A row for each kind of fault, one agent at a time and two at once."""
    one, two = of_all["1"], of_all["2"]
    title = (
        f"Trust, broken sensors in {WORLD_NAMES[name]}: of {world['episodes']} clean episodes "
        f"{world['false_alarms'][0]:.1%} of the steps raise a false alarm, {world['accepted'][0]:.1%} are accepted. "
        f"Over all kinds, each by how often it harms: one of {world['agents']} broken, named {one['named']:.1%}, "
        f"abstained or named where the error doubled {one['abstained_or_named']:.1%}, error after leaving out "
        f"{one['robust_over_sound']:.2f} times that of the sound ones; two at once {two['named']:.1%}, "
        f"{two['abstained_or_named']:.1%}, {two['robust_over_sound']:.2f}"
    )
    header = ["broken", "how", "harmful steps", "named there", "error before", "after", "of the sound", "clean"]
    header.append("abstained or named where doubled")
    rows = []
    for fault, found in world["faults"].items():
        kind, number = fault.rsplit("-", 1)
        errors = ("with_everyone", "robust", "of_the_sound", "clean")
        told = ["–" if found["error"][part] is None else f"{found['error'][part]:.2f}" for part in errors]
        shares = f"{found['harmful']:.0%}", _interval(found["named"])
        rows.append((number, kind, *shares, *told, _interval(found["abstained_or_named"])))
    return title, header, rows


def _first(values: Sequence[float | None]) -> str:
    return "–" if values[0] is None else f"{values[0]:.3f}"


def _interval(found: Sequence[float] | None) -> str:
    return "–" if found is None else f"{found[0]:.1%} [{found[1]:.1%}, {found[2]:.1%}]"
