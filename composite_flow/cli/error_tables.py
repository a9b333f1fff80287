"""Errors by feature, as tables: of the best way first, then of what needs no network."""

from collections.abc import Mapping
from typing import Any

from composite_flow.cli.reporting import table

_MOST_ROWS = 20
_NAMES = {
    "composite": "composite",
    "fusion": "fusion",
    "ridge_of_all_histories": "ridge all",
    "ridge_of_own_history": "ridge own",
    "constant": "mean state",
}


def error_tables(errors: Mapping[str, Any], units: Mapping[str, str]):
    """Of numbers and of all other features, where there are some of both; binary states have their exact rate."""
    numbers, wrong = errors["numbers"], errors["wrong"]
    others = [_wrong_table(wrong)] if wrong else []
    return [_numbers_table(numbers, errors["covered"], units), *others] if numbers else []


def _numbers_table(
    numbers: Mapping[str, Mapping[str, Any]], covered: Mapping[str, Mapping[str, float]], units: Mapping[str, str]
):
    """Quantiles of the best way, and the 90% quantile of the others."""
    ways = [way for way in _NAMES if way in next(iter(numbers.values()))]
    best = next(way for way in ("fusion", "composite", *ways) if way in ways)
    others = [way for way in ways if way != best]
    rows = [
        (
            f"{name} ({units[name]})" if name in units else name,
            *numbers[name][best].values(),
            *(numbers[name][way]["q90"] for way in others),
            *([covered[name].get("90%")] if covered else []),
        )
        for name in _largest(numbers, best)
    ]
    title = f"Errors of {_NAMES[best]} in the state's own units: half, 90%, 99% are below these; of the others 90%"
    title += _told_of_all(covered) + _left_out(numbers)
    columns = ["", "half", "90%", "99%", *(_NAMES[way] for way in others)]
    return table(title, (*columns, *(["inside 90%"] if covered else [])), rows)


def _told_of_all(covered: Mapping[str, Mapping[str, float]]) -> str:
    """How often intervals hold, over all numbers."""
    if not covered:
        return ""
    told = ", ".join(f"{level} in {share:.1%}" for level, share in covered["all numbers"].items())
    return f"\n(intervals of fusion contain the truth: those of {told} of all numbers)"


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


def answering_table(found: Mapping[str, Any]):
    """What is gained where fusion answers only if it is sure."""
    area, best, chance = found["area"], found["area_best"], found["area_random"]
    title = "Fusion that answers only where it is surest: mean error ‖ŝ − s‖, scaled"
    title += f"\n(area under this curve {area:.3g}; {best:.3g} if the errors were known, {chance:.3g} at random)"
    if found["accepted"] is not None:
        errors = "".join(_error_of(part, found) for part in ("accepted", "refused"))
        title += f"\n(verdict: {found['accepted']:.1%} accepted{errors})"
    return table(title, ("answered", "error"), list(found["risk"].items()))


def _error_of(part: str, found: Mapping[str, Any]) -> str:
    error = found[f"error_{part}"]
    return "" if error is None else f", error of those {part} {error:.3g}"
