"""Numbers of steps and agents, checked before they are used."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Int

from composite_flow.errors import InputError


def checked_indices(values: Int[Array, " k"] | Int[np.ndarray, " k"], count: int, name: str) -> Int[Array, " k"]:
    """The indices as int32 on the device, once they are known to be in range; traced values are not checked."""
    if not isinstance(values, Tracer):
        host = np.asarray(values)
        if not host.size:
            raise InputError(f"Ask for at least one {name}, not for none.")
        outside = host[(host < 0) | (host >= count)]
        if len(outside):
            raise InputError(f"There is no {name} {outside[0]}; they are numbered 0 to {count - 1}.")
    return jnp.asarray(values, jnp.int32)
