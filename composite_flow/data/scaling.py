"""The scaling of state features to [0, 1]; it is stored with the data and undone when states are shown to users."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from composite_flow.errors import InputError


class Scaling(eqx.Module):
    """An affine map of each state feature.

        scale(s) = (s − minimum) / (maximum − minimum)

    A constant feature, minimum = maximum, is mapped to 0 and comes back as its constant.
    """

    minimum: Float[Array, " state"]
    maximum: Float[Array, " state"]

    def __check_init__(self):
        if not bool(jnp.all(self.minimum <= self.maximum)):
            raise InputError("A scaling needs a minimum that is nowhere above its maximum.")

    @classmethod
    def identity(cls, state_size: int) -> "Scaling":
        """The scaling that leaves states as they are."""
        return cls(jnp.zeros(state_size, jnp.float32), jnp.ones(state_size, jnp.float32))

    @classmethod
    def from_states(cls, states: Float[np.ndarray, "steps state"]) -> "Scaling":
        """The scaling by each feature's minimum and maximum; the identity where every value is 0 or 1 already."""
        if np.all((states == 0) | (states == 1)):
            return cls.identity(states.shape[1])
        return cls(jnp.asarray(states.min(axis=0)), jnp.asarray(states.max(axis=0)))

    @classmethod
    def from_range(cls, minimum: Float[np.ndarray, " state"], maximum: Float[np.ndarray, " state"]) -> "Scaling":
        """The scaling by a collected range; the identity where the range lies in [0, 1] already."""
        if np.all(minimum >= 0) and np.all(maximum <= 1):
            return cls.identity(len(minimum))
        return cls(jnp.asarray(minimum), jnp.asarray(maximum))

    def scale(self, states: Float[Array, "*batch state"]) -> Float[Array, "*batch state"]:
        """Map states from their own units to [0, 1]."""
        axes = (None,) * (states.ndim - 1)
        minimum, span = self.minimum[axes], (self.maximum - self.minimum)[axes]
        return jnp.where(span > 0, (states - minimum) / jnp.where(span > 0, span, 1.0), 0.0)

    def unscale(self, states: Float[Array, "*batch state"]) -> Float[Array, "*batch state"]:
        """Map states from [0, 1] back to their own units."""
        axes = (None,) * (states.ndim - 1)
        return self.minimum[axes] + states * (self.maximum - self.minimum)[axes]
