"""One agent of a team, on NumPy and onnxruntime: the `Agent` of composite-flow, of a folder that it exported.

agent = Agent("exported", 3)
agent.observe(observation)
message = agent.answer()                    # to the others
agent.receive(sender, step, message)        # from them
estimate = agent.estimate()                 # .mean, .variance, .verdict, …, in the state's own units
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from composite_flow.errors import InputError
from composite_flow.export.standalone.exported import Exported
from composite_flow.export.standalone.verdict import CHECKS, Doubts
from composite_flow.runtime.inbox import Inbox
from composite_flow.runtime.memory import Memory
from composite_flow.runtime.names import agent_number
from composite_flow.runtime.sent import Sent

MERGE_RADIUS = 0.1  # of composite diffusion, as in `Sampling`


class Estimate(NamedTuple):
    """What a team says together, in the state's own units; attributes as in `TeamEstimate`, as far as was measured."""

    mean: np.ndarray
    variance: np.ndarray
    participants: np.ndarray
    uncertainty: float
    verdict: dict[str, Any] | None
    left_out: np.ndarray


class Agent:
    """One agent of a team; methods as those of `composite_flow.Agent`."""

    def __init__(self, folder: str | Path | Exported, agent: int | str, *, max_age: int = 0):
        """An agent that has seen nothing yet."""
        self.exported = folder if isinstance(folder, Exported) else Exported(folder)
        self.layout, self.max_age = self.exported.about["layout"], max_age
        self.state_names = self.exported.about["state_names"]
        self.number = agent_number(agent, self.layout)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._memory, self._said, self._context = Memory(self.layout, self.number), None, None
        self._inbox = Inbox(self.layout["num_agents"], self.number, self.max_age)

    @property
    def step(self) -> int:
        """Number of the present step; −1 before the first."""
        return self._memory.step

    @property
    def sees(self) -> bool:
        """Whether it observed the present step."""
        return self._memory.sees

    @property
    def history(self) -> np.ndarray:
        """Its history as networks read it."""
        return self._memory.history

    def observe(self, observation, action=None, step: int | None = None, *, begins: bool = False) -> None:
        """Take in what it sees now."""
        self._memory.observe(observation, action, step, begins=begins)
        self._said = self._context = None
        if begins:
            self._inbox.forget(before=self.step)

    def miss(self, step: int | None = None, *, begins: bool = False) -> None:
        """A step at which it sees nothing."""
        self._memory.miss(step)
        if begins:
            self._inbox.forget(before=self.step)
        self._said = self._context = None

    def answer(self) -> Sent:
        """What its own history says, to be sent to all others."""
        if self._said is None:
            self._check_sees()
            parts = [part[0] for part in self.exported.call("answer", history=self.history[None])]
            evidence, weight, precision, rest, *unlike = parts
            unlike = np.minimum(unlike[0], np.finfo(np.float32).max) if unlike else np.zeros(0, np.float32)
            self._said = Sent(evidence, weight, precision, rest, unlike)
        return self._said

    def whole_answer(self) -> Sent:
        """The same of every feature, as it is summed up along a tree."""
        said = self.answer()
        rest = said.rest if self.exported.about["slots"] is None else said.rest[:0]
        evidence, weight, precision = self._spread(self.number, said)
        return Sent(evidence, weight, precision, rest, said.unlike[:0])

    def hop(self, y: np.ndarray) -> np.ndarray:
        """f(τ, y) of each row of y: composite diffusion."""
        if self._context is None:
            self._check_sees()
            (self._context,) = self.exported.call("condition", history=self.history[None])
        return self.exported.call("denoise", context=np.repeat(self._context, len(y), axis=0), y=y)[0]

    def likeliest(self, ends: np.ndarray) -> tuple[np.ndarray, float]:
        """Where most of the samples of composite diffusion ended, in the state's own units, and their share."""
        free, found, most = np.isfinite(ends).all(axis=1), np.full(ends.shape[1], np.nan), 0
        while free.any():
            leader = ends[int(np.argmax(free))]
            near = free & (np.sum((ends - leader) ** 2, axis=1) <= MERGE_RADIUS**2)
            found, most = (leader, int(near.sum())) if near.sum() > most else (found, most)
            free &= ~near
        low, high = (np.asarray(self.exported.about["scaling"][end]) for end in ("minimum", "maximum"))
        return low + (high - low) * found, most / len(ends)

    def receive(self, sender: int, step: int, message: Sent) -> bool:
        """Take in another's answer; the first one of a sender and step counts."""
        if 0 <= sender < len(self.exported.shapes) and not self.exported.shapes[sender].fits(message):
            raise InputError(f"What agent {sender} sent is no answer of this model's agents.")
        return self._inbox.receive(int(sender), int(step), message)

    @property
    def num_answers(self) -> int:
        """How many others have answered at this step."""
        return self._inbox.count(self.step)

    def heard(self, within: int | None = None) -> dict[int, int]:
        """Whose answers count now, itself aside, and of which step they are."""
        found = self._inbox.heard(self.step, self.max_age if within is None else within)
        return {sender: step for sender, (step, _) in found.items()}

    def estimate(self, within: int | None = None, *, robust: bool = False) -> Estimate:
        """What those heard and itself say together; if robust, without those who cannot be relied on."""
        found = self._inbox.heard(self.step, self.max_age if within is None else within)
        heard = {sender: sent for sender, (_, sent) in found.items()}
        if self.sees:
            heard[self.number] = self.answer()
        team, judge = np.isin(np.arange(self.layout["num_agents"]), list(heard)), self.exported.judge
        each, unlike = np.zeros((3, len(team), len(self.state_names)), np.float32), np.zeros((len(team), CHECKS))
        for sender, sent in heard.items():
            each[:, sender], unlike[sender, : len(sent.unlike)] = self._spread(sender, sent), sent.unlike
        if robust and not self._is_watched:
            raise InputError("What is usual among sound agents was not measured for this model; `calibrate` does so.")
        doubts = judge.doubts(each, unlike, team, robust) if judge and self._is_watched else None
        left_out = doubts.suspects if doubts and robust else np.zeros_like(team)
        return self._told(each[:, team & ~left_out].sum(axis=1), team & ~left_out, doubts, left_out)

    def estimate_of(self, total: Sent, team: np.ndarray) -> Estimate:
        """What a sum of this team's answers says, and the verdict as far as it can be told of a sum."""
        doubts = None
        if self.exported.judge and self._is_watched:
            doubts = self.exported.judge.own_doubts(self.number, self.answer().unlike if self.sees else None, len(team))
        return self._told(np.stack(total[:3]), team, doubts, np.zeros_like(team))

    @property
    def _is_watched(self) -> bool:
        return "scale" in self.exported.measured

    def _told(self, sums: np.ndarray, team: np.ndarray, doubts: Doubts | None, left_out: np.ndarray) -> Estimate:
        if not team.any():
            raise InputError("Nobody has answered at this step, not even this agent: nothing can be inferred.")
        evidence, weight, precision = sums[:, None]
        (mean,), (variance,) = self.exported.call("fuse", evidence=evidence, weight=weight, precision=precision)
        judge = self.exported.judge
        assert judge is not None  # where `fuse` is, it is
        uncertainty = judge.uncertainty(sums)
        verdict = None if doubts is None else judge.verdict(doubts, left_out, int(team.sum()), uncertainty)
        return Estimate(mean, variance, team, uncertainty, verdict, left_out)

    def intervals(self, found: Estimate, level: float, team: int = 0) -> dict[str, list[float]] | None:
        """Bounds of each number at the next level that was measured; None where none was; `team` as there."""
        reach = self.exported.measured
        if not (reach.get("levels", np.zeros(0)) >= level - 1e-9).any():
            return None
        row, size = int(np.argmax(reach["levels"] >= level - 1e-9)), int(found.participants.sum())
        size = max(size, team) if reach.get("lost", 0.0) > 0 else size
        half = reach["step"][np.argmin(np.abs(reach["sizes"] - size)), row] * np.sqrt(found.variance)
        bounds = np.stack([found.mean - half, found.mean + half], axis=1).tolist()
        numbers = np.flatnonzero(self.exported.about["is_number"])
        return {self.state_names[place]: bounds[place] for place in numbers}

    def _spread(self, sender: int, sent: Sent) -> np.ndarray:
        """Evidence, weight and precision of every feature (3, state)."""
        about, size = self.exported.about, len(self.state_names)
        if about["slots"] is None:
            return np.stack(sent[:3])
        places, found = np.asarray(about["slots"][sender]), np.zeros((3, size), np.float32)
        for row, part in zip(found, sent[:3], strict=True):
            np.add.at(row, places[places < size], part[places < size])
        found[0] += sent.rest[0] * np.where(about["is_number"], about["prior"]["precision"], 1.0)
        return found

    def _check_sees(self) -> None:
        if not self.sees:
            raise InputError("This agent has observed nothing at this step, of which it could say something.")
