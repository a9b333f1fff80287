"""What a page shows, on the host; `from_model` and `from_records` make it, `html` writes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from composite_flow.data.scaling import Scaling
from composite_flow.errors import InputError
from composite_flow.fusion.features import FeatureTypes

Part = tuple[Mapping[str, Any], Mapping[str, np.ndarray]]
"""Entries of the header, and arrays."""

WHOLE_STATES = 2**22
"""Numbers of all states up to which they are kept in 32 bits."""


@dataclass(frozen=True, eq=False)
class PageContent:
    """Episodes of a team, and what its agents say in them.

    Attributes:
        title: of the page.
        agents: a name for each.
        features: a name for each feature of the state.
        types: of the features.
        scaling: of the states.
        lengths: steps of each episode; all arrays are flat over the steps of these episodes.
        states: the true ones, scaled; not a number where they are not known.
        parts: what else is shown: answers, intervals, doubts, a network, a map.
        notes: sentences for whoever looks at the page.
    """

    title: str
    agents: tuple[str, ...]
    features: tuple[str, ...]
    types: FeatureTypes
    scaling: Scaling
    lengths: tuple[int, ...]
    states: Float[np.ndarray, "steps state"]
    parts: Sequence[Part] = ()
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self):
        if sum(self.lengths) != len(self.states) or not self.lengths or min(self.lengths) < 1:
            raise InputError(f"Episodes of {self.lengths} steps cannot be made of {len(self.states)} states.")

    def block(self) -> Part:
        """The header and all arrays."""
        header: dict[str, Any] = {
            "title": self.title,
            "agents": list(self.agents),
            "features": list(self.features),
            "types": {"binary": list(self.types.binary), "groups": [list(group) for group in self.types.groups]},
            "lengths": list(self.lengths),
            "notes": list(self.notes),
        }
        stored = np.float32 if self.states.size <= WHOLE_STATES else np.float16
        low, high = (np.asarray(limit, np.float64) for limit in (self.scaling.minimum, self.scaling.maximum))
        arrays = {"states": self.states.astype(stored), "low": low, "span": high - low}
        for entries, more in self.parts:
            header.update(entries)
            arrays.update(more)
        return header, arrays
