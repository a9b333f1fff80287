"""An answer as numbers to be sent, whatever network gave it. NumPy alone."""

from typing import NamedTuple

import numpy as np


class Sent(NamedTuple):
    """What an agent sends for a step.

    Attributes:
        evidence: (entries,), η of numbers, l of other features; an entry is a feature, or a slot of a sparse answer.
        weight: (entries,), λ of numbers, 0 of others.
        precision: (entries,), ρ of numbers, 0 of others.
        rest: (rest,), free numbers; of a sparse answer the one number that is added everywhere.
        unlike: (checks,), how unlike those of training the history is (`Familiar.unlikeness`), which nobody else can
            see; empty where it was not learned, and of sums.
    """

    evidence: np.ndarray
    weight: np.ndarray
    precision: np.ndarray
    rest: np.ndarray
    unlike: np.ndarray


class SentShape(NamedTuple):
    """What is known of an agent's answers before it gives one.

    Attributes:
        is_number: (entries,), which entries have a weight and a precision.
        unit: (entries,), the prior's precision of numbers, 1 of others: by which entries are compared.
        rest: numbers beside the entries.
        checks: numbers that say how unlike those of training a history is.
    """

    is_number: np.ndarray
    unit: np.ndarray
    rest: int
    checks: int

    @property
    def nothing(self) -> Sent:
        """The answer that says nothing."""
        entries = np.zeros(len(self.is_number), np.float32)
        return Sent(entries, entries, entries, np.zeros(self.rest, np.float32), np.zeros(self.checks, np.float32))

    def fits(self, sent: Sent) -> bool:
        """Whether an answer is of this shape, finite, and its weights are not negative."""
        entries = self.is_number.shape
        shapes = [np.shape(part) for part in sent] == [entries, entries, entries, (self.rest,), (self.checks,)]
        return shapes and all(np.isfinite(part).all() for part in sent) and self._weighted(sent)

    def _weighted(self, sent: Sent) -> bool:
        silent = ~self.is_number
        parts = (np.asarray(sent.weight), np.asarray(sent.precision))
        return all((part >= 0).all() and not part[silent].any() for part in parts)
