"""What all parts of a log have shown of their states: the scaling, once the last part was read."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from composite_flow.data.precision import check_scaled
from composite_flow.data.scaling import ScaledBy, Scaling
from composite_flow.errors import InputError

_SAMPLED = 4096  # states of a part that quantiles are taken from


@dataclass
class StateLimits:
    """The range of the states so far.

    Attributes:
        scaled_by: what the scaling of states comes from.
        ends: the smallest and the largest value of each feature; empty before the first state.
        sample: some of the states, for quantiles.
        are_bits: whether all values are 0 or 1.
    """

    scaled_by: ScaledBy
    ends: list[np.ndarray] = field(default_factory=list)
    sample: list[np.ndarray] = field(default_factory=list)
    are_bits: bool = True

    def add(self, states: Float[np.ndarray, "steps state"], names: Sequence[str]) -> None:
        """Widen the range by the known states of one more part.

        Raises:
            InputError: distinct values of a feature merge in 32 bits once they are scaled.
        """
        if not len(states):
            return
        ends = [states.min(axis=0), states.max(axis=0)]
        if self.ends:
            ends = [np.minimum(self.ends[0], ends[0]), np.maximum(self.ends[1], ends[1])]
        self.ends, self.are_bits = ends, self.are_bits and bool(np.all((states == 0) | (states == 1)))
        check_scaled(states, Scaling.of_limits(ends[0], ends[1]).scale, names)
        if self.scaled_by == "quantiles":
            self.sample.append(states[:: max(1, len(states) // _SAMPLED)])

    def scaling(self, source: str, declared: Sequence[str]) -> Scaling:
        """Of the states so far.

        Args:
            source: what the log is called in sentences.
            declared: types of the features.

        Raises:
            InputError: none of the states is known.
        """
        if not self.ends:
            raise InputError(f"{source}: no row tells a whole state, so that there is nothing to learn from.")
        if self.are_bits:
            found = Scaling.identity(len(self.ends[0]))
        elif self.scaled_by == "quantiles":
            found = Scaling.from_quantiles(np.concatenate(self.sample))
        else:
            found = Scaling.of_limits(self.ends[0], self.ends[1], "range")
        return found.with_types(declared)
