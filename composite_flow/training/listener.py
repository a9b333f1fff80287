"""Who hears how a training goes, beside its progress: learning curves, and what a network infers meanwhile."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int

from composite_flow.data.dataset import HistoryDataset

SHOWN = 16
"""Joint histories of validation whose reconstructions are told."""


class Listener(Protocol):
    """Hears of one run. What it is told changes no bit of what is learned."""

    def starts(self, validation: HistoryDataset, steps: Int[np.ndarray, " shown"]) -> None:
        """Before the first step: the steps of validation episodes whose states will be inferred now and then."""
        ...

    def curve(self, network: str, points: Sequence[Mapping[str, float]]) -> None:
        """All points of a network's learning curve so far, after each new one."""
        ...

    def infers(
        self, by: str, step: int, mean: Float[np.ndarray, "shown state"], variance: Float[np.ndarray, "shown state"]
    ) -> None:
        """What is inferred of these steps after so many steps of training, scaled."""
        ...
