"""Whether a team's estimate is to be used, as `TeamEstimate.verdict` says, in NumPy alone.

Beside what is said here stand the formulas in composite-flow: `fusion/contradictions.py`, `fusion/doubts.py`.
"""

from typing import Any, NamedTuple

import numpy as np

_SILENT, _CANDIDATES, _CHECKS = 1e-3, 8, 3  # as in `fusion/contradictions.py`; checks of histories
_UNFAMILIAR = "has a history unlike those of training"
_REASONS = ("has a history outside the range of those of training", _UNFAMILIAR, _UNFAMILIAR)


class Judge:
    """What is usual among sound agents, and what follows for the answers of a step."""

    def __init__(self, about: dict[str, Any], arrays: dict[str, np.ndarray]):
        """From the manifest, and the arrays that stand beside it."""
        self._names, self._groups, self._arrays = about["state_names"], about["groups"], arrays
        self._number = np.asarray(about["is_number"], bool)
        self._mean, self._before, self._logits = (np.asarray(about[name]) for name in _PRIOR)

    def verdict(self, each: np.ndarray, unlike: np.ndarray, team: np.ndarray, uncertainty: float, robust: bool):
        """The verdict, and who takes part after all.

        Args:
            each: evidence, weight and precision of every agent's answer (3, agents, state).
            unlike: what each said of its own history (agents, 3).
            team: who answered.
            uncertainty: of the estimate of those who take part; a function of them.
            robust: whether those in doubt are left out.
        """
        bound = float(self._arrays["bound"])
        found, suspects = self._doubts(each, unlike, team, bound)
        left_out = suspects & robust
        place = np.where(found.unfamiliar[:, None] & (np.arange(found.columns.shape[1]) < len(self._names)), -1.0, found.columns)
        return found, suspects, left_out, place
