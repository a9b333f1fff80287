"""Which data a run was trained on, in a short text."""

import zlib

import numpy as np

from composite_flow.data.episodes import Episodes

_ROWS = 65_536  # steps read at a time


def fingerprint(episodes: Episodes) -> str:
    """A checksum of the arrays that training reads, and their sizes. It does not depend on how they are stored."""
    checksum = 0
    for array in (episodes.observations, episodes.actions, episodes.states, episodes.ends):
        for first in range(0, episodes.num_steps, _ROWS):
            checksum = zlib.crc32(np.ascontiguousarray(array[first : first + _ROWS]).tobytes(), checksum)
    return f"{episodes.num_episodes} episodes, {episodes.num_steps} steps, {checksum:08x}"
