"""How far errors of fused estimates reach, as calibration episodes have shown: per feature, and of all at once.

A quantile for each feature, level and size of team, over one new step or over all steps of a whole new episode; and for
regions the quantile of max_k u_k / scale_k, with the scores u of `trust/scores.py`. Measured by `trust/measure.py`.
"""

from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from composite_flow.certificate.conformal import calibration_episodes_needed
from composite_flow.errors import InputError

LEVELS = tuple(np.round([*np.arange(0.05, 0.95, 0.05), 0.95, 0.975, 0.99, 0.995], 3).tolist())
"""Levels at which errors are measured."""

Over = Literal["step", "episode"]
"""What a bound holds for: one step of a new episode, or all of its steps."""

OVERS: tuple[Over, ...] = ("step", "episode")


class Calibration(eqx.Module):
    """Quantiles of scores.

    Attributes:
        sizes: of teams that were measured, rising.
        num_episodes: calibration episodes.
        scale: by which each feature's scores are divided in regions.
        step, episode: quantiles of each feature at each of `LEVELS`.
        step_region, episode_region: of max_k u_k / scale_k.
        lost: share of the answers that did not arrive, so that a size is of the team that was to answer.
    """

    sizes: tuple[int, ...] = eqx.field(static=True)
    num_episodes: int = eqx.field(static=True)
    scale: Float[Array, "sizes state"]
    step: Float[Array, "sizes levels state"]
    episode: Float[Array, "sizes levels state"]
    step_region: Float[Array, "sizes levels"]
    episode_region: Float[Array, "sizes levels"]
    lost: float = eqx.field(static=True, default=0.0)

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
        return {**counts, "lost": self.lost}

    @classmethod
    def empty(cls, sizes: Sequence[int], num_episodes: int, state_size: int, lost: float = 0.0) -> "Calibration":
        """The same structure without its numbers."""
        table, rows = (len(sizes), len(LEVELS)), jnp.zeros((len(sizes), state_size))
        tables = jnp.zeros((*table, state_size)), jnp.zeros((*table, state_size)), jnp.zeros(table), jnp.zeros(table)
        return cls(tuple(sizes), num_episodes, rows, *tables, lost=lost)


def next_level(level: float) -> float:
    """The next level that is measured.

    Raises:
        InputError: there is none.
    """
    if not 0 < level <= LEVELS[-1]:
        raise InputError(f"Levels from above 0 to {LEVELS[-1]} were measured, not {level}.")
    return next(measured for measured in LEVELS if measured >= level - 1e-9)
