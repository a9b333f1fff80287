"""How often intervals and regions hold on episodes that calibrated nothing, and how wide they are."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.fusion.answers import SMALLEST_FREQUENCY, Answers
from composite_flow.fusion.calibration import Calibration
from composite_flow.fusion.levels import LEVELS, Over
from composite_flow.fusion.trust.scores import Counted, TeamScores, scores_of_teams


@dataclass(frozen=True, eq=False)
class Coverage:
    """Shares of new steps, or of whole new episodes, by size of team.

    Attributes:
        level: what is promised.
        over: whether a step or a whole episode counts as one.
        num_episodes: new episodes.
        intervals: for each size and feature the share that lies inside; of a feature that is no number, inside the set
            of its values with −log p within the bound. NaN where a feature never counts.
        regions: for each size the share that lies inside the region.
        widths: for each size and feature the mean width of its interval, scaled; of other features the share left open.
        region_widths: the same of regions.
    """

    level: float
    over: Over
    num_episodes: int
    intervals: Float[np.ndarray, "sizes state"]
    regions: Float[np.ndarray, " sizes"]
    widths: Float[np.ndarray, "sizes state"]
    region_widths: Float[np.ndarray, "sizes state"]


def measure_coverage(
    answers: Answers,
    calibration: Calibration,
    dataset: HistoryDataset,
    level: float,
    over: Over,
    *,
    key: PRNGKeyArray,
    counted: Counted | None = None,
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
        counted: which features count at which steps, as in calibration.
    """
    scores = scores_of_teams(answers, dataset, calibration.sizes, key=key, lost=calibration.lost, counted=counted)
    return coverage_of(scores, calibration, np.asarray(answers.prior.types.is_number), level, over)


def coverage_of(
    scores: TeamScores, calibration: Calibration, is_number: Bool[np.ndarray, " state"], level: float, over: Over
) -> Coverage:
    """`measure_coverage` of teams whose scores are known.

    Args:
        scores: of new episodes, for the sizes of the calibration.
        calibration: of the same answers.
        is_number: of each feature.
        level, over: as in `measure_coverage`.
    """
    row, scale = LEVELS.index(level), np.asarray(calibration.scale)
    reach = np.asarray(calibration.step if over == "step" else calibration.episode)[:, row]
    largest = np.asarray(calibration.step_region if over == "step" else calibration.episode_region)[:, row]
    counts = ~np.isnan(scores.values)
    return Coverage(
        level=level,
        over=over,
        num_episodes=len(np.unique(scores.episodes)),
        intervals=share_by_episode(held(scores.values, reach), scores.episodes, over),
        regions=share_by_episode(held(scores.largest(scale), largest), scores.episodes, over),
        widths=_widths(scores.claims, counts, reach, is_number),
        region_widths=_widths(scores.claims, counts, largest[:, None] * scale, is_number),
    )


def held(scores: Float[np.ndarray, "steps ..."], reach: Float[np.ndarray, "..."]) -> Float[np.ndarray, "steps ..."]:
    """1 where a score is within reach, 0 where not, NaN where it does not count."""
    return np.where(np.isnan(scores), np.nan, scores <= reach[None])


def share_by_episode(
    inside: Float[np.ndarray, "steps ..."], episodes: Int[np.ndarray, " steps"], over: Over
) -> Float[np.ndarray, "..."]:
    """The mean over episodes of the share of steps inside, or of whether all of them are; NaN does not count."""
    ids, place = np.unique(episodes, return_inverse=True)
    total, counts = np.zeros((len(ids), *inside.shape[1:])), np.zeros((len(ids), *inside.shape[1:]))
    np.add.at(total, place, np.nan_to_num(inside))
    np.add.at(counts, place, ~np.isnan(inside))
    share = total / np.where(counts > 0, counts, np.nan)
    kept = share if over == "step" else np.where(np.isnan(share), np.nan, share >= 1.0)
    episodes_counted = np.sum(~np.isnan(kept), axis=0)
    return np.nansum(kept, axis=0) / np.where(episodes_counted > 0, episodes_counted, np.nan)


def _widths(claims: np.ndarray, counts: np.ndarray, reach: np.ndarray, is_number: np.ndarray) -> np.ndarray:
    """Mean width of numbers, share of the other features with both values possible; over the steps that count."""
    probability = np.clip(claims, SMALLEST_FREQUENCY, 1.0 - SMALLEST_FREQUENCY)
    unlikely = -np.log(np.minimum(probability, 1.0 - probability))
    width = np.where(is_number, 2.0 * reach[None] * claims, unlikely <= reach[None])
    steps = np.sum(counts, axis=0)
    return np.sum(np.where(counts, width, 0.0), axis=0) / np.where(steps > 0, steps, np.nan)
