"""The calibration of fused estimates, measured on episodes that were used for nothing else.

The scales make features count alike in regions; they come from other episodes than the quantiles, such as validation.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.fusion.answers import Answers
from composite_flow.fusion.calibration import LEVELS, Calibration
from composite_flow.fusion.intervals import measured_sizes
from composite_flow.fusion.trust.quantiles import bounds
from composite_flow.fusion.trust.scores import scores_of_teams

MOST_EPISODES = 2_000  # more would not make quantiles much surer, and take long
_SCALE_SHARE, _SMALLEST_SCALE = 0.9, 0.05


def calibrate_answers(
    answers: Answers,
    dataset: HistoryDataset,
    *,
    key: PRNGKeyArray,
    scale: Float[Array, "sizes state"] | None = None,
) -> Calibration:
    """Measure how far errors reach on episodes that were used for nothing else.

    Args:
        answers: what agents say.
        dataset: calibration episodes, of which the first 2,000 are used.
        key: draws a random team of each size for each episode.
        scale: as `measure_scale` gives it, from other episodes; 1 by default.
    """
    sizes = measured_sizes(dataset.num_agents)
    scores, episodes = scores_of_teams(answers, _some(dataset), sizes, key=key)
    if scale is None:
        scale = jnp.ones((len(sizes), dataset.state_size))
    largest = (scores / np.asarray(scale)[None]).max(axis=2)
    found = {over: bounds(scores.reshape(len(scores), -1), episodes, LEVELS, over) for over in ("step", "episode")}
    tables = {over: values.reshape(len(LEVELS), len(sizes), -1).swapaxes(0, 1) for over, values in found.items()}
    regions = {f"{over}_region": bounds(largest, episodes, LEVELS, over).T for over in ("step", "episode")}
    arrays = {name: jnp.asarray(value, jnp.float32) for name, value in {**tables, **regions}.items()}
    return Calibration(sizes, len(np.unique(episodes)), jnp.asarray(scale), **arrays)


def measure_scale(answers: Answers, dataset: HistoryDataset, *, key: PRNGKeyArray) -> Float[Array, "sizes state"]:
    """The 90% quantile of each feature's scores, at least 0.05; arguments as in `calibrate_answers`."""
    scores, _ = scores_of_teams(answers, _some(dataset), measured_sizes(dataset.num_agents), key=key)
    return jnp.asarray(np.maximum(np.quantile(scores, _SCALE_SHARE, axis=0), _SMALLEST_SCALE), jnp.float32)


def _some(dataset: HistoryDataset) -> HistoryDataset:
    ids = dataset.episode_ids
    return dataset if len(ids) <= MOST_EPISODES else dataset.part(ids[:MOST_EPISODES])
