"""How often intervals and regions hold on episodes that calibrated nothing, and how wide they are."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.fusion.answers import Answers
from composite_flow.fusion.calibration import LEVELS, Calibration, Over
from composite_flow.fusion.trust.scores import scores_of_teams


@dataclass(frozen=True)
class Coverage:
    """Shares of new steps, or of whole new episodes, by size of team.

    Attributes:
        level: what is promised.
        over: whether a step or a whole episode counts as one.
        num_episodes: new episodes.
        intervals: for each size and number the share that lies inside the interval.
        regions: for each size the share that lies inside the region.
    """

    level: float
    over: Over
    num_episodes: int
    intervals: Float[np.ndarray, "sizes numbers"]
    regions: Float[np.ndarray, " sizes"]


def measure_coverage(
    answers: Answers, calibration: Calibration, dataset: HistoryDataset, level: float, over: Over, *, key: PRNGKeyArray
) -> Coverage:
    """Count how often intervals and regions hold; a random team of each size is drawn for each episode.

    Every episode counts once: of steps the mean over episodes of the share of its steps.

    Args:
        answers: what agents say.
        calibration: of these answers.
        dataset: episodes that neither trained nor calibrated.
        level: of intervals and regions, one of `LEVELS`.
        over: what the bounds are to hold for.
        key: draws the teams.
    """
    scores, episodes = scores_of_teams(answers, dataset, calibration.sizes, key=key)
    row = LEVELS.index(level)
    table = calibration.step if over == "step" else calibration.episode
    regions = calibration.step_region if over == "step" else calibration.episode_region
    numbers = np.flatnonzero(answers.prior.types.is_number)
    inside = scores[:, :, numbers] <= np.asarray(table)[None, :, row, numbers]
    largest = (scores / np.asarray(calibration.scale)[None]).max(axis=2)
    held = largest <= np.asarray(regions)[None, :, row]
    return Coverage(
        level, over, len(np.unique(episodes)), _by_episode(inside, episodes, over), _by_episode(held, episodes, over)
    )


def _by_episode(inside: np.ndarray, episodes: np.ndarray, over: Over) -> np.ndarray:
    """The mean over episodes of the share of steps inside, or of whether all of them are."""
    _, place, counts = np.unique(episodes, return_inverse=True, return_counts=True)
    total = np.zeros((len(counts), *inside.shape[1:]))
    np.add.at(total, place, inside)
    share = total / counts.reshape(-1, *[1] * (inside.ndim - 1))
    return (share if over == "step" else share >= 1.0).mean(axis=0)
