"""Columns of a log as they are outside, and the features that they become inside: two of an angle, k of one of k."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from composite_flow.data.angles import ANGLE, DEGREES, angle_features, angle_names
from composite_flow.data.feature_types import BINARY, GROUP, NUMBER
from composite_flow.errors import InputError

TYPES = (NUMBER, BINARY, GROUP, ANGLE, DEGREES)
_MOST_LEVELS = 1024


@dataclass(frozen=True)
class Feature:
    """A column outside, and what it is inside.

    Attributes:
        name: of the column.
        type: one of `TYPES`; "one of k: NAME" where several columns are a group already; "" where it is to be found.
        levels: values of a column that is one of k, in order.
    """

    name: str
    type: str = ""
    levels: tuple[Any, ...] = ()

    def __post_init__(self):
        if self.type and self.type not in TYPES and not self.type.startswith(f"{GROUP}: "):
            raise InputError(f"{self.name!r} cannot be of type {self.type!r}; types are {', '.join(map(repr, TYPES))}.")

    @property
    def is_choice(self) -> bool:
        """Whether the column holds the values of one of k, each of which becomes a feature."""
        return self.type == GROUP

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features inside."""
        if self.type in (ANGLE, DEGREES):
            return angle_names(self.name, self.type == DEGREES)
        return tuple(f"{self.name} = {_text(level)}" for level in self.levels) if self.is_choice else (self.name,)

    @property
    def declared(self) -> tuple[str, ...]:
        """The types of the features inside, as `find_types` reads them."""
        if self.type in (ANGLE, DEGREES):
            return NUMBER, NUMBER
        return len(self.levels) * (f"{GROUP}: {self.name}",) if self.is_choice else (self.type,)

    def columns(self, values: np.ndarray) -> Float[np.ndarray, "rows features"]:
        """The features of these values; NaN stays NaN, a value that is none of the levels has zeros everywhere."""
        if self.type in (ANGLE, DEGREES):
            return angle_features(values, self.type == DEGREES)
        if self.is_choice:
            found = (values[:, None] == np.asarray(self.levels, dtype=values.dtype)[None]).astype(np.float64)
            return np.where(_is_missing(values)[:, None], np.nan, found)
        if self.type == BINARY and not np.all((values == 0) | (values == 1) | np.isnan(values)):
            raise InputError(f"{self.name!r} is said to be binary, but holds values other than 0 and 1.")
        return values[:, None]

    def with_levels(self, values: np.ndarray) -> "Feature":
        """The same column with the values that occur as its levels, beside those it has, where it is one of k.

        Raises:
            InputError: they are too many.
        """
        if not self.is_choice:
            return self
        levels = tuple(sorted({*self.levels, *np.unique(values[~_is_missing(values)]).tolist()}))
        if len(levels) > _MOST_LEVELS:
            raise InputError(f"{self.name!r} has more than {_MOST_LEVELS} values; it is hardly one of k.")
        return Feature(self.name, self.type, levels)


Types = Mapping[str, str | Feature]
"""By the name of a column its type, or the feature that it is known to be."""


def features_of(names: Sequence[str], types: Types | None) -> list[Feature]:
    """A feature for each name, of its type where one is given, or the feature itself where its levels are known."""
    given = [(str(name), (types or {}).get(name, "")) for name in names]
    return [type if isinstance(type, Feature) else Feature(name, type) for name, type in given]


def check_are_columns(what: str, given: Mapping[str, Any] | None, *names: Sequence[str]) -> None:
    """Refuse types or units of columns that are not there."""
    unknown = [name for name in given or {} if not any(name in some for some in names)]
    if unknown:
        raise InputError(f"{what} names {unknown[0]!r}, which is no column of these data.")


def widened(
    features: Sequence[Feature], values: Float[np.ndarray, "rows columns"]
) -> Float[np.ndarray, "rows features"]:
    """All features of a table of numbers, side by side."""
    if all(len(feature.names) == 1 and feature.type != BINARY for feature in features):
        return values
    columns = [feature.columns(values[:, place]) for place, feature in enumerate(features)]
    return np.concatenate(columns, axis=1).astype(np.result_type(values, *columns))


def all_names(features: Sequence[Feature]) -> tuple[str, ...]:
    """The names of all features inside."""
    return tuple(name for feature in features for name in feature.names)


def columns_of(features: Sequence[Feature]) -> tuple[str, ...]:
    """Of all features inside the column that each was read from, as sentences about a table name it."""
    return tuple(feature.name for feature in features for _ in feature.names)


def all_declared(features: Sequence[Feature]) -> tuple[str, ...]:
    """What is declared of all features inside; empty where nothing is."""
    declared = tuple(type for feature in features for type in feature.declared)
    return declared if any(declared) else ()


def _text(level: Any) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)


def _is_missing(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype != object:
        return np.zeros(len(values), bool)
    return np.array([value is None for value in values.tolist()], bool)
