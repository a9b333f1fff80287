"""Conformal radii of a denoiser, from episodes that were used for nothing else (see `conformal` for the rule).

Each episode has one score: the largest ‖D_φ(τ_i, s)‖ over all its steps and agents, or the largest error of an
accepted sample over its steps. `radius` explains what the two radii bound and what they mean for the checks.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from composite_flow.certificate.checks import certify_batch
from composite_flow.certificate.conformal import conformal_radius, episode_scores
from composite_flow.certificate.radius import ConformalRadius, check_radius
from composite_flow.composite.reconstruct import reconstruct_batch
from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.pairs import distinct_pairs
from composite_flow.data.windows import JointBatch
from composite_flow.denoiser import Denoiser
from composite_flow.deviation import deviations
from composite_flow.errors import InputError


def split_for_calibration(
    dataset: HistoryDataset, *, key: PRNGKeyArray, fraction: float = 0.5
) -> tuple[HistoryDataset, HistoryDataset]:
    """Split a part of the data, such as the test part, by episode into one for calibration and one for evaluation.

    Args:
        dataset: episodes that were not used to train, to stop, to select or to measure.
        key: draws the episodes.
        fraction: share of the episodes for calibration.

    Returns:
        The calibration part and the evaluation part.

    Raises:
        InputError: one of the two would be empty.
    """
    episodes = np.asarray(jax.random.permutation(key, jnp.asarray(dataset.episode_ids)))
    count = round(fraction * len(episodes))
    if not 0 < count < len(episodes):
        raise InputError(f"{len(episodes)} episodes cannot be cut at the fraction {fraction}; a side would be empty.")
    withheld = dataset.withheld_states
    calibration, evaluation = episodes[:count], episodes[count:]
    return dataset.part(calibration, withheld_states=withheld), dataset.part(evaluation, withheld_states=withheld)


def deviation_radius(
    denoiser: Denoiser, dataset: HistoryDataset, alpha: float, *, batch_size: int = 512
) -> ConformalRadius:
    """The radius that bounds all deviations of a new episode with probability at least 1 − α.

    Args:
        denoiser: f.
        dataset: calibration episodes, used for nothing else.
        alpha: share of new episodes that may exceed the radius.
        batch_size: pairs whose flows run at the same time.

    Raises:
        InputError: α is not between 0 and 1, or the denoiser cannot read these histories.
    """
    scores = deviation_scores(denoiser, dataset, batch_size=batch_size)
    return ConformalRadius("deviation", 1.0 - alpha, conformal_radius(scores, alpha), len(scores))


def deviation_scores(
    denoiser: Denoiser, dataset: HistoryDataset, *, batch_size: int = 512
) -> Float[np.ndarray, " episodes"]:
    """Each episode's largest ‖D_φ(τ_i, s)‖ over all its steps and agents, in the order of `dataset.episode_ids`.

    A flow that does not settle counts with the point at which it was stopped; one that does not stay finite counts as
    infinite.
    """
    pairs = distinct_pairs(dataset)
    shifts = deviations(denoiser, jnp.asarray(pairs.histories), jnp.asarray(pairs.states), batch_size=batch_size)
    norms = np.nan_to_num(np.linalg.norm(np.asarray(shifts, np.float64), axis=-1), nan=np.inf)
    return episode_scores(norms[pairs.pair_of_occurrence], pairs.episode_of_occurrence)


def estimate_radius(
    denoiser: Denoiser,
    dataset: HistoryDataset,
    alpha: float,
    *,
    key: PRNGKeyArray,
    radius: float,
    num_samples: int = 4,
    num_sweeps: int = 6,
    steps_per_episode: int | None = None,
    batch_size: int = 16,
) -> ConformalRadius:
    """The radius that bounds the error of every accepted sample of a new episode with probability at least 1 − α.

    It holds for new episodes that have an accepted sample, and for estimates made and checked with these settings.

    Args:
        denoiser: the shared denoiser.
        dataset: calibration episodes, used for nothing else.
        alpha: share of new episodes that may exceed the radius.
        key: fixes noises, orders and the steps that are drawn.
        radius: D_φ for the checks, measured on other data.
        num_samples: noises per joint history.
        num_sweeps: passes through the agents.
        steps_per_episode: to save time, draw this many steps of each episode; the radius then holds for such draws.
        batch_size: joint histories at a time.

    Raises:
        InputError: a setting is out of range, or the denoiser cannot read these histories.
    """
    scores = estimate_scores(
        denoiser,
        dataset,
        key=key,
        radius=radius,
        num_samples=num_samples,
        num_sweeps=num_sweeps,
        steps_per_episode=steps_per_episode,
        batch_size=batch_size,
    )
    accepting = scores[scores > -np.inf]
    value = conformal_radius(accepting, alpha)
    return ConformalRadius("estimate", 1.0 - alpha, value, len(accepting), checked_with=check_radius(radius))


def estimate_scores(
    denoiser: Denoiser,
    dataset: HistoryDataset,
    *,
    key: PRNGKeyArray,
    radius: float,
    num_samples: int = 4,
    num_sweeps: int = 6,
    steps_per_episode: int | None = None,
    batch_size: int = 16,
) -> Float[np.ndarray, " episodes"]:
    """Each episode's largest error ‖sample − s‖ over its accepted samples; −∞ where none was accepted.

    Arguments as in `estimate_radius`. Leave out the episodes of −∞ before calibrating; the others stay exchangeable.
    """
    key_steps, key_estimates = jax.random.split(key)
    steps, found = _drawn_steps(dataset, steps_per_episode, key_steps), []
    for joint, count in _batches(dataset, steps, batch_size):
        key_estimates, key_now = jax.random.split(key_estimates)
        estimates = reconstruct_batch(
            denoiser, joint.histories, key=key_now, num_samples=num_samples, num_sweeps=num_sweeps
        )
        accepted = certify_batch(denoiser, joint.histories, estimates, radius=radius).accepted
        errors = jnp.linalg.norm(estimates.samples - joint.states[:, None], axis=-1)
        found.append(np.asarray(jnp.max(jnp.where(accepted, errors, -jnp.inf), axis=1))[:count])
    return episode_scores(np.concatenate(found), _episodes(dataset, steps))


def _batches(dataset: HistoryDataset, steps: np.ndarray, size: int) -> Iterator[tuple[JointBatch, int]]:
    """The joint histories of these steps in batches of one size (compiled once), and how many are not padding."""
    size = min(size, len(steps))
    for first in range(0, len(steps), size):
        chunk = steps[first : first + size]
        yield dataset.joint(np.pad(chunk, (0, size - len(chunk)), mode="edge")), len(chunk)


def _episodes(dataset: HistoryDataset, steps: np.ndarray) -> Int[np.ndarray, " steps"]:
    return np.asarray(dataset.windows.episode_of_step)[steps]


def _drawn_steps(dataset: HistoryDataset, per_episode: int | None, key: PRNGKeyArray) -> Int[np.ndarray, " steps"]:
    """At most `per_episode` random steps of each episode; all steps by default."""
    steps = np.asarray(dataset.steps)
    if per_episode is None:
        return steps
    if per_episode < 1:
        raise InputError(f"steps_per_episode must be at least 1, not {per_episode}.")
    order = np.lexsort((np.asarray(jax.random.permutation(key, len(steps))), _episodes(dataset, steps)))
    episodes = _episodes(dataset, steps[order])
    place = np.arange(len(steps)) - np.searchsorted(episodes, episodes)
    return steps[order[place < per_episode]]
