"""Which agents contradict all others, and how far sound agents do; found by `trust/doubt.py`."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from composite_flow.errors import InputError
from composite_flow.fusion.calibration import LEVELS, next_level


class Gate(eqx.Module):
    """What is usual among sound agents.

    Attributes:
        scale: of each feature's discrepancies.
        bounds: of the largest doubt of a team, for each of `LEVELS`.
        num_episodes: calibration episodes.
    """

    scale: Float[Array, " state"]
    bounds: Float[Array, " levels"]
    num_episodes: int = eqx.field(static=True)

    @property
    def settings(self) -> dict[str, Any]:
        """What `empty` needs; JSON-able."""
        return {"num_episodes": self.num_episodes, "state_size": len(self.scale)}

    @classmethod
    def empty(cls, num_episodes: int, state_size: int) -> "Gate":
        """The same structure without its numbers."""
        return cls(jnp.zeros(state_size), jnp.zeros(len(LEVELS)), num_episodes)

    def bound(self, level: float) -> float:
        """The doubt that so many of the steps of sound teams stay below, at the next level that was measured.

        Raises:
            InputError: there are too few calibration episodes for the level.
        """
        measured = next_level(level)
        found = float(self.bounds[LEVELS.index(measured)])
        if not np.isfinite(found):
            raise InputError(
                f"{self.num_episodes} calibration episodes are too few to tell what {measured:g} of them do."
            )
        return found


class Doubts(eqx.Module):
    """How far agents contradict the others.

    Attributes:
        values: each agent's doubt; 0 for those who take no part.
        feature: the place of the feature in which it is largest.
        left_out: the agents in doubt, whom an estimate is better made without.
    """

    values: Float[Array, " agents"]
    feature: Int[Array, " agents"]
    left_out: Bool[Array, " agents"]

    def in_words(self, names: Sequence[str]) -> list[str]:
        """A sentence for each agent that was left out; names are those of the features."""
        feature = np.asarray(self.feature)
        return [
            f"agent {agent} contradicts all others, most of all in {names[feature[agent]]}: left out"
            for agent in np.flatnonzero(np.asarray(self.left_out)).tolist()
        ]
