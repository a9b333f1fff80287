"""Logs that need not fit into memory: read twice, part by part, each a part of whole episodes.

The first reading finds what all parts must agree on: how many actions there are, and which values a feature has that is
one of a few. The second one writes a shard for each part. A part holds arguments of `Episodes.from_arrays`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from composite_flow.data.arrays import as_array
from composite_flow.data.columns import Columns
from composite_flow.data.description import shard_description
from composite_flow.data.feature_types import GROUP
from composite_flow.data.features import Feature, Types, features_of
from composite_flow.data.folder import new_folder
from composite_flow.data.own_arrays import flattened, unscaled_arrays
from composite_flow.data.scaling import ScaledBy, Scaling
from composite_flow.data.state_limits import StateLimits
from composite_flow.errors import InputError

Parts = Iterable[Mapping[str, Any]]
_OPTIONAL = ("actions", "alive", "availability", "known", "num_actions", "choices", "rewards", "truncations")
_OPTIONAL += ("state_names", "observation_names", "agent_names", "observed")  # arguments of `Episodes.from_arrays`


def write_in_parts(
    parts: Parts,
    folder: Path,
    overwrite: bool,
    required: tuple[str, ...],
    *,
    name: str,
    types: Types | None = None,
    units: Mapping[str, str] | None = None,
    scaling: ScaledBy | None = None,
    description: Mapping[str, Any] | None = None,
) -> None:
    """Write the parts of a log as a folder of shards.

    Args:
        parts: arguments of `Episodes.from_arrays`, which are the same in each; read twice.
        folder, overwrite, required: as in `write_folder`.
        name: of the log, for sentences.
        types, units, scaling, description: as in `Episodes.from_arrays`.

    Raises:
        InputError: a part cannot be used, or the parts do not fit together.
        FileError: the folder is in the way, or cannot be written.
    """
    limits, columns, names = StateLimits(scaling or "range"), Columns(), ()

    def arrays():
        nonlocal columns, names
        met = met_in(parts, types)
        for part in parts:
            found = _whole(part, met, units)
            columns, names = found.pop("columns"), found.pop("state_names")
            limits.add(found["states"][found["known"]], names)
            yield found

    def described(last: bool) -> dict[str, Any]:
        known = limits.scaling(name, columns.types) if last else Scaling.identity(len(names))
        return shard_description(names, known, dict(description or {}), {}, columns=columns)

    with new_folder(folder, required, overwrite) as writer:
        writer.write_stream(arrays(), described)


@dataclass
class Met:
    """What all parts must agree on.

    Attributes:
        types: of features by name; of those that are one of k the feature with all values that occur.
        num_actions: one more than the largest action, where each is one choice.
        choices: of each component of an action how many options it has, 0 for a number; None where it has none.
    """

    types: dict[str, str | Feature]
    num_actions: int | None = None
    choices: list[int] | None = None

    def add(self, part: Mapping[str, Any]) -> None:
        """Take in one more part; what cannot be used is refused when it is read the second time."""
        self._add_actions(part)
        if any(_is_choice(type) for type in self.types.values()):
            self._add_levels(part.get("state_names"), "state", part["states"], 1)
            self._add_levels(part.get("observation_names"), "observation", part["observations"], 2)

    def _add_actions(self, part: Mapping[str, Any]) -> None:
        actions = as_array("actions", [] if part.get("actions") is None else part["actions"])
        if actions.dtype.kind in "iub" and actions.ndim == 2 and part.get("availability") is None:
            self.num_actions = max(self.num_actions or 0, int(actions.max(initial=0)) + 1)
        if actions.ndim == 3 and part.get("choices") is None:
            whole = actions.dtype.kind in "iub"
            options = [int(actions[..., k].max(initial=0)) + 1 if whole else 0 for k in range(actions.shape[2])]
            self.choices = list(map(max, self.choices or options, options))

    def _add_levels(self, names: Sequence[str] | None, kind: str, values: Any, leading: int) -> None:
        """Values of each column that is one of k; columns are named as `own_arrays` names them."""
        rows = np.asarray(flattened(kind, as_array(f"{kind}s", values), leading))
        rows = rows.reshape(-1, rows.shape[-1])
        named = names or [f"{kind} {place}" for place in range(rows.shape[1])]
        for place, feature in enumerate(features_of(named, self.types)):
            if feature.is_choice:
                self.types[feature.name] = feature.with_levels(np.asarray(rows[:, place], np.float64))


def _is_choice(type: str | Feature) -> bool:
    return (type.type if isinstance(type, Feature) else type) == GROUP


def met_in(parts: Parts, types: Types | None) -> Met:
    """What all parts hold together; reads them once."""
    met, is_empty = Met(dict(types or {})), True
    for part in parts:
        met.add(part)
        is_empty = False
    if is_empty:
        raise InputError("There must be at least one episode.")
    return met


def _whole(part: Mapping[str, Any], met: Met, units: Mapping[str, str] | None) -> dict[str, Any]:
    """The arrays of one part as `Episodes` holds them, those included that are left out where they say nothing."""
    given = {**dict.fromkeys(_OPTIONAL), **part}
    given["num_actions"] = given["num_actions"] or met.num_actions
    given["choices"] = given["choices"] or met.choices
    found = unscaled_arrays(**given, types=met.types, units=units)
    steps, agents = found["observations"].shape[:2]
    absent = {"alive": np.ones((steps, agents), bool), "known": np.ones(steps, bool)}
    absent["truncations"] = np.zeros(steps, bool)
    return absent | {name: array for name, array in found.items() if array is not None}
