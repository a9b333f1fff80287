"""Errors by feature, as tables: of the best way first, then of what needs no network."""

from collections.abc import Mapping
from typing import Any

from composite_flow.cli.reporting import table

_MOST_ROWS = 20
_LEVEL = "90%"
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
    ways = [way for way in _NAMES if way in next(iter(numbers.values()))]
    best = next(way for way in ("fusion", "composite", *ways) if way in ways)
    others = [way for way in ways if way != best]
    rows = [
        (
            _with_unit(name, result["units"]),
            *numbers[name][best].values(),
            *(numbers[name][way]["q90"] for way in others),
        )
        for name in _largest(numbers, best)
    ]
    title = (
        f"Absolute errors in the state's own units\n{_NAMES[best]}: median, and what 90% and 99% of its errors stay "
    )
    title += "below; other ways: what 90% stay below" + _left_out(numbers)
    columns = (*(f"{_NAMES[best]} {of}" for of in ("median", "90%", "99%")), *(_NAMES[way] for way in others))
    return table(title, ("", *columns), rows)


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
            errors["half_widths"][name][shown],
            *(f"{errors['covered'][name][level]:.1%}" for level in levels),
        )
        for name in _largest(numbers, "fusion")
    ]
    rows.append(("all numbers", None, *(f"{share:.1%}" for share in errors["covered"]["all numbers"].values())))
    title = f"Intervals of fusion: half the width of those of {shown}, in the median, and how often they contain the "
    title += f"truth\n{_calibrated(result)}\nMore often than stated: wider than needed; less often: too narrow."
    return table(title, ("", f"± ({shown})", *(f"in those of {level}" for level in levels)), rows)


def _calibrated(result: Mapping[str, Any]) -> str:
    """Of how many episodes the intervals are, and of how many these shares."""
    calibration, episodes = result["calibration_episodes"], result["episodes"]
    measured = f"measured on {episodes:,}: the fewer there are, the more these shares scatter."
    if calibration is None:
        return f"From validation errors, not calibrated; {measured}"
    return f"Calibrated on {calibration:,} episodes, {measured}"


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
