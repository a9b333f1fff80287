"""How much to collect: a number of episodes or of time steps."""

from dataclasses import dataclass

import numpy as np

from composite_flow.errors import InputError
from composite_flow.problems.host import AnyProblem


@dataclass(frozen=True)
class Amount:
    """How much to collect: whole episodes, until there are enough episodes or enough time steps.

    Attributes:
        wanted: the number of episodes, or of time steps.
        in_samples: whether `wanted` counts time steps (samples) instead of episodes.
        num_steps: most steps of an episode.
    """

    wanted: int
    in_samples: bool
    num_steps: int

    @property
    def fewest_episodes(self) -> int:
        """The fewest episodes that can be enough."""
        return -(-self.wanted // self.num_steps) if self.in_samples else self.wanted

    def after(self, before: int, episodes: int, steps: int) -> int:
        """The amount collected so far, after these episodes and their steps are added to what was there before."""
        return before + steps if self.in_samples else min(before + episodes, self.wanted)

    def cut(self, arrays: dict[str, np.ndarray], before: int) -> dict[str, np.ndarray]:
        """The episodes up to the one with which the amount is reached, given what was there before them."""
        stops = np.flatnonzero(arrays["ends"]) + 1
        amounts = before + (stops if self.in_samples else np.arange(1, len(stops) + 1))
        last = min(int(np.searchsorted(amounts, self.wanted)), len(stops) - 1)
        return {name: array[: stops[last]] for name, array in arrays.items()}


def amount_to_collect(
    problem: AnyProblem, num_episodes: int | None, num_samples: int | None, num_steps: int | None
) -> Amount:
    """The amount to collect, once the numbers are known to be usable."""
    if num_steps is None:
        num_steps = problem.num_steps
    if num_steps is None:
        raise InputError("This problem does not say how long its episodes are; give num_steps.")
    if (num_episodes is None) == (num_samples is None):
        raise InputError("Give either the number of episodes or the number of samples (time steps).")
    numbers = {"num_episodes": num_episodes, "num_samples": num_samples, "num_steps": num_steps}
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise InputError(f"{name} must be at least 1, not {number}.")
    return Amount(num_episodes or num_samples or 0, num_episodes is None, num_steps)
