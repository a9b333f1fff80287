"""What is told of each thing that a team could act on."""

from dataclasses import dataclass
from typing import Literal

How = Literal["exact", "sampled", "at least", "short runs"]


@dataclass(frozen=True)
class Earned:
    """What acting on something earns in an episode, without a discount.

    Attributes:
        value: what was found.
        interval: at 95%, over sampled episodes or over the seeds of short runs; None where it is exact or a bound.
        how: "exact"; "sampled" exact beliefs; "at least", the best policy that was found, valued exactly; "short runs".
        steps: of the environment that a short run learned from, on average; None elsewhere.
        still_rising: whether returns of short runs were still rising when their time was over.
    """

    value: float
    interval: tuple[float, float] | None
    how: How
    steps: int | None = None
    still_rising: bool = False

    @property
    def width(self) -> float:
        """How far the truth may lie from the value by chance."""
        return 0.0 if self.interval is None else (self.interval[1] - self.interval[0]) / 2
