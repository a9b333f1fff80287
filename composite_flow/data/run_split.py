"""Which episodes a run trains, validates, calibrates and tests on, the record of them, and steps drawn from them."""

import zlib
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.episodes import Episodes
from composite_flow.errors import InputError

_ROWS = 65_536  # steps read at a time


def split_of_run(
    dataset: HistoryDataset, seed: int, withhold_states: float
) -> tuple[HistoryDataset, HistoryDataset, HistoryDataset]:
    """Training, held-out and test parts of a run of this seed; `halves` divides the second."""
    key_split = jax.random.split(jax.random.key(seed), 3)[0]
    train, held_out, test = dataset.split(key=key_split, withhold_states=withhold_states)
    return train, held_out, test


def halves(held_out: HistoryDataset) -> tuple[HistoryDataset, HistoryDataset | None]:
    """Episodes for validation, and every second one for calibration; all for validation where there is one.

    Validation tells when to stop and how to scale, so that what is calibrated needs episodes of its own.
    """
    ids = held_out.episode_ids
    if len(ids) < 2:
        return held_out, None
    options = {"withheld_states": held_out.withheld_states, "remove_withheld": True}
    return held_out.part(ids[::2], **options), held_out.part(ids[1::2], **options)


def split_record(episodes: Episodes, test: HistoryDataset) -> dict[str, Any]:
    """What `open_run` needs to rebuild the test part; JSON-able."""
    withheld = test.withheld_states
    return {
        "fingerprint": fingerprint(episodes),
        "test": test.episode_ids.tolist(),
        "withheld_states": None if withheld is None else withheld.tolist(),
    }


def fingerprint(episodes: Episodes) -> str:
    """A checksum of the arrays that training reads, and their sizes. It does not depend on how they are stored."""
    checksum = 0
    for array in (episodes.observations, episodes.actions, episodes.states, episodes.ends):
        for first in range(0, episodes.num_steps, _ROWS):
            checksum = zlib.crc32(np.ascontiguousarray(array[first : first + _ROWS]).tobytes(), checksum)
    return f"{episodes.num_episodes} episodes, {episodes.num_steps} steps, {checksum:08x}"


def choose_steps(dataset: HistoryDataset, count: int, seed: int) -> Int[np.ndarray, " steps"]:
    """Some steps of a dataset, drawn at random, each at most once; all of them where it has no more."""
    if count < 1:
        raise InputError(f"The number of joint histories must be at least 1, not {count}.")
    steps = np.asarray(dataset.steps)
    return np.sort(np.random.default_rng(seed).choice(steps, min(count, len(steps)), replace=False))
