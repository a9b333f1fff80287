"""What all agents of a problem see of its state: information that they have in common without a message."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from composite_flow.problems.sensor import SensorNetwork
from composite_flow.problems.smax import SMAX


def common_areas(problem: SensorNetwork) -> Bool[Array, " areas"]:
    """The areas that every sensor covers and never misses a target in."""
    return jnp.all(problem.coverage, axis=0) & (problem.miss == 0)


def common_features(problem: SMAX, state: Float[Array, " state"]) -> Bool[Array, " state"]:
    """The features of those living units that every living ally sees; none where no ally lives.

    Args:
        problem: whose sight counts.
        state: in the problem's own units.
    """
    seen = problem.sees_units(state)
    living = jnp.any(seen, axis=1)  # who lives sees itself
    by_all = jnp.all(seen | ~living[:, None], axis=0) & jnp.any(living)
    return jnp.repeat(by_all, len(state) // len(by_all))
