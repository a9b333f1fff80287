"""Which agents cannot be relied on (`contradictions.py`), and what is usual among sound ones (`trust/usual.py`)."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from composite_flow.certificate.conformal import calibration_episodes_needed
from composite_flow.certificate.verdict import Names
from composite_flow.data.angles import as_called
from composite_flow.errors import InputError
from composite_flow.fusion.answers import Prior
from composite_flow.fusion.consistency import Consistency
from composite_flow.fusion.familiar import CHECKS, Familiar
from composite_flow.fusion.levels import LEVELS, next_level

_UNFAMILIAR = "has a history unlike those of training"
_REASONS = {  # beside features, in the order of `Watch.scale`
    "outside": "has a history outside the range of those of training",
    "far": _UNFAMILIAR,
    "off": _UNFAMILIAR,
    "misfit": "has a history that does not go with what the others say",
    "not finite": "has a history that holds what is no number",
}
NUM_CHECKS = len(CHECKS) + 1
"""Columns of `Watch.scale` beside the features: the checks of histories, and their consistency."""

USUAL = 0.99
"""Share of the steps of sound teams in which nobody is in doubt, by default."""

UNFAMILIAR = (*CHECKS, "not finite")
"""Reasons that lie in an agent's history alone."""


class Watch(eqx.Module):
    """What is usual among sound agents.

    Attributes:
        familiar: the histories of training.
        scale: what is usual of each feature's discrepancy, of each check of histories, and of their consistency.
        bounds: of the largest doubt of a team, for each of `LEVELS`.
        num_episodes: calibration episodes; 0 where nothing was measured.
        consistency: how well a history goes with what others say; None where it was not learned.
    """

    familiar: Familiar
    scale: Float[Array, " columns"]
    bounds: Float[Array, " levels"]
    num_episodes: int = eqx.field(static=True)
    consistency: Consistency | None = None

    @classmethod
    def unmeasured(cls, familiar: Familiar, state_size: int, consistency: Consistency | None = None) -> "Watch":
        """What was learned of histories; what is usual is not known yet."""
        columns = jnp.ones(state_size + NUM_CHECKS)
        return cls(familiar, columns, jnp.zeros(len(LEVELS)), 0, consistency)

    @property
    def measured(self) -> bool:
        """Whether what is usual was measured."""
        return self.num_episodes > 0

    @property
    def settings(self) -> dict[str, Any]:
        """What `empty` needs; JSON-able."""
        own = None if self.consistency is None else self.consistency.settings
        counts = {"num_episodes": self.num_episodes, "columns": len(self.scale)}
        return {**counts, "familiar": self.familiar.settings, "consistency": own}

    @classmethod
    def empty(
        cls,
        num_episodes: int,
        columns: int,
        familiar: dict[str, int],
        consistency: dict[str, int] | None,
        prior: Prior,
    ) -> "Watch":
        """The same structure without its numbers; the prior is that of the answers."""
        empty = None if consistency is None else Consistency.empty(**consistency, prior=prior)
        return cls(Familiar.empty(**familiar), jnp.zeros(columns), jnp.zeros(len(LEVELS)), num_episodes, empty)

    @property
    def usual_bound(self) -> Float[Array, ""]:
        """The bound of the highest level up to 0.99 for which there were enough episodes; infinite where of none."""
        if not self.measured:
            return jnp.full((), jnp.inf)
        up_to = self.bounds[: LEVELS.index(USUAL) + 1]
        finite = jnp.isfinite(up_to)
        return jnp.where(jnp.any(finite), jnp.max(jnp.where(finite, up_to, -jnp.inf)), jnp.inf)

    def bound_for(self, robust: bool | float) -> float | Float[Array, ""]:
        """That of a level, of the usual one where it is True, and the highest there is where nobody is left out.

        Raises:
            InputError: there are too few calibration episodes for the level.
        """
        if not robust:
            return self.usual_bound
        return self.bound(USUAL if robust is True else float(robust))

    def bound(self, level: float) -> float:
        """The doubt that so many of the steps of sound teams stay below, at the next level that was measured.

        Raises:
            InputError: there are too few calibration episodes for the level.
        """
        measured = next_level(level)
        found = float(self.bounds[LEVELS.index(measured)])
        if not np.isfinite(found):
            told = f"{self.num_episodes} calibration episodes are too few to tell what {measured:g} of them do"
            needed = calibration_episodes_needed(1.0 - measured)
            raise InputError(f"{told}, which takes {needed}: name a lower level, or `calibrate` on more episodes.")
        return found


class Doubts(eqx.Module):
    """How far agents cannot be relied on; any leading axes are batch axes.

    Attributes:
        values: each agent's doubt, in multiples of what is usual; 0 for those who take no part.
        place: where it is largest: a feature, or what comes after the features in `Watch.scale`. Of an agent with an
            unfamiliar history what makes it so.
        bound: above which an agent is in doubt.
        suspects: those whom an estimate is better made without.
        left_out: those of them who were left out.
    """

    values: Float[Array, "*batch agents"]
    place: Int[Array, "*batch agents"]
    bound: Float[Array, "*batch"]
    suspects: Bool[Array, "*batch agents"]
    left_out: Bool[Array, "*batch agents"]

    @property
    def in_doubt(self) -> Bool[Array, "*batch agents"]:
        """Who was not left out, and is suspected or above the bound."""
        return (self.suspects | (self.values > self.bound[..., None])) & ~self.left_out

    def in_words(self, names: Names) -> list[str]:
        """A sentence for each agent that was left out of one estimate."""
        return [f"{self.why(agent, names)}: left out" for agent in np.flatnonzero(np.asarray(self.left_out)).tolist()]

    def reason(self, agent: int, num_features: int) -> str:
        """A name of `UNFAMILIAR`, "misfit", or "contradiction" where the agent contradicts all others in a feature."""
        place = int(self.place[agent]) - num_features
        return "contradiction" if place < 0 else tuple(_REASONS)[place]

    def why(self, agent: int, names: Names) -> str:
        """What is said of one agent of one estimate."""
        return f"{names.agent(agent)} {what_is_doubted(int(self.place[agent]), names.states)}"


def what_is_doubted(place: int, names: Sequence[str]) -> str:
    """What is said of an agent whose doubt is largest at this place, as `Doubts.place` counts; names of features."""
    if place < len(names):  # an angle's other feature stands next to it
        called = as_called(names[max(0, place - 1) : place + 2])[min(place, 1)]
        return f"contradicts all others, most of all in {called}"
    return tuple(_REASONS.values())[place - len(names)]
