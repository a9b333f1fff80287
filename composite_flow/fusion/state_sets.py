"""Sets of whole states, where states are finite: all that a team must hold possible, at a level.

    log w(s) = Σ_k log p(s_k),   p(s | team) ≈ w(s) / Σ w over the states that are known
    the set of a level: every known state with −log p(s | team) ≤ r

p(s_k) are what the participants say of each feature, of a group what they say of the one that holds. r is the quantile
of −log p(true state | team) on calibration episodes, so that sets cover as often as they say however wrong p is (least
ambiguous sets: Sadinle, Lei and Wasserman, 2019). A state that is not known counts as infinitely unlikely: where such
states are more frequent than a level allows, r is infinite, and every known state is in the set.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from composite_flow.fusion.answers import SMALLEST_FREQUENCY
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.levels import LEVELS, Over

MOST_STATES = 4096
"""More known states than these make sets that take longer to list than they are worth."""


class StateSets(eqx.Module):
    """What sets are made from.

    Attributes:
        states: those that are known, scaled.
        step, episode: r by size of team, at each of `LEVELS`, for one new step and for all steps of a new episode.
    """

    states: Float[Array, "states state"]
    step: Float[Array, "sizes levels"]
    episode: Float[Array, "sizes levels"]

    def members(
        self, mean: Float[Array, " state"], types: FeatureTypes, place: Int[Array, ""], level: float, over: Over
    ) -> Bool[Array, " states"]:
        """Which of the known states are in the set.

        Args:
            mean: what a team says, scaled.
            types: of the features.
            place: of the team's size among those measured.
            level: one of `LEVELS`.
            over: what the set is to hold for.
        """
        reach = (self.step if over == "step" else self.episode)[place, LEVELS.index(level)]
        return -log_chances(mean, self.states, types) <= reach

    @property
    def settings(self) -> dict[str, Any]:
        """What `empty` needs; JSON-able."""
        count, size = self.states.shape
        return {"num_states": count, "state_size": size, "num_sizes": len(self.step)}

    @classmethod
    def empty(cls, num_states: int, state_size: int, num_sizes: int) -> "StateSets":
        """The same structure without its numbers."""
        return cls(jnp.zeros((num_states, state_size)), *[jnp.zeros((num_sizes, len(LEVELS)))] * 2)


def log_chances(
    mean: Float[Array, " state"], states: Float[Array, "states state"], types: FeatureTypes
) -> Float[Array, " states"]:
    """log p(s | team) of each known state; all of them scaled, none of their features a number."""
    p = jnp.clip(mean, SMALLEST_FREQUENCY, 1.0 - SMALLEST_FREQUENCY)
    other = jnp.where(jnp.asarray(types.in_group), 0.0, jnp.log1p(-p))
    weights = states @ (jnp.log(p) - other) + jnp.sum(other)
    return jax.nn.log_softmax(weights)
