"""Numbers in words: what templates write behind the bar, as in `{{ seeds | spread(".2f") }}`."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def number(value: Any, form: str = ".4g") -> str:
    """One number, with a true minus."""
    if value is None:
        return "–"
    return format(value, form).replace("-", "−")


def spread(values: Iterable[Any], form: str = ".4g") -> str:
    """Mean of the seeds, and where they differ as written the smallest and the largest: 6.5 (6 to 7)."""
    numbers = list(values.values()) if isinstance(values, Mapping) else list(values)
    if any(one is None for one in numbers):
        return "–"
    low, high = number(min(numbers), form), number(max(numbers), form)
    mean = number(float(np.mean(numbers)), form)
    return mean if low == high else f"{mean} ({low} to {high})"


def listed(values: Iterable[Any], form: str = ".4g") -> str:
    """All of them, in a sentence: 62, 63 and 60."""
    *first, last = [number(one, form) for one in values]
    return f"{', '.join(first)} and {last}" if first else last


def reach(values: Iterable[Any], form: str = ".4g") -> str:
    """From the smallest to the largest: 90 to 143."""
    numbers = list(values)
    low, high = number(min(numbers), form), number(max(numbers), form)
    return low if low == high else f"{low} to {high}"


def rate(value: Mapping[str, float] | None, form: str = ".3f") -> str:
    """A rate with its lower bound: 0.998 (≥ 0.997)."""
    if value is None:
        return "–"
    return f"{number(value['rate'], form)} (≥ {number(value['lower_bound'], form)})"


def within(value: float, interval: Iterable[float] | None, form: str = ".3g") -> str:
    """A value with its interval: 0.46 (0.43 to 0.50)."""
    if interval is None:
        return number(value, form)
    low, high = (number(end, form) for end in interval)
    return number(value, form) if low == high else f"{number(value, form)} ({low} to {high})"


def intervals(found: Iterable[Mapping[str, Any]], form: str = "+.2f") -> str:
    """A value with its interval for each seed: +0.14 (+0.13 to +0.16); +0.20 (+0.19 to +0.22)."""
    return "; ".join(within(one["value"], one["interval"], form) for one in found)


FILTERS = {
    "number": number,
    "spread": spread,
    "listed": listed,
    "reach": reach,
    "rate": rate,
    "within": within,
    "intervals": intervals,
}
