"""Which episodes go into which part of a split, and which states are withheld from training."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.data.episodes import Episodes
from composite_flow.data.windows import Windows
from composite_flow.errors import InputError


def check_fractions(fractions: Sequence[float], withhold_states: float) -> Float[np.ndarray, " parts"]:
    """The fractions of the parts as an array, once both arguments are known to be usable.

    Args:
        fractions: the fraction of the episodes for training, validation, calibration (which may be left out) and test.
        withhold_states: the fraction of the distinct states to withhold.

    Raises:
        InputError: the fractions are not three or four positive numbers that sum to 1, or `withhold_states` is not in
            [0, 1).
    """
    shares = np.asarray(fractions, np.float64)
    if shares.shape not in ((3,), (4,)) or np.any(shares <= 0) or abs(shares.sum() - 1) > 1e-6:
        raise InputError(f"fractions must be three or four positive shares that sum to 1, not {tuple(fractions)}.")
    if not 0 <= withhold_states < 1:
        raise InputError(f"withhold_states must be a share from 0 to below 1, not {withhold_states}.")
    return shares


def split_episodes(
    episodes: Int[np.ndarray, " episodes"], fractions: Float[np.ndarray, " parts"], key: PRNGKeyArray
) -> list[Int[np.ndarray, " part"]]:
    """Divide episodes at random into parts, each of which gets at least one; the first takes what is left.

    The others are taken from the end of a random order, the last part first.

    Args:
        episodes: the numbers of the episodes.
        fractions: the fraction of the episodes for each part.
        key: draws the episodes of each part.

    Raises:
        InputError: there are fewer episodes than parts.
    """
    if len(episodes) < len(fractions):
        raise InputError(f"A split into {len(fractions)} parts needs as many episodes at least, not {len(episodes)}.")
    left = np.asarray(jax.random.permutation(key, jnp.asarray(episodes)))
    parts: list[Int[np.ndarray, " part"]] = []
    for before in range(len(fractions) - 1, 0, -1):  # parts that still need an episode
        count = min(max(1, round(fractions[before] * len(episodes))), len(left) - before)
        taken, left = np.split(left, [count])
        parts.insert(0, taken)
    return [left, *parts]


def usable_steps(windows: Windows, episodes: Episodes) -> tuple[Int[Array, " known"], Int[Array, " missing"] | None]:
    """The steps at which an agent is there: those whose state is known, and the others; None where there are none.

    Raises:
        InputError: the state is known at none of them.
    """
    steps = np.arange(episodes.num_steps)
    steps = steps[windows.there(steps)]
    known = np.ones(len(steps), bool) if episodes.known is None else episodes.known[steps]
    if not known.any():
        raise InputError("These episodes have no step at which an agent is there and the state is known.")
    missing = None if known.all() else jnp.asarray(steps[~known], jnp.int32)
    return jnp.asarray(steps[known], jnp.int32), missing


def steps_of_episodes(
    episode_of_step: Int[np.ndarray, " all_steps"],
    steps: Int[Array, " steps"],
    episode_ids: Int[np.ndarray, " episodes"],
) -> Int[np.ndarray, " chosen"]:
    """The given steps that belong to these episodes.

    Raises:
        InputError: an episode has none of the steps.
    """
    rows = np.asarray(steps)
    episodes = episode_of_step[rows]
    unknown = np.setdiff1d(episode_ids, episodes)
    if len(unknown):
        raise InputError(f"Episode {unknown[0]} is not in this dataset.")
    return rows[np.isin(episodes, episode_ids)]


def draw_states(
    states: Float[np.ndarray, "distinct state"], fraction: float, key: PRNGKeyArray
) -> Float[np.ndarray, "withheld state"]:
    """A random fraction of the distinct states, at least one of them."""
    count = max(1, round(fraction * len(states)))
    return states[np.asarray(jax.random.permutation(key, len(states)))[:count]]
