"""Where episodes begin and end, of arrays that are flat over steps."""

from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int


class Bounds:
    """What the last steps of episodes tell.

    Attributes:
        ends: True on the last step of each episode.
    """

    ends: Bool[np.ndarray, " steps"]

    @property
    def num_steps(self) -> int:
        """Number of steps of all episodes."""
        return len(self.ends)

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""
        return len(self.stops)

    @cached_property
    def stops(self) -> Int[np.ndarray, " episodes"]:
        """One past each episode's last step."""
        return np.flatnonzero(self.ends) + 1

    @cached_property
    def starts(self) -> Int[np.ndarray, " episodes"]:
        """Each episode's first step."""
        return np.concatenate([[0], self.stops[:-1]]).astype(self.stops.dtype)

    @cached_property
    def episode_of_step(self) -> Int[np.ndarray, " steps"]:
        """The episode that each step belongs to."""
        return np.repeat(np.arange(self.num_episodes), self.stops - self.starts)
