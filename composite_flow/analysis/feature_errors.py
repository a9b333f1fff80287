"""How far estimates lie from the truth, feature by feature and in the state's own units.

numbers            quantiles of |ŝ_k − s_k| over joint histories, samples and agents
binary features    share of the estimates on the wrong side of ½
one of k           share of the estimates whose largest feature is not the true one

Of numbers also how often the stated intervals of fusion contain the truth, and how wide they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from composite_flow.data.scaling import Scaling
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.team_estimate import TeamEstimate

QUANTILES = {"median": 0.5, "q90": 0.9, "q99": 0.99}
LEVELS = (0.8, 0.9, 0.95)


@dataclass(frozen=True)
class FeatureErrors:
    """Errors by the names of features and of ways to infer the state.

    Attributes:
        numbers: for each number and way the error in its own units that so many of the errors do not exceed.
        wrong: for each other feature and way the share of wrong estimates; a group has its first and last name.
        covered: for each number, and "all numbers", the share of the joint histories whose truth lies in the interval
            of each level; empty where no intervals are stated.
        half_widths: for each number half the width of these intervals in its own units, in the median.
        wide_half_widths: the same, what one interval in ten exceeds.
    """

    numbers: dict[str, dict[str, dict[str, float]]]
    wrong: dict[str, dict[str, float]]
    covered: dict[str, dict[str, float]]
    half_widths: dict[str, dict[str, float]]
    wide_half_widths: dict[str, dict[str, float]]


def feature_errors(
    estimates: Mapping[str, Float[Array, "joint _ state"]],
    states: Float[Array, "joint state"],
    types: FeatureTypes,
    scaling: Scaling,
    names: Sequence[str],
    fused: TeamEstimate | None = None,
) -> FeatureErrors:
    """Measure estimates against the truth.

    Args:
        estimates: scaled, of each way: of a joint history one, or as many as there are samples or agents.
        states: the truth, scaled.
        types: of the features.
        scaling: to the state's own units.
        names: of the features.
        fused: what whole teams say, in the state's own units, whose intervals are held against the truth.
    """
    errors = {way: np.abs(_in_units(scaling, found - states[:, None])) for way, found in estimates.items()}
    numbers = {
        names[place]: {way: _quantiles(error[..., place]) for way, error in errors.items()}
        for place in np.flatnonzero(types.is_number).tolist()
    }
    wrong = {
        name: {way: float(_are_wrong(found, states, first, stop).mean()) for way, found in estimates.items()}
        for name, first, stop in _choices(types, names)
    }
    levels = [level for level in LEVELS if fused is not None and fused.promises(level)]
    if fused is None or not levels or not numbers:
        return FeatureErrors(numbers, wrong, {}, {}, {})
    return FeatureErrors(numbers, wrong, *_intervals(fused, scaling.unscale(states), levels))


def _in_units(scaling: Scaling, differences: Array) -> np.ndarray:
    """Differences of scaled states in the state's own units."""
    return np.asarray(differences, np.float64) * np.asarray(scaling.maximum - scaling.minimum, np.float64)


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
    fused: TeamEstimate, states: Float[Array, "joint state"], levels: Sequence[float]
) -> tuple[dict[str, dict[str, float]], ...]:
    """How often they contain the truth, of each number and of all; half their width, usual and wide."""
    numbers = np.flatnonzero(fused.types.is_number)
    names, truth = [fused.state_names[place] for place in numbers], states[:, numbers]
    inside, half = {}, {}
    for level in levels:
        low, high = (jnp.stack(side, -1) for side in zip(*(fused.interval(name, level) for name in names), strict=True))
        inside[f"{level:.0%}"] = np.asarray((truth >= low) & (truth <= high))
        half[f"{level:.0%}"] = np.asarray(high - low, np.float64) / 2
    columns = dict(enumerate(names))
    covered = {name: {level: float(lies[:, k].mean()) for level, lies in inside.items()} for k, name in columns.items()}

    def reached(share: float) -> dict[str, dict[str, float]]:
        widths = {level: np.quantile(one, share, axis=0) for level, one in half.items()}
        return {name: {level: float(one[k]) for level, one in widths.items()} for k, name in columns.items()}

    usual, wide = reached(QUANTILES["median"]), reached(QUANTILES["q90"])
    return {"all numbers": {level: float(lies.mean()) for level, lies in inside.items()}, **covered}, usual, wide
