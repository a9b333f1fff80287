"""The distinct (history, state) pairs of a dataset, and the episodes in which each occurs."""

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int

from composite_flow.data.dataset import HistoryDataset
from composite_flow.errors import InputError

BLOCK_ROWS = 2**17  # pairs that are read at once


class DistinctPairs(eqx.Module):
    """Each distinct (history, state) pair, and where it occurs.

    An occurrence is a pair together with an episode in which it occurs. If `scores` has one score for each pair,
    `scores[pair_of_occurrence]` are the scores in the episodes `episode_of_occurrence`.

    Attributes:
        histories: encoded histories.
        states: scaled states.
        counts: how often each pair occurs in the data.
        pair_of_occurrence: the row of each occurrence's pair.
        episode_of_occurrence: the number of each occurrence's episode in the data.
    """

    histories: Float[np.ndarray, "pairs history"]
    states: Float[np.ndarray, "pairs state"]
    counts: Int[np.ndarray, " pairs"]
    pair_of_occurrence: Int[np.ndarray, " occurrences"]
    episode_of_occurrence: Int[np.ndarray, " occurrences"]


def distinct_pairs(dataset: HistoryDataset, limit: int | None = None) -> DistinctPairs:
    """The distinct (history, state) pairs of all agents at all steps of a dataset, a block of steps at a time.

    Args:
        dataset: the dataset, or a part of a split.
        limit: keep at most this many pairs, spread evenly over all pairs in sorted order; the occurrences of the
            others are left out.

    Raises:
        InputError: the limit is below one.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit must be at least 1, not {limit}.")
    steps, block = np.asarray(dataset.steps), max(1, BLOCK_ROWS // dataset.num_agents)
    parts = [_of_steps(dataset, steps[first : first + block]) for first in range(0, len(steps), block)]
    rows, parents = _merged(np.concatenate([part[0] for part in parts]))
    offsets = np.cumsum([0, *(len(part[0]) for part in parts[:-1])])
    occurrences = np.concatenate(
        [
            np.stack([parents[offset + pairs], episodes, counts], axis=1)
            for offset, (_, pairs, episodes, counts) in zip(offsets, parts, strict=True)
        ]
    )
    counts = np.bincount(occurrences[:, 0], weights=occurrences[:, 2], minlength=len(rows)).astype(np.int64)
    chosen = np.arange(len(rows))
    if limit is not None and limit < len(rows):
        chosen = np.linspace(0, len(rows) - 1, limit).round().astype(np.int64)
    place = np.full(len(rows), -1)
    place[chosen] = np.arange(len(chosen))
    kept = np.unique(np.stack([place[occurrences[:, 0]], occurrences[:, 1]], axis=1), axis=0)
    kept = kept[kept[:, 0] >= 0]
    size = dataset.layout.size
    return DistinctPairs(rows[chosen, :size], rows[chosen, size:], counts[chosen], kept[:, 0], kept[:, 1])


def _of_steps(dataset, steps):
    """The distinct pairs of some steps, and for each occurrence the pair's row, the episode and the count."""
    batch, episode = dataset.joint(steps), np.asarray(dataset.windows.episode_of_step)[steps]
    histories, states = np.asarray(batch.histories), np.asarray(batch.states)
    agents = histories.shape[1]
    rows = np.concatenate([histories.reshape(-1, histories.shape[-1]), np.repeat(states, agents, axis=0)], axis=1)
    there = np.asarray(batch.structured.mask)[..., -1].reshape(-1)
    distinct, parents = _merged(rows[there])
    seen_in = np.repeat(episode, agents)[there]
    occurrences, counts = np.unique(np.stack([parents, seen_in], axis=1), axis=0, return_counts=True)
    return distinct, occurrences[:, 0], occurrences[:, 1], counts


def _merged(rows):
    """The distinct rows in the order of their bytes, and the place of every row among them; −0 counts as 0."""
    rows = np.ascontiguousarray(rows + np.float32(0), np.float32)
    keys = rows.view(f"V{rows.shape[1] * rows.itemsize}")[:, 0]
    _, first, parents = np.unique(keys, return_index=True, return_inverse=True)
    return rows[first], parents
