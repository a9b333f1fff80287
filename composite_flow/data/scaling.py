"""The scaling of state features to [0, 1]; it is stored with the data and undone when states are shown to users."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from composite_flow.data.feature_types import NUMBER
from composite_flow.data.precision import middle_of
from composite_flow.errors import InputError

ScaledBy = Literal["range", "quantiles", "given"]
"""From the minimum and maximum of training states, from their quantiles, or as it was given."""
if TYPE_CHECKING:  # whoever reads them need not tell the two apart
    OwnArray = Array
else:
    OwnArray = Array | np.ndarray
"""An array in the state's own units: of JAX, but of NumPy where 32 bits would merge its values."""


class Scaling(eqx.Module):
    """An affine map of each state feature.

        scale(s) = (s − minimum) / (maximum − minimum)

    A constant feature, minimum = maximum, is mapped to 0 and comes back as its constant. Limits in float64 are those of
    states that 32 bits do not tell apart: they are scaled and unscaled in float64, on the host.

    Attributes:
        minimum, maximum: mapped to 0 and to 1.
        by: what they come from; what is measured is measured anew from the training part of a split.
    """

    minimum: Float[OwnArray, " state"]
    maximum: Float[OwnArray, " state"]
    by: ScaledBy = eqx.field(static=True, default="given")

    def __check_init__(self):
        if not bool(np.all(np.asarray(self.minimum) <= np.asarray(self.maximum))):
            raise InputError("A scaling needs a minimum that is nowhere above its maximum.")

    @property
    def is_double(self) -> bool:
        """Whether it scales in float64."""
        return self.minimum.dtype == np.float64

    @classmethod
    def identity(cls, state_size: int) -> "Scaling":
        """The scaling that leaves states as they are."""
        return cls(jnp.zeros(state_size, jnp.float32), jnp.ones(state_size, jnp.float32))

    @classmethod
    def empty(cls, state_size: int, dtype: str) -> "Scaling":
        """Limits of this type without their numbers, for a file to be read."""
        return cls.of_limits(np.zeros(state_size, dtype), np.zeros(state_size, dtype))

    @classmethod
    def from_states(cls, states: Float[np.ndarray, "steps state"]) -> "Scaling":
        """The scaling by each feature's minimum and maximum; the identity where every value is 0 or 1 already."""
        if np.all((states == 0) | (states == 1)):
            return cls.identity(states.shape[1])
        return cls.of_limits(states.min(axis=0), states.max(axis=0), "range")

    @classmethod
    def from_range(cls, minimum: Float[np.ndarray, " state"], maximum: Float[np.ndarray, " state"]) -> "Scaling":
        """The scaling by a collected range; the identity where the range lies in [0, 1] already."""
        if np.all(minimum >= 0) and np.all(maximum <= 1):
            return cls.identity(len(minimum))
        return cls.of_limits(minimum, maximum, "range")

    @classmethod
    def from_quantiles(cls, states: Float[np.ndarray, "steps state"]) -> "Scaling":
        """The scaling by the quantiles 0.005 and 0.995, for outliers; by the range where these are equal."""
        low, high = middle_of(np.asarray(states, np.float64))
        spread = low < high
        low, high = np.where(spread, low, states.min(axis=0)), np.where(spread, high, states.max(axis=0))
        return cls.of_limits(low.astype(states.dtype), high.astype(states.dtype), "quantiles")

    @classmethod
    def of_limits(cls, minimum: np.ndarray, maximum: np.ndarray, by: ScaledBy = "given") -> "Scaling":
        """Of limits on the host: in float64 where they are, else in float32."""
        as_stored: Any = np.asarray if minimum.dtype == np.float64 else jnp.asarray
        return cls(as_stored(minimum), as_stored(maximum), by)

    def with_types(self, declared: Sequence[str]) -> "Scaling":
        """The same scaling, but features that are declared binary or one of k stay as they are."""
        if not len(declared) or self.by == "given":
            return self
        bits = np.array([type not in (NUMBER, "") for type in declared])
        low, high = np.where(bits, 0, np.asarray(self.minimum)), np.where(bits, 1, np.asarray(self.maximum))
        kept = self.minimum.dtype
        return Scaling.of_limits(low.astype(kept), high.astype(kept), self.by)

    def scale(self, states: Any) -> Any:
        """Map states `(*batch, state)` from their own units to [0, 1]."""
        if self.is_double or (isinstance(states, np.ndarray) and states.dtype == np.float64):
            limits = (np.asarray(limit, np.float64) for limit in (self.minimum, self.maximum))
            return _scaled(np, np.asarray(states, np.float64), *limits).astype(np.float32)
        return _scaled(jnp, states, self.minimum, self.maximum)

    def unscale(self, states: Any) -> Any:
        """Map states `(*batch, state)` from [0, 1] back to their own units."""
        states = np.asarray(states, np.float64) if self.is_double else states
        axes = (None,) * (states.ndim - 1)
        return self.minimum[axes] + states * (self.maximum - self.minimum)[axes]

    def scale_variances(self, variances: Any) -> np.ndarray:
        """Map variances `(*batch, state)` from squared units to those of scaled states; of constants they stay."""
        variances, span = np.asarray(variances), np.asarray(self.maximum) - np.asarray(self.minimum)
        return variances / np.where(span > 0, span, 1.0)[(None,) * (variances.ndim - 1)] ** 2


def _scaled(numpy: Any, states: Any, minimum: Any, maximum: Any) -> Any:
    axes = (None,) * (states.ndim - 1)
    minimum, span = minimum[axes], (maximum - minimum)[axes]
    return numpy.where(span > 0, (states - minimum) / numpy.where(span > 0, span, 1.0), 0.0)
