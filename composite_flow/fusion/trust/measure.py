"""The calibration of fused estimates, measured on episodes that were used for nothing else.

The scales make features count alike in regions; they come from other episodes than the quantiles, such as validation.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answers
from composite_flow.fusion.calibration import Calibration
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.intervals import measured_sizes
from composite_flow.fusion.levels import LEVELS, OVERS
from composite_flow.fusion.trust.quantiles import bounds
from composite_flow.fusion.trust.scores import Counted, TeamScores, scores_of_teams
from composite_flow.fusion.trust.set_scores import state_sets_of

MOST_EPISODES = 2_000  # more would not make quantiles much surer, and take long
_SCALE_SHARE, _SMALLEST_SCALE = 0.9, 0.05


def calibrate_answers(
    answers: Answers,
    dataset: HistoryDataset,
    *,
    key: PRNGKeyArray,
    scale: Float[Array, "sizes state"] | None = None,
    sizes: tuple[int, ...] | None = None,
    lost: float = 0.0,
    counted: Counted | None = None,
) -> Calibration:
    """Measure how far errors reach on episodes that were used for nothing else.

    Args:
        answers: what agents say.
        dataset: calibration episodes, of which the first 2,000 are used.
        key: draws a random team of each size for each episode.
        scale: as `measure_scale` gives it, from other episodes; 1 by default.
        sizes: of teams; up to eight of them by default.
        lost: share of the answers that do not arrive, each by itself at every step.
        counted: which features count at which steps; all of them by default.

    Raises:
        InputError: a share outside [0, 1), or sizes that no team has.
    """
    sizes = checked_sizes(sizes, dataset.num_agents)
    if not 0.0 <= lost < 1.0:
        raise InputError(f"The share of lost answers is at least 0 and below 1, not {lost}.")
    found = scores_of_teams(answers, _some(dataset), sizes, key=key, lost=lost, counted=counted)
    if scale is None:
        scale = jnp.ones((len(sizes), dataset.state_size))
    return calibration_of(found, sizes, scale, lost, answers.prior.types)


def calibration_of(
    scores: TeamScores,
    sizes: tuple[int, ...],
    scale: Float[Array, "sizes state"],
    lost: float = 0.0,
    types: FeatureTypes | None = None,
) -> Calibration:
    """`calibrate_answers` of teams whose scores are known; with sets of states where the types allow it."""
    rows, largest = scores.values.reshape(len(scores.values), -1), scores.largest(np.asarray(scale))
    arrays = {"width": np.quantile(scores.uncertainty, LEVELS, axis=0).T}
    for over in OVERS:
        table = bounds(rows, scores.episodes, LEVELS, over).reshape(len(LEVELS), len(sizes), -1)
        arrays[over] = table.swapaxes(0, 1)
        arrays[f"{over}_region"] = bounds(largest, scores.episodes, LEVELS, over).T
    tables = {name: jnp.asarray(value, jnp.float32) for name, value in arrays.items()}
    sets = None if types is None else state_sets_of(scores, types)
    count = len(np.unique(scores.episodes))
    return Calibration(sizes, count, scale=jnp.asarray(scale), sets=sets, lost=lost, **tables)


def measure_scale(
    answers: Answers,
    dataset: HistoryDataset,
    *,
    key: PRNGKeyArray,
    sizes: tuple[int, ...] | None = None,
    lost: float = 0.0,
    counted: Counted | None = None,
) -> Float[Array, "sizes state"]:
    """The 90% quantile of each feature's scores, at least 0.05; arguments as in `calibrate_answers`."""
    sizes = checked_sizes(sizes, dataset.num_agents)
    return scale_of(scores_of_teams(answers, _some(dataset), sizes, key=key, lost=lost, counted=counted))


def scale_of(scores: TeamScores) -> Float[Array, "sizes state"]:
    """`measure_scale` of teams whose scores are known."""
    counts = np.any(~np.isnan(scores.values), axis=0)
    values = np.where(counts[None], scores.values, 0.0)
    return jnp.asarray(np.maximum(np.nanquantile(values, _SCALE_SHARE, axis=0), _SMALLEST_SCALE), jnp.float32)


def checked_sizes(sizes: tuple[int, ...] | None, num_agents: int) -> tuple[int, ...]:
    """Sizes of teams, rising; up to eight of them where none are given.

    Raises:
        InputError: no team has them.
    """
    if sizes is None:
        return measured_sizes(num_agents)
    if not sizes or list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] > num_agents:
        raise InputError(f"Sizes of teams rise from 1 to {num_agents} at most; {sizes} do not.")
    return tuple(sizes)


def _some(dataset: HistoryDataset) -> HistoryDataset:
    ids = dataset.episode_ids
    return dataset if len(ids) <= MOST_EPISODES else dataset.part(ids[:MOST_EPISODES])
