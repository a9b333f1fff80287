"""Whether a team's estimate is to be used, as `TeamEstimate.verdict` says it, in NumPy alone.

The mathematics stands in composite-flow: `fusion/contradictions.py`, `fusion/doubts.py` and `fusion/verdict.py`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from composite_flow.errors import InputError

_SILENT, _CANDIDATES, CHECKS = 1e-3, 8, 3  # as in `fusion/contradictions.py`; numbers that tell of a history
_UNFAMILIAR = "has a history unlike those of training"
_REASONS = ("has a history outside the range of those of training", _UNFAMILIAR, _UNFAMILIAR)


class Doubts(NamedTuple):
    """Of every agent: its doubt, where it is largest, whether it is suspected; and the bound above which it is."""

    values: np.ndarray
    place: np.ndarray
    suspects: np.ndarray
    bound: float


class Judge:
    """What is usual among sound agents, and what follows from it for the answers of a step."""

    def __init__(self, about: dict[str, Any], arrays: dict[str, np.ndarray]):
        """Of a manifest, and the arrays beside it."""
        self._names, self._arrays, prior = about["state_names"], arrays, about["prior"]
        of_before = {"agents": [f"agent {agent}" for agent in range(about["layout"]["num_agents"])]}
        self._called = about.get("called", {**of_before, "features": about["state_names"]})
        self._number, self._groups = np.asarray(about["is_number"], bool), prior["groups"]
        self._mean, self._before, self._logits = (
            np.asarray(prior[name], np.float32) for name in ("mean", "precision", "logits")
        )

    def doubts(self, each: np.ndarray, unlike: np.ndarray, team: np.ndarray, robust: bool) -> Doubts:
        """Who cannot be relied on.

        Args:
            each: evidence, weight and precision of every agent's answer (3, agents, state).
            unlike: what each said of its own history (agents, 3).
            team: who answered.
            robust: whether those in doubt are to be left out, by the bound of that.

        Raises:
            InputError: they are to be left out, and what is usual was measured on too few episodes.
        """
        bound = float(self._arrays["robust_bound" if robust else "bound"])
        if robust and not np.isfinite(bound):
            raise InputError("What is usual was measured on too few episodes to leave out those who are in doubt.")
        found, features = self._columns(each, unlike, team), len(self._names)
        unfamiliar = team & (found[:, features : features + CHECKS].max(axis=1) > bound)
        familiar = team & ~unfamiliar
        kept = self._agreeing(each, unlike, familiar, bound) if familiar.any() else team
        found = np.where(kept[:, None], self._columns(each, unlike, kept), found)
        of_history = np.arange(found.shape[1]) >= features
        place = np.argmax(np.where(unfamiliar[:, None] & ~of_history, -1.0, found), axis=1)
        return Doubts(found.max(axis=1), place, team & ~kept, bound)

    def own_doubts(self, agent: int, unlike: np.ndarray | None, num_agents: int) -> Doubts:
        """What one agent tells of its own history where only a sum of answers is known; None where it has none."""
        features, scale = len(self._names), self._arrays["scale"]
        told = np.zeros(CHECKS) if unlike is None else unlike / scale[features : features + CHECKS]
        values, place = np.zeros(num_agents), np.zeros(num_agents, int)
        values[agent], place[agent] = told.max(), features + int(np.argmax(told))
        return Doubts(values, place, np.zeros(num_agents, bool), float(self._arrays["bound"]))

    def verdict(self, doubts: Doubts, left_out: np.ndarray, size: int, uncertainty: float) -> dict[str, Any]:
        """Accepted, reason, agents and sentence, of an estimate of so many answers."""
        without = "".join(f"; {self._why(doubts, agent)}: left out" for agent in np.flatnonzero(left_out).tolist())
        in_doubt = np.flatnonzero((doubts.suspects | (doubts.values > doubts.bound)) & ~left_out).tolist()
        if in_doubt:
            worst = max(in_doubt, key=lambda agent: float(doubts.values[agent]))
            reason = "unlike training" if doubts.place[worst] >= len(self._names) else "sensors in doubt"
            return _refused(reason, in_doubt, f"{self._why(doubts, worst)}{without}")
        if uncertainty > (widest := self._widest(size)):
            wide = (
                f"an error of {uncertainty:.3g} is expected, scaled, and {widest:.3g} at most is usual for such a team"
            )
            return _refused("too wide", np.flatnonzero(left_out).tolist(), f"{wide}{without}")
        agents = np.flatnonzero(left_out).tolist()
        return {"accepted": True, "reason": "", "agents": agents, "sentence": f"Accepted{without}."}

    def uncertainty(self, sums: np.ndarray) -> float:
        """√Σ variance, scaled, of summed evidence, weight and precision (3, state)."""
        mean = self._posterior(sums[:, None])[0]
        spread = np.where(self._number, 1.0 / (self._before + sums[2]), mean * (1.0 - mean))
        return float(np.sqrt(spread.sum()))

    # --- parts of the above

    def _columns(self, each: np.ndarray, unlike: np.ndarray, team: np.ndarray) -> np.ndarray:
        """All that is told of every agent, beside what is usual; the last column is of what needs histories."""
        told = np.concatenate([self._discrepancies(each, team), np.where(team[:, None], unlike, 0.0)], axis=1)
        return np.pad(told, ((0, 0), (0, 1))) / self._arrays["scale"]

    def _discrepancies(self, each: np.ndarray, team: np.ndarray) -> np.ndarray:
        if team.sum() < 2:
            return np.zeros(each.shape[1:])
        counted = np.where(team[:, None], each, 0.0)
        rest = counted.sum(axis=1, keepdims=True) - counted
        own, others = self._posterior(counted), self._posterior(rest)
        found = np.where(
            self._number, self._of_numbers(counted[2], rest[2], own - others), self._of_choices(own, others)
        )
        return np.where(team[:, None], found, 0.0)

    def _of_numbers(self, own: np.ndarray, rest: np.ndarray, difference: np.ndarray) -> np.ndarray:
        before, mine, theirs = self._before, self._before + own, self._before + rest
        variance = 1.0 / mine + 1.0 / theirs - 2.0 * before / (mine * theirs)
        speaks = (own > _SILENT * before) & (rest > _SILENT * before)
        return np.where(speaks, difference**2 / np.where(speaks, variance, 1.0), 0.0)

    def _of_choices(self, own: np.ndarray, others: np.ndarray) -> np.ndarray:
        before = np.where(self._number, 0.5, self._posterior(np.zeros((3, 1, len(self._names))))[0])
        together = own * others / before
        agreement = together + (1.0 - own) * (1.0 - others) / (1.0 - before)
        for first, stop in self._groups:
            agreement[:, first:stop] = together[:, first:stop].sum(axis=1, keepdims=True)
        return np.maximum(-2.0 * np.log(np.maximum(agreement, np.finfo(np.float32).tiny)), 0.0)

    def _posterior(self, sums: np.ndarray) -> np.ndarray:
        """Means, and probabilities of other features, of evidence, weight and precision (3, rows, state)."""
        logits = self._logits + sums[0]
        found = 0.5 * (1.0 + np.tanh(0.5 * logits))
        for first, stop in self._groups:
            part = np.exp(logits[:, first:stop] - logits[:, first:stop].max(axis=1, keepdims=True))
            found[:, first:stop] = part / part.sum(axis=1, keepdims=True)
        return np.where(self._number, self._mean + sums[0] / (self._before + sums[1]), found)

    def _agreeing(self, each: np.ndarray, unlike: np.ndarray, team: np.ndarray, bound: float) -> np.ndarray:
        """Those of a team who are left once nobody is above the bound, or two are left."""

        def values(team: np.ndarray) -> np.ndarray:
            return self._columns(each, unlike, team).max(axis=1)

        while team.sum() > 2 and (found := values(team)).max() > bound:
            candidates = [agent for agent in np.argsort(-found, kind="stable")[:_CANDIDATES] if team[agent]]
            rests = [team & (np.arange(len(team)) != agent) for agent in candidates]
            team = min(rests, key=lambda rest: values(rest).max())
        return team

    def _widest(self, size: int) -> float:
        if "width" not in self._arrays:
            return float("inf")
        return float(self._arrays["width"][np.argmin(np.abs(self._arrays["sizes"] - size))])

    def _why(self, doubts: Doubts, agent: int) -> str:
        place, called = int(doubts.place[agent]) - len(self._names), self._called["agents"][agent]
        if place < 0:
            return f"{called} contradicts all others, most of all in {self._called['features'][place]}"
        return f"{called} {_REASONS[place]}"


def _refused(reason: str, agents: Sequence[int], why: str) -> dict[str, Any]:
    sentence = f"Abstained, {reason}: {why}."
    return {"accepted": False, "reason": reason, "agents": list(agents), "sentence": sentence}
