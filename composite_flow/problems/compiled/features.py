"""States of simulators as flat features with names, from dictionaries of arrays by name."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Parts = Mapping[str, Array]


def flat(parts: Parts) -> Float[Array, " features"]:
    """All parts side by side, as float32."""
    return jnp.concatenate([jnp.ravel(part).astype(jnp.float32) for part in parts.values()])


def names(parts: Parts) -> tuple[str, ...]:
    """A name for each feature; `parts` may hold shapes alone."""
    found = []
    for name, part in parts.items():
        places = np.ndindex(part.shape) if part.shape else [()]
        found += [" ".join([name, *map(str, place)]) for place in places]
    return tuple(found)


def one_hot(values: Array, count: int) -> Array:
    """One of `count`, along a new last axis."""
    return jax.nn.one_hot(values, count, dtype=jnp.float32)


def bits(values: Array, count: int) -> Array:
    """The lowest bits of whole numbers, along a new last axis."""
    return (values[..., None] >> jnp.arange(count)) & 1


def turned(angles: Array) -> Array:
    """Sine and cosine of angles, along a new last axis."""
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
