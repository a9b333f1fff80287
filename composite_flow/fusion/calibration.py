"""How far errors of fused estimates reach, as calibration episodes have shown: per feature, and of all at once.

A quantile for each feature, level and size of team, over one new step or over all steps of a whole new episode; and for
regions the quantile of max_k u_k / scale_k, with the scores u of `trust/scores.py`. Measured by `trust/measure.py`.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from composite_flow.certificate.conformal import calibration_episodes_needed
from composite_flow.errors import InputError
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.levels import LEVELS, Over, next_level
from composite_flow.fusion.state_sets import StateSets, log_chances

USUAL_WIDTH = 0.975
"""Share of the calibration steps whose estimates are narrower than the widest that is usual."""


class Calibration(eqx.Module):
    """Quantiles of scores.

    Attributes:
        sizes: of teams that were measured, rising.
        num_episodes: calibration episodes.
        scale: by which each feature's scores are divided in regions.
        step, episode: quantiles of each feature at each of `LEVELS`.
        step_region, episode_region: of max_k u_k / scale_k.
        width: quantiles of √Σ variance.
        lost: share of the answers that did not arrive, so that a size is of the team that was to answer.
        sets: of whole states; None where states are not finite, or too many.
    """

    sizes: tuple[int, ...] = eqx.field(static=True)
    num_episodes: int = eqx.field(static=True)
    scale: Float[Array, "sizes state"]
    step: Float[Array, "sizes levels state"]
    episode: Float[Array, "sizes levels state"]
    step_region: Float[Array, "sizes levels"]
    episode_region: Float[Array, "sizes levels"]
    width: Float[Array, "sizes levels"]
    lost: float = eqx.field(static=True)
    sets: StateSets | None = None

    def reach(self, place: int, level: float, size: Int[Array, "*batch"], over: Over) -> Float[Array, "*batch"]:
        """The quantile of one feature's scores, at the next level that was measured, of the nearest size.

        Raises:
            InputError: the level is above those measured, or there are too few episodes for it.
        """
        values = (self.step if over == "step" else self.episode)[:, self._row(level), place]
        return values[self._nearest(size)]

    def region_reach(self, level: float, size: Int[Array, "*batch"], over: Over) -> Float[Array, "*batch state"]:
        """How far each feature's score reaches in a region; errors as in `reach`."""
        values = (self.step_region if over == "step" else self.episode_region)[:, self._row(level)]
        nearest = self._nearest(size)
        return values[nearest][..., None] * self.scale[nearest]

    def widest(self, size: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
        """The largest √Σ variance that is usual for teams of these sizes."""
        return self.width[self._nearest(size), LEVELS.index(USUAL_WIDTH)]

    def set_of(
        self, mean: Float[Array, " state"], types: FeatureTypes, level: float, size: Int[Array, ""], over: Over
    ) -> tuple[Float[Array, "states state"], Float[Array, " states"]]:
        """The states of the set of a level, likeliest first, and what each is taken for; all scaled.

        Raises:
            InputError: there are no sets, or there are too few episodes for the level.
        """
        if self.sets is None:
            raise InputError("Sets of states were not measured: a feature is a number, or there are too many states.")
        level = LEVELS[self._row(level)]
        members = np.asarray(self.sets.members(mean, types, self._nearest(size), level, over))
        chances = np.asarray(log_chances(mean, self.sets.states, types))
        chosen = np.flatnonzero(members)
        order = chosen[np.argsort(-chances[chosen], kind="stable")]
        return self.sets.states[order], jnp.exp(jnp.asarray(chances[order]))

    def promises(self, level: float) -> bool:
        """Whether bounds of this level can be told."""
        return 0 < level <= LEVELS[-1] and self.num_episodes >= calibration_episodes_needed(1.0 - next_level(level))

    def _row(self, level: float) -> int:
        measured = next_level(level)
        needed = calibration_episodes_needed(1.0 - measured)
        if self.num_episodes < needed:
            raise InputError(
                f"A level of {measured:g} needs {needed} calibration episodes at least; this model was calibrated "
                f"on {self.num_episodes}. `calibrate` takes more."
            )
        return LEVELS.index(measured)

    def _nearest(self, size: Int[Array, "*batch"]) -> Int[Array, "*batch"]:
        measured = jnp.asarray(self.sizes)[(None,) * jnp.ndim(size)]
        return jnp.argmin(jnp.abs(jnp.asarray(size)[..., None] - measured), axis=-1)

    @property
    def settings(self) -> dict[str, Any]:
        """What `empty` needs; JSON-able."""
        counts = {"sizes": list(self.sizes), "num_episodes": self.num_episodes, "state_size": self.scale.shape[1]}
        return {**counts, "lost": self.lost, "sets": None if self.sets is None else self.sets.settings}

    @classmethod
    def empty(
        cls,
        sizes: Sequence[int],
        num_episodes: int,
        state_size: int,
        lost: float = 0.0,
        sets: dict[str, int] | None = None,
    ) -> "Calibration":
        """The same structure without its numbers."""
        table, rows = (len(sizes), len(LEVELS)), jnp.zeros((len(sizes), state_size))
        tables = jnp.zeros((*table, state_size)), jnp.zeros((*table, state_size)), *[jnp.zeros(table)] * 3
        empty = None if sets is None else StateSets.empty(**sets)
        return cls(tuple(sizes), num_episodes, rows, *tables, sets=empty, lost=lost)
