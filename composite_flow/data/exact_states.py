"""States of which 32 bits would merge values: scaled on the host, in float64, before they become 32-bit."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from composite_flow.data.scaling import Scaling
from composite_flow.data.shards import ShardedArray


@dataclass(frozen=True, eq=False)
class ExactStates:
    """States in their own units, in float64, and the scaling that is theirs; compiled functions see neither.

    Attributes:
        values: the states.
        scaling: maps them to [0, 1].
    """

    values: np.ndarray | ShardedArray
    scaling: Scaling

    def scaled(self) -> np.ndarray | ShardedArray:
        """The scaled states; those in shards are scaled when they are read."""
        return self.values if isinstance(self.values, ShardedArray) else self.scale(self.values)

    def scale(self, states: Float[np.ndarray, "*batch state"]) -> Float[np.ndarray, "*batch state"]:
        """Some of the states, scaled to [0, 1] in float64 and then 32-bit."""
        return np.asarray(self.scaling.scale(np.asarray(states, np.float64)))
