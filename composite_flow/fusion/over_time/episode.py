"""What a filter says of an episode, in the state's own units."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.data.scaling import Scaling
from composite_flow.errors import InputError
from composite_flow.fusion.over_time.carried import TeamFilter, follow


class FilteredEpisode(eqx.Module):
    """What the team knew at each step of an episode.

    Attributes:
        mean: of the state, in its own units; binary features and groups as probabilities.
        variance: as claimed, in squared units; NaN where none is claimed, as by chains.
        participants: who was heard at each step.
        messages: how many messages were sent at each step: one of each participant.
        message_bytes: of each.
        state_names: a name for each feature of the state.
    """

    mean: Float[Array, "steps state"]
    variance: Float[Array, "steps state"]
    participants: Bool[Array, "steps agents"]
    messages: Int[Array, " steps"]
    message_bytes: int = eqx.field(static=True)
    state_names: tuple[str, ...] = eqx.field(static=True)


def filter_episode(
    team_filter: TeamFilter,
    histories: Float[Array, "steps agents history"],
    participants: Any,
    there: Bool[Array, "steps agents"],
    scaling: Scaling,
    state_names: Sequence[str],
    key: PRNGKeyArray,
) -> FilteredEpisode:
    """Filter one episode from its first step on.

    Args:
        team_filter: predicts and hears.
        histories: of all agents at each step, encoded.
        participants: who is heard at each step, (steps, agents); None for all who are there.
        there: which agents are there at each step.
        scaling, state_names: of the states.
        key: draws the orders in which chains go round.

    Raises:
        InputError: there are no steps, or participants are not one row for each step.
    """
    shape = histories.shape[:2]
    if not shape[0]:
        raise InputError("An episode to be filtered needs at least one step.")
    heard = np.ones(shape, bool) if participants is None else np.asarray(participants)
    if heard.shape != shape or heard.dtype != bool:
        raise InputError(f"participants must be booleans of the shape (steps, agents) = {shape}.")
    heard = jnp.asarray(heard) & there
    mean, precision = _followed(team_filter, jnp.asarray(histories, jnp.float32), heard, key)
    numbers, span = jnp.asarray(team_filter.prior.types.is_number), np.asarray(scaling.maximum - scaling.minimum)
    claimed = jnp.where(precision > 0, 1.0 / jnp.where(precision > 0, precision, 1.0), jnp.nan)
    variance = jnp.where(numbers[None], claimed * jnp.asarray(span, jnp.float32)[None] ** 2, mean * (1.0 - mean))
    sent = 4 * team_filter.values_sent
    return FilteredEpisode(
        scaling.unscale(mean), variance, heard, jnp.sum(heard, axis=1, dtype=jnp.int32), sent, tuple(state_names)
    )


@eqx.filter_jit
def _followed(team_filter, histories, heard, key):
    first = jnp.arange(len(histories)) == 0
    known = follow(team_filter, histories, heard, first, team_filter.initial, key)[0]
    return known.mean, known.precision


@eqx.filter_jit
def filtered_means(
    team_filter: TeamFilter,
    histories: Float[Array, "episodes steps agents history"],
    heard: Bool[Array, "episodes steps agents"],
    key: PRNGKeyArray,
) -> Float[Array, "episodes steps state"]:
    """The scaled means in several episodes of one length."""

    def of_episode(inputs):
        return _followed(team_filter, *inputs)[0]

    return jax.lax.map(of_episode, (histories, heard, jax.random.split(key, len(histories))), batch_size=32)
