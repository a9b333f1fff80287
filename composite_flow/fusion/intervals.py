"""How far errors of numbers reach, so that intervals cover as often as they say, for every size of the team.

    mean_k ± q(level, size) · √variance_k

where q is the quantile, over held-out joint histories, of |s_k − ŝ_k| / √variance_k of random teams of that size. The
claimed variance orders the errors but does not scale them: q does. The quantile has the correction of split conformal
prediction, the ⌈(n + 1) level⌉-th smallest of n values.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answers
from composite_flow.fusion.levels import LEVELS
from composite_flow.fusion.posterior import posterior

_MOST_SIZES = 8


class TeamQuantiles(eqx.Module):
    """How far errors reach, in claimed standard deviations.

    Attributes:
        sizes: of teams that were measured, rising.
        values: q for each size and each of `LEVELS`.
    """

    sizes: tuple[int, ...] = eqx.field(static=True)
    values: Float[Array, "sizes levels"]

    def at(self, level: float, size: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
        """q of a level and of sizes of team: linear between the levels, of the nearest size measured.

        Raises:
            InputError: the level was not measured.
        """
        if not LEVELS[0] <= level <= LEVELS[-1]:
            raise InputError(f"Intervals were measured for levels from {LEVELS[0]} to {LEVELS[-1]}, not for {level}.")
        measured = jnp.asarray(self.sizes)[(None,) * jnp.ndim(size)]
        row = jnp.argmin(jnp.abs(jnp.asarray(size)[..., None] - measured), axis=-1)
        return jax.vmap(lambda values: jnp.interp(level, jnp.asarray(LEVELS), values))(self.values)[row]


def measure_quantiles(
    answers: Answers,
    histories: Float[Array, "joint agents history"],
    states: Float[Array, "joint state"],
    *,
    key: PRNGKeyArray,
    counted: Bool[Array, "joint state"] | None = None,
) -> TeamQuantiles | None:
    """How far errors reach on joint histories that training has not seen; None where no feature is a number.

    Args:
        answers: whose claims are measured.
        histories, states: held out, the states scaled.
        key: draws one random team of each size for each joint history.
        counted: which numbers count, such as those of units that live; all of them by default.

    Raises:
        InputError: no number counts.
    """
    is_number = np.broadcast_to(answers.prior.types.is_number, states.shape)
    if not is_number.any():
        return None
    chosen = is_number if counted is None else is_number & np.asarray(counted)
    if not chosen.any():
        raise InputError("No number counts at these steps, so that there is no error to measure.")
    sizes = measured_sizes(histories.shape[1])
    ratios = np.asarray(_error_ratios(answers, histories, states, sizes, key), np.float64)
    values = [_corrected_quantiles(ratios[:, place][chosen]) for place in range(len(sizes))]
    return TeamQuantiles(sizes, jnp.asarray(np.stack(values), jnp.float32))


@eqx.filter_jit
def _error_ratios(answers, histories, states, sizes: tuple[int, ...], key) -> Float[Array, "joint sizes state"]:
    """|s − ŝ| / √variance of a random team of each size."""

    def of_step(step):
        history, state, key = step
        place = jax.random.permutation(key, len(history))
        totals = answers.team_sums(history, place[None, :] < jnp.asarray(sizes)[:, None])
        mean, variance = jax.vmap(lambda total: posterior(answers.prior, total))(totals)
        return jnp.abs(state[None] - mean) / jnp.sqrt(jnp.maximum(variance, jnp.finfo(variance.dtype).tiny))

    return jax.lax.map(of_step, (histories, states, jax.random.split(key, len(states))), batch_size=64)


def _corrected_quantiles(values: Float[np.ndarray, " values"]) -> Float[np.ndarray, " levels"]:
    """The ⌈(n + 1) level⌉-th smallest, or the largest where that is beyond it."""
    ranks = np.ceil((len(values) + 1) * np.asarray(LEVELS)).astype(int) - 1
    return np.sort(values)[np.minimum(ranks, len(values) - 1)]


def measured_sizes(num_agents: int) -> tuple[int, ...]:
    """All sizes of team where they are few, else eight of them, evenly spread in their logarithm."""
    if num_agents <= _MOST_SIZES:
        return tuple(range(1, num_agents + 1))
    spread = np.unique(np.round(np.geomspace(1, num_agents, _MOST_SIZES)).astype(int))
    return tuple(spread.tolist())
