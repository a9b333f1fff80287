"""Errors by feature, as tables: of the best way first, then of what needs no network."""

from collections.abc import Mapping
from typing import Any

from composite_flow.analysis.feature_errors import LEVELS, USED
from composite_flow.certificate.conformal import calibration_episodes_needed
from composite_flow.cli.reporting import table

_MOST_ROWS = 20
_LEVEL = "90%"
CALIBRATE = "`composite-flow calibrate RUN DATA --out NEW`"
_FEW = 50  # calibration episodes, of which intervals are visibly wider than needed
_NAMES = {
    "composite": "diffusion",
    "fusion": "fusion",
    "ridge_of_all_histories": "ridge, all",
    "ridge_of_own_history": "ridge, own",
    "constant": "mean state",
}


def error_tables(result: Mapping[str, Any]):
    """Of numbers and of all other features, where there are some of both; binary states have their exact rate."""
    errors = result["errors"]
    if not errors["numbers"]:
        return []
    intervals = [_intervals_table(result)] if errors["covered"] else []
    return [_numbers_table(result), *intervals, *([_wrong_table(errors["wrong"])] if errors["wrong"] else [])]


def _numbers_table(result: Mapping[str, Any]):
    """Quantiles of the best way, and the 90% quantile of the others."""
    numbers = result["errors"]["numbers"]
    best, *others = ways_of(numbers)
    rows = [
        (
            _with_unit(name, result["units"]),
            *numbers[name][best].values(),
            *(numbers[name][way]["q90"] for way in others),
        )
        for name in _largest(numbers, best)
    ]
    title = "Absolute errors in the state's own units: half, 90% and 99% of a way's errors are smaller"
    title += f"\nOf {result['episodes']:,} episodes: differences may be chance; 99% is of very few errors."
    title += _left_out(numbers)
    columns = (*(f"{_NAMES[best]} {of}" for of in ("median", "90%", "99%")), *(f"{_NAMES[way]} 90%" for way in others))
    return table(title, ("", *columns), rows)


def ways_of(numbers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The ways whose errors are told: the one that the run is used by, then all others."""
    ways = [way for way in _NAMES if way in next(iter(numbers.values()))]
    first = next(way for way in (*USED, *ways) if way in ways)
    return [first, *(way for way in ways if way != first)]


def _with_unit(name: str, units: Mapping[str, str]) -> str:
    return f"{name} ({units[name]})" if name in units else name


def _intervals_table(result: Mapping[str, Any]):
    """How wide the intervals of fusion are, and how often they contain the truth."""
    errors, numbers = result["errors"], result["errors"]["numbers"]
    levels = list(errors["covered"]["all numbers"])
    shown = _LEVEL if _LEVEL in levels else levels[-1]
    rows = [
        (
            _with_unit(name, result["units"]),
            *(_width(errors[kind][name], shown) for kind in ("half_widths", "wide_half_widths")),
            *(as_share(errors["covered"][name].get(level)) for level in levels),
        )
        for name in _largest(numbers, "fusion")
    ]
    whole = errors["covered"]["all numbers"]
    rows.append(("all, an angle as its sine and cosine", None, None, *(f"{share:.1%}" for share in whole.values())))
    title = (
        "Intervals of fusion, estimate ±: each estimate has its own; and how often the truth lies inside at one step"
    )
    title += '\n(that it does so at all steps of an episode is promised by wider ones, over="episode" in Python)'
    title += f"\n{_calibrated(result, shown)}\nShares are of {result['episodes']:,} episodes, and scatter with these: "
    title += "do not narrow or widen intervals by them."
    columns = (f"± ({shown}) median", f"± ({shown}) one in ten is wider than")
    return table(title, ("", *columns, *(f"truth inside {level}" for level in levels)), rows)


def _width(widths: Mapping[str, float], shown: str) -> float | str | None:
    """At the level that is shown, or else, as of some angles, at the highest that there is."""
    if shown in widths or not widths:
        return widths.get(shown)
    level, width = list(widths.items())[-1]
    return f"{width:.4g} at {level}"


def as_share(value: float | None) -> str | None:
    """In percent, where there is one."""
    return None if value is None else f"{value:.1%}"


def _calibrated(result: Mapping[str, Any], level: str) -> str:
    """Of how many episodes the intervals are, what that makes of a promise, and what is to be done about it."""
    count = result["calibration_episodes"]
    if count is None:
        return f"From validation errors, not calibrated: {CALIBRATE} makes promises of them."
    told, most = f"Calibrated on {count:,} episodes.", min(1.0, float(level.rstrip("%")) / 100 + 1 / (count + 1))
    levels = result["errors"]["covered"]["all numbers"]
    lacking = [wanted for wanted in LEVELS if f"{wanted:.0%}" not in levels]
    needs = (f"{wanted:.0%} needs {calibration_episodes_needed(1.0 - wanted)}" for wanted in lacking)
    if lacking or count < _FEW:
        told = f"Calibrated on {count:,} episodes only: {level} intervals hold between {level} and {most:.1%} of the "
        told += "truth, averaged over such calibrations, and mostly near the upper end: they are wider than needed."
        told += f" {', '.join(needs)}." if lacking else ""
        told += " More episodes: `composite-flow calibrate RUN DATA --out NEW`."
    return told


def _left_out(features: Mapping[str, Any]) -> str:
    more = len(features) - _MOST_ROWS
    return f"\n({more} more features are in --json)" if more > 0 else ""


def _largest(numbers: Mapping[str, Mapping[str, Any]], way: str) -> list[str]:
    """The features in their order; where they are many, those whose errors are the largest beside the guess's."""

    def beside_guess(name: str) -> float:
        guess = numbers[name].get("constant", numbers[name][way])["q90"]
        return numbers[name][way]["q90"] / guess if guess > 0 else 0.0

    kept = set(sorted(numbers, key=beside_guess, reverse=True)[:_MOST_ROWS])
    return [name for name in numbers if name in kept]


def _wrong_table(wrong: Mapping[str, Mapping[str, float]]):
    """Shares of wrong estimates, of the features that are wrong most often."""
    ways = [way for way in _NAMES if way in next(iter(wrong.values()))]
    kept = sorted(wrong, key=lambda name: wrong[name][ways[0]], reverse=True)[:_MOST_ROWS]
    rows = [(name, *(wrong[name][way] for way in ways)) for name in wrong if name in kept]
    title = "Features that are no numbers: share of wrong estimates" + _left_out(wrong)
    return table(title, ("", *(_NAMES[way] for way in ways)), rows)
