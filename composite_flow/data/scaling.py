"""The scaling of state features to [0, 1], stored with the data and undone at the edge."""

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
        """States stay as they are."""
        return cls(jnp.zeros(state_size, jnp.float32), jnp.ones(state_size, jnp.float32))

    @classmethod
    def from_states(cls, states: Float[np.ndarray, "steps state"]) -> "Scaling":
        """Min–max of each feature; the identity where every value is 0 or 1 already."""
        if np.all((states == 0) | (states == 1)):
            return cls.identity(states.shape[1])
        return cls(jnp.asarray(states.min(axis=0)), jnp.asarray(states.max(axis=0)))

    @classmethod
    def from_range(cls, minimum: Float[np.ndarray, " state"], maximum: Float[np.ndarray, " state"]) -> "Scaling":
        """Min–max of a collected range; the identity where it lies in [0, 1], which the problem then chose itself."""
        if np.all(minimum >= 0) and np.all(maximum <= 1):
            return cls.identity(len(minimum))
        return cls(jnp.asarray(minimum), jnp.asarray(maximum))

    def scale(self, states: Float[Array, "*batch state"]) -> Float[Array, "*batch state"]:
        """From the state's own units to [0, 1]."""
        axes = (None,) * (states.ndim - 1)
        minimum, span = self.minimum[axes], (self.maximum - self.minimum)[axes]
        return jnp.where(span > 0, (states - minimum) / jnp.where(span > 0, span, 1.0), 0.0)

    def unscale(self, states: Float[Array, "*batch state"]) -> Float[Array, "*batch state"]:
        """From [0, 1] to the state's own units."""
        axes = (None,) * (states.ndim - 1)
        return self.minimum[axes] + states * (self.maximum - self.minimum)[axes]
