"""How far estimates lie from the truth, feature by feature and in the state's own units.

numbers            quantiles of |ŝ_k − s_k| over joint histories, samples and agents; of an angle the angle between
binary features    share of the estimates on the wrong side of ½
one of k           share of the estimates whose largest feature is not the true one

Of numbers also how often the stated intervals of fusion contain the truth, and how wide they are; in which of them
another way errs less or more, by more than chance; and which features make the squared error.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from composite_flow.analysis.telling_apart import by_episode, certainly_less
from composite_flow.data.angles import angles_among
from composite_flow.data.scaling import Scaling
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.team_estimate import TeamEstimate

QUANTILES = {"median": 0.5, "q90": 0.9, "q99": 0.99}
LEVELS = (0.8, 0.9, 0.95)
USED = ("fusion", "composite")
"""The ways by which a run is used, the first that there is; others are compared with it."""


@dataclass(frozen=True)
class FeatureErrors:
    """Errors by the names of features and of ways to infer the state; an angle has its own name, and is in its units.

    Attributes:
        numbers: for each number and way the error in its own units that so many of the errors do not exceed.
        wrong: for each other feature and way the share of wrong estimates; a group has its first and last name.
        covered: for each number, and "all numbers", the share of the joint histories whose truth lies in the interval
            of each level; empty where no intervals are stated. An angle has fewer levels, as each of its intervals is
            of two.
        half_widths: for each number half the width of these intervals in its own units, in the median.
        wide_half_widths: the same, what one interval in ten exceeds.
        used: the way by which the run is used; None where nothing was learned.
        shares: of that way's squared error, scaled: what each feature makes of it.
        better, worse: for each other way the numbers in which its mean error is smaller, and larger, by more than two
            standard errors over episodes; empty where there are too few episodes to tell.
    """

    numbers: dict[str, dict[str, dict[str, float]]]
    wrong: dict[str, dict[str, float]]
    covered: dict[str, dict[str, float]] = field(default_factory=dict)
    half_widths: dict[str, dict[str, float]] = field(default_factory=dict)
    wide_half_widths: dict[str, dict[str, float]] = field(default_factory=dict)
    used: str | None = None
    shares: dict[str, float] = field(default_factory=dict)
    better: dict[str, list[str]] = field(default_factory=dict)
    worse: dict[str, list[str]] = field(default_factory=dict)


def feature_errors(
    estimates: Mapping[str, Float[Array, "joint _ state"]],
    states: Float[Array, "joint state"],
    types: FeatureTypes,
    scaling: Scaling,
    names: Sequence[str],
    fused: TeamEstimate | None = None,
    episodes: Int[np.ndarray, " joint"] | None = None,
) -> FeatureErrors:
    """Measure estimates against the truth.

    Args:
        estimates: scaled, of each way: of a joint history one, or as many as there are samples or agents.
        states: the truth, scaled.
        types: of the features.
        scaling: to the state's own units.
        names: of the features.
        fused: what whole teams say, in the state's own units, whose intervals are held against the truth.
        episodes: that each joint history is of; each by itself where they are not given.
    """
    measures, truth = _measures(types, scaling, names), _in_units(scaling, states[:, None])
    errors = {way: _errors(measures, _in_units(scaling, found), truth) for way, found in estimates.items()}
    numbers = {name: {way: _quantiles(found[name]) for way, found in errors.items()} for name in measures}
    wrong = {
        name: {way: float(_are_wrong(found, states, first, stop).mean()) for way, found in estimates.items()}
        for name, first, stop in _choices(types, names)
    }
    used = next((way for way in USED if way in estimates), None)
    told: dict[str, Any] = {"used": used}
    if used is not None:
        squared = np.asarray(jnp.mean((estimates[used] - states[:, None]) ** 2, axis=(0, 1)), np.float64)
        total = squared.sum()
        told["shares"] = dict(zip(names, (squared / total if total > 0 else squared).tolist(), strict=True))
        told |= _compared(errors, used, np.arange(len(states)) if episodes is None else episodes)
    if fused is not None and measures and any(fused.promises(level) for level in LEVELS):
        kinds = ("covered", "half_widths", "wide_half_widths")
        told |= dict(zip(kinds, _intervals(fused, measures, types, truth[:, 0]), strict=True))
    return FeatureErrors(numbers, wrong, **told)


@dataclass(frozen=True)
class Measure:
    """A number or an angle, and how its errors are measured.

    Attributes:
        place: of the number, or of the angle's sine, which its cosine follows.
        range: from the smallest to the largest value in training; of an angle the full circle.
        units: of an angle in a radian; None of a number.
    """

    place: int
    range: float
    units: float | None = None

    def value(self, values: Float[np.ndarray, "*batch state"]) -> Float[np.ndarray, "*batch"]:
        """Its values, of states in their own units."""
        if self.units is None:
            return values[..., self.place]
        return self.units * np.arctan2(values[..., self.place], values[..., self.place + 1])

    def apart(
        self, one: Float[np.ndarray, "*#batch"], other: Float[np.ndarray, "*#batch"]
    ) -> Float[np.ndarray, "*#batch"]:
        """How far two values are from each other."""
        away = np.abs(one - other)
        return away if self.units is None else np.minimum(away % self.range, -away % self.range)

    def level(self, wanted: float) -> float:
        """Of the intervals that make one of this level: an angle's is of its sine's and its cosine's."""
        return wanted if self.units is None else 0.5 + wanted / 2


def _measures(types: FeatureTypes, scaling: Scaling, names: Sequence[str]) -> dict[str, Measure]:
    """Each number by its name, in order; an angle whose sine and cosine are numbers in their place."""
    numbers, ranges = set(np.flatnonzero(types.is_number).tolist()), np.asarray(scaling.maximum - scaling.minimum)
    angles = {place: (name, units) for name, place, units in angles_among(names) if {place, place + 1} <= numbers}
    found = {}
    for place in sorted(numbers):
        if place in angles:
            name, units = angles[place]
            found[name] = Measure(place, 2 * np.pi * units, units)
        elif place - 1 not in angles:
            found[names[place]] = Measure(place, float(ranges[place]))
    return found


def _in_units(scaling: Scaling, scaled: Array) -> Float[np.ndarray, "*batch state"]:
    """Scaled states in the state's own units, in float64."""
    low, high = (np.asarray(end, np.float64) for end in (scaling.minimum, scaling.maximum))
    return low + (high - low) * np.asarray(scaled, np.float64)


def _errors(measures: Mapping[str, Measure], found: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    return {name: one.apart(one.value(found), one.value(truth)) for name, one in measures.items()}


def _compared(
    errors: Mapping[str, dict[str, np.ndarray]], used: str, episodes: np.ndarray
) -> dict[str, dict[str, list[str]]]:
    """The numbers in which each other way errs less than the one that is used, and more, by more than chance."""
    means = {
        way: {name: by_episode(error.mean(axis=1), episodes) for name, error in found.items()}
        for way, found in errors.items()
    }

    def those(certain: Callable[[np.ndarray, np.ndarray], bool]) -> dict[str, list[str]]:
        found = {way: [n for n, one in means[way].items() if certain(one, means[used][n])] for way in means}
        return {way: names for way, names in found.items() if names}

    return {"better": those(certainly_less), "worse": those(lambda one, ours: certainly_less(ours, one))}


def _quantiles(errors: np.ndarray) -> dict[str, float]:
    return {name: float(np.quantile(errors, share)) for name, share in QUANTILES.items()}


def _choices(types: FeatureTypes, names: Sequence[str]) -> list[tuple[str, int, int]]:
    """Name, first and one past the last place of each feature or group that is no number, in their order."""
    single = [(names[place], place, place + 1) for place in types.binary]
    groups = [(f"{names[first]} … {names[stop - 1]}", first, stop) for first, stop in types.groups]
    return sorted([*single, *groups], key=lambda choice: choice[1])


def _are_wrong(found: Array, states: Array, first: int, stop: int) -> np.ndarray:
    chosen, truth = np.asarray(found)[..., first:stop], np.asarray(states)[:, None, first:stop]
    if stop - first == 1:
        return (chosen > 0.5) != (truth > 0.5)
    return chosen.argmax(axis=-1) != truth.argmax(axis=-1)


def _intervals(
    fused: TeamEstimate, measures: Mapping[str, Measure], types: FeatureTypes, truth: Float[np.ndarray, "joint state"]
) -> tuple[dict[str, dict[str, float]], ...]:
    """How often they contain the truth, of each number and of all; half their width, usual and wide."""
    covered, usual, wide = {}, {}, {}
    for name, measure in measures.items():
        levels = [level for level in LEVELS if fused.promises(level) and fused.promises(measure.level(level))]
        bounds = {f"{level:.0%}": _bounds(fused, name, level) for level in levels}
        value, half = measure.value(truth), {level: (high - low) / 2 for level, (low, high) in bounds.items()}
        covered[name] = {level: float(np.mean(_inside(measure, value, *pair))) for level, pair in bounds.items()}
        usual[name], wide[name] = (
            {level: float(np.quantile(one, QUANTILES[share])) for level, one in half.items()}
            for share in ("median", "q90")
        )
    return {"all numbers": _covered_numbers(fused, measures, covered, types, truth), **covered}, usual, wide


def _covered_numbers(
    fused: TeamEstimate,
    measures: Mapping[str, Measure],
    covered: Mapping[str, Mapping[str, float]],
    types: FeatureTypes,
    truth: Float[np.ndarray, "joint state"],
) -> dict[str, float]:
    """Of all numbers together: of each what was measured, of an angle's sine and cosine as of two."""
    known = {measure.place: covered[name] for name, measure in measures.items() if measure.units is None}

    def of_number(place: int, level: float) -> float:
        if place in known:
            return known[place][f"{level:.0%}"]
        low, high = _bounds(fused, fused.state_names[place], level)
        return float(np.mean((low <= truth[:, place]) & (truth[:, place] <= high)))

    places, levels = np.flatnonzero(types.is_number).tolist(), filter(fused.promises, LEVELS)
    return {f"{level:.0%}": float(np.mean([of_number(place, level) for place in places])) for level in levels}


def _bounds(fused: TeamEstimate, name: str, level: float) -> tuple[np.ndarray, np.ndarray]:
    low, high = fused.interval(name, level)
    return np.asarray(low, np.float64), np.asarray(high, np.float64)


def _inside(measure: Measure, value: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    if measure.units is None:
        return (low <= value) & (value <= high)
    return (value - low) % measure.range <= high - low
