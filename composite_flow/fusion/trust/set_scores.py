"""Calibration of sets of whole states: how unlikely teams hold the true one."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.levels import LEVELS, OVERS
from composite_flow.fusion.state_sets import MOST_STATES, StateSets, log_chances
from composite_flow.fusion.trust.quantiles import bounds
from composite_flow.fusion.trust.scores import TeamScores

_AT_ONCE = 8192  # steps, so that memory is bounded


def state_sets_of(
    scores: TeamScores, types: FeatureTypes, known: Float[np.ndarray, "states state"] | None = None
) -> StateSets | None:
    """Sets calibrated on these teams; None where a feature is a number, or states are too many.

    Args:
        scores: of calibration episodes.
        types: of the features.
        known: states to list, scaled; those of these episodes by default.
    """
    if types.is_number.any():
        return None
    listed = np.unique(scores.states if known is None else known, axis=0)
    if len(listed) > MOST_STATES:
        return None
    found = unlikeliness(scores, types, listed)
    tables = [jnp.asarray(bounds(found, scores.episodes, LEVELS, over).T, jnp.float32) for over in OVERS]
    return StateSets(jnp.asarray(listed), *tables)


def unlikeliness(
    scores: TeamScores, types: FeatureTypes, known: Float[np.ndarray, "states state"]
) -> Float[np.ndarray, "steps sizes"]:
    """−log p(true state | team); infinite where the state is not known."""
    place, found = places_among(scores.states, known), []
    for first in range(0, len(place), _AT_ONCE):
        rows = slice(first, first + _AT_ONCE)
        chances = all_chances(scores.claims[rows], known, types)
        told = np.take_along_axis(chances, np.maximum(place[rows], 0)[:, None, None], axis=2)[..., 0]
        found.append(np.where(place[rows, None] < 0, np.inf, -told))
    return np.concatenate(found)


def set_sizes(
    scores: TeamScores,
    types: FeatureTypes,
    known: Float[np.ndarray, "states state"],
    reach: Float[np.ndarray, " sizes"],
) -> Float[np.ndarray, "steps sizes"]:
    """How many states are in the set of each step, where −log p reaches so far."""
    found = []
    for first in range(0, len(scores.states), _AT_ONCE):
        chances = all_chances(scores.claims[first : first + _AT_ONCE], known, types)
        found.append(np.sum(-chances <= reach[None, :, None], axis=2).astype(float))
    return np.concatenate(found)


def all_chances(
    claims: Float[np.ndarray, "steps sizes state"], known: Float[np.ndarray, "states state"], types: FeatureTypes
) -> Float[np.ndarray, "steps sizes states"]:
    """log p of every known state; claims are probabilities, since no feature is a number."""
    chances = jax.vmap(jax.vmap(lambda mean: log_chances(mean, jnp.asarray(known), types)))
    return np.asarray(jax.jit(chances)(jnp.asarray(claims)))


def places_among(
    states: Float[np.ndarray, "steps state"], known: Float[np.ndarray, "states state"]
) -> Int[np.ndarray, " steps"]:
    """The place of each state among the known ones; −1 where it is none of them."""
    places = {row.tobytes(): place for place, row in enumerate(np.ascontiguousarray(known.round(5), np.float32))}
    return np.array([places.get(row.tobytes(), -1) for row in np.ascontiguousarray(states.round(5), np.float32)])
