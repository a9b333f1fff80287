"""What Figure 5 says: learning curves over seeds, what trained teams reach, and comparisons with verdicts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from composite_flow_paper.figure5.team import MATCHED, REMEMBERING, Figure5Settings, Panel, group_of
from composite_flow_paper.shared.cells import Results, of_group
from composite_flow_paper.shared.interquartile import (
    Contrast,
    Runs,
    contrast,
    holm,
    interquartile_mean,
    stratified_interval,
)

ORDER = (("state", "denoised"), ("denoised", "agent"))
"""The paper's claims: the first is at least as good as the second."""
COMPARED = (
    *ORDER,
    ("state", "agent"),
    ("denoised", MATCHED),
    ("composite", "agent"),
    ("composite", "denoised"),
    ("denoised", REMEMBERING),
    ("composite", REMEMBERING),
)
CHOSEN_AFTER = ("sensors3x3-miss",)
"""Worlds that were chosen after the results of the others had been seen, which they cannot confirm."""
_ALPHA = 0.05
MOMENTS = ("final", "throughout")
"""At the end of training, by evaluation; and on average over the learning curve."""

_WINDOWS = 20


def summarise(settings: Figure5Settings, results: Results) -> dict[str, Any]:
    """Everything that tables and pictures show, of the cells that are there."""
    cells = {
        world.name: {curve: of_group(results, group_of(world.name, curve)) for curve in (*settings.curves, *world.also)}
        for world in settings.worlds
    }
    worlds = {world.name: _world(world, cells) for world in settings.worlds}
    rows = corrected(worlds)
    return {
        "cells": {
            "done": sum(len(parts) for curves in cells.values() for parts in curves.values()),
            "planned": settings.num_seeds * sum(map(len, cells.values())),
        },
        "worlds": worlds,
        "corrected": rows,
        "orders_corrected": {name: {moment: _order(rows, name, moment) for moment in MOMENTS} for name in worlds},
        "overall": _overall(cells, settings.curves),
    }


# --- a world


def _world(world: Panel, cells: Mapping[str, Mapping[str, list[Any]]]) -> dict[str, Any]:
    here = {curve: parts for curve, parts in cells[world.name].items() if parts}
    measure = next((parts[0]["measure"] for parts in here.values()), None)
    pairs = {f"{first} over {second}": compared(here, first, second) for first, second in COMPARED}
    return {
        "problem": world.problem,
        "measure": measure,
        "curves": {curve: curve_summary(parts) for curve, parts in here.items()},
        "compared": {name: both for name, both in pairs.items() if both},
        "ordering": {moment: ordering(here, moment) for moment in MOMENTS},
        "less_seen": _less_seen(here, cells.get(world.more_seen or "", {}), world.more_seen),
    }


def curve_summary(parts: list[Mapping[str, Any]]) -> dict[str, Any]:
    """One curve of one world, over its seeds."""
    measure, finals = parts[0]["measure"], [part["final"] for part in parts]
    return {
        "seeds": len(parts),
        "weights": parts[0]["weights"],
        "actor_width": parts[0]["actor_width"],
        "steps_per_second": float(np.median([part["steps_per_second"] for part in parts])),
        "steps": parts[0]["curve"]["steps"],
        "learning": _band(parts, measure),
        "psnr": _band(parts, "psnr"),
        "entropy": _band(parts, "entropy"),
        "final": _reached([_score(part) for part in parts]),
        **{
            f"final_{name}": _mean([final[name] for final in finals])
            for name in ("return", "win_rate", "length", "psnr", "certain", "right_when_certain")
        },
        "messages": finals[0]["messages"],
        "message_bytes": finals[0]["message_bytes"],
        "changed": {
            change: {
                **_reached([_score({**part, "final": part["changed"][change]}) for part in parts]),
                "psnr": _mean([part["changed"][change]["psnr"] for part in parts]),
            }
            for change in parts[0]["changed"]
        },
    }


def _band(parts: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any] | None:
    """IQM over seeds at each point of the smoothed learning curves, and its interval; None where there are none."""
    scores = np.array([part["curve"][name] for part in parts], np.float64)  # None becomes nan
    if np.isnan(scores).all():
        return None
    scores = np.stack([smoothed(curve) for curve in scores], axis=-1)
    low, high = stratified_interval(scores[:, None, :])
    return {"mean": interquartile_mean(scores), "low": low, "high": high}


def smoothed(curve: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """Means over a twentieth of the curve around each point, of what is known there.

    A point's few hundred episodes scatter more than seeds differ.
    """
    window, known = np.ones(max(1, len(curve) // _WINDOWS)), ~np.isnan(curve)
    total = np.convolve(np.where(known, curve, 0.0), window, "same")
    count = np.convolve(known.astype(np.float64), window, "same")
    return np.divide(total, count, out=np.full(len(curve), np.nan), where=count > 0)


def _score(part: Mapping[str, Any]) -> tuple[float, float]:
    """What a run reached and its standard error."""
    measure = part["measure"]
    return part["final"][measure], part["final"]["standard_errors"][measure]


def _runs(parts: Sequence[Mapping[str, Any]], moment: str) -> Runs:
    """What the runs of a curve reached; averages over many episodes of training have hardly any error of their own."""
    if moment == "final":
        values, errors = zip(*map(_score, parts), strict=True)
        return Runs(np.array(values), np.array(errors))
    rows = np.array([part["curve"][part["measure"]] for part in parts], np.float64)
    return Runs(np.nanmean(rows, axis=1), np.zeros(len(rows)))


def _reached(scores: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Mean over runs with an interval over runs and episodes; IQM with its bootstrap over runs."""
    values, errors = (np.array(column) for column in zip(*scores, strict=True))
    mean = contrast([(1, Runs(values, errors))])
    low, high = stratified_interval(values[None])
    return {
        "mean": mean.value,
        "interval": mean.interval,
        "interquartile_mean": float(interquartile_mean(values)),
        "bootstrap": [float(low), float(high)],
        "runs": values.tolist(),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


# --- comparisons


def compared(here: Mapping[str, list[Any]], first: str, second: str) -> dict[str, Any] | None:
    """By how much the first is above the second, where both are there."""
    if not (here.get(first) and here.get(second)):
        return None
    return {
        moment: _told(contrast([(1, _runs(here[first], moment)), (-1, _runs(here[second], moment))]))
        for moment in MOMENTS
    }


def ordering(here: Mapping[str, list[Any]], moment: str) -> dict[str, Any]:
    """The paper's order: confirmed where both differences are, contradicted where one is, else undecided."""
    found = {f"{first} ≥ {second}": compared(here, first, second) for first, second in ORDER}
    parts = {claim: both[moment] for claim, both in found.items() if both}
    verdict = _verdict([part["verdict"] for part in parts.values()])
    said = [f"{claim} is {part['verdict']}: {signed(part)}" for claim, part in parts.items()]
    when = "at the end of training" if moment == "final" else "on average over training"
    sentence = f"True state ≥ inferred state ≥ own observation, {when}: {verdict}" + (
        f" ({'; '.join(said)})." if said else "."
    )
    return {"verdict": verdict, "sentence": sentence, "parts": parts}


def _less_seen(
    here: Mapping[str, list[Any]], there: Mapping[str, list[Any]], name: str | None
) -> dict[str, Any] | None:
    """Whether inference adds more here than where more is seen: (denoised − agent) here minus the same there."""
    pair = ("denoised", "agent")
    if name is None or not all(cells.get(curve) for cells in (here, there) for curve in pair):
        return None
    result: dict[str, Any] = {"than": name}
    for moment in MOMENTS:
        parts = [(sign, _runs(here[curve], moment)) for curve, sign in zip(pair, (1, -1), strict=True)]
        parts += [(-sign, _runs(there[curve], moment)) for curve, sign in zip(pair, (1, -1), strict=True)]
        result[moment] = _told(contrast(parts))
    return result


def _verdict(of_claims: Sequence[str]) -> str:
    """Of the order, from those of its claims."""
    if len(of_claims) < len(ORDER):
        return "not measured"
    if "contradicted" in of_claims:
        return "contradicted"
    return "confirmed" if all(one == "confirmed" for one in of_claims) else "undecided"


def _order(rows: Sequence[Mapping[str, Any]], world: str, moment: str) -> str:
    """The order's corrected verdict in one world at one moment."""
    return _verdict([row["verdict_corrected"] for row in rows if (row["world"], row["moment"]) == (world, moment)])


def corrected(worlds: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The paper's two claims in every world and at both moments, with p-values adjusted for that many (Holm).

    All other comparisons are told without correction, to look at.
    """
    rows = [
        {"world": name, "chosen_after": name in CHOSEN_AFTER, "claim": claim, "moment": moment, **part}
        for name, world in worlds.items()
        for moment in MOMENTS
        for claim, part in world["ordering"][moment]["parts"].items()
        if part["p_value"] is not None
    ]
    for row, adjusted in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row |= {"adjusted": adjusted, "verdict_corrected": row["verdict"] if adjusted < _ALPHA else "undecided"}
    return rows


def _told(found: Contrast) -> dict[str, Any]:
    verdict = {"verdict": found.verdict, "p_value": found.p_value}
    return {"difference": found.value, "interval": found.interval, **verdict}


def _overall(cells: Mapping[str, Mapping[str, list[Any]]], curves: Sequence[str]) -> dict[str, Any] | None:
    """IQM over worlds and seeds of final scores as shares of the mean of `state`, a stratum for each world.

    None until every curve has the same number of runs everywhere, and where some mean is not positive.
    """
    counts = {len(here[curve]) for here in cells.values() for curve in curves}
    if len(counts) != 1 or counts == {0} or "state" not in curves:
        return None
    scores = {
        curve: np.array([[_score(part)[0] for part in here[curve]] for here in cells.values()]) for curve in curves
    }
    scale = scores["state"].mean(axis=1, keepdims=True)
    if np.any(scale <= 0):
        return None
    shares = {curve: values / scale for curve, values in scores.items()}
    result = {}
    for curve, values in shares.items():
        low, high = stratified_interval(values)
        result[curve] = {
            "interquartile_mean": float(interquartile_mean(values.ravel())),
            "bootstrap": [float(low), float(high)],
        }
    return result


def signed(part: Mapping[str, Any]) -> str:
    """A difference with its interval."""
    low, high = part["interval"] or (None, None)
    return f"{part['difference']:+.3g}" + (", one seed" if low is None else f" ({low:+.3g} to {high:+.3g})")
