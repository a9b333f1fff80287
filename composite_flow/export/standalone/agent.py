"""One agent of a team, on NumPy and onnxruntime: the `Agent` of composite-flow, of a folder that it exported.

agent = Agent("exported", 3)
agent.observe(observation)
message = agent.answer()                    # to the others
agent.receive(sender, step, message)        # from them
estimate = agent.estimate()                 # .mean, .variance, .verdict, …, in the state's own units
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from composite_flow.errors import InputError
from composite_flow.export.standalone.answers import said, spread, whole
from composite_flow.export.standalone.estimate import Estimate, intervals, limits
from composite_flow.export.standalone.exported import Exported
from composite_flow.export.standalone.hops import Hops
from composite_flow.export.standalone.over_time import carried_by
from composite_flow.export.standalone.verdict import CHECKS, Doubts
from composite_flow.runtime.chained import Chained, no_answers
from composite_flow.runtime.names import agent_number
from composite_flow.runtime.sent import Sent
from composite_flow.runtime.stepping import SteppingAgent


class Agent(SteppingAgent):
    """One agent of a team; methods as those of `composite_flow.Agent`."""

    def __init__(
        self,
        folder: str | Path | Exported,
        agent: int | str,
        *,
        max_age: int = 0,
        by: str = "denoiser",
        over_time: bool = False,
    ):
        """An agent that has seen nothing yet; its hops are by the denoiser or by the chain."""
        self.exported = folder if isinstance(folder, Exported) else Exported(folder)
        self.layout, self.state_names = self.exported.about["layout"], self.exported.about["state_names"]
        super().__init__(self.layout, agent_number(agent, self.layout), max_age)
        self.carried = carried_by(self.exported, self.number, self._inbox, max_age) if over_time else None
        self._shapes = self.exported.shapes_of(over_time)
        self._hops = Hops(self.exported, by, self.carried)
        self._forget_step()

    @property
    def history(self) -> np.ndarray:
        """Its history as networks read it."""
        return self._memory.history

    def answer(self) -> Sent:
        """What its own history says, to be sent to all others."""
        if self._said is None:
            self._check_sees()
            history, kept = self.history, self.carried
            self._said = said(self.exported, history) if kept is None else kept.answer(self.step, history)
        return self._said

    def whole_answer(self) -> Sent:
        """The same of every feature, as it is summed up along a tree."""
        return whole(self.exported.about, self.number, self.answer())

    def begin(self) -> np.ndarray:
        """A chain's message for the step's first speaker, (1, state), scaled."""
        return self._hops.begin()

    def hop(self, y: np.ndarray, first: bool = False) -> np.ndarray:
        """What it makes of each row of y: composite diffusion f(τ, y), or a chain's hop, the step's `first` or not."""
        self._check_sees()
        return self._hops.hop(self.history, y, first)

    def end(self, y: np.ndarray, participants: Sequence[int] | None = None, step: int | None = None) -> bool:
        """Hear where a chain's message over time ended; the next step begins there."""
        return self._hops.end(y, participants, self.step if step is None else step, self.layout["num_agents"])

    def receive(self, sender: int, step: int, message: Sent) -> bool:
        """Take in another's answer; the first one of a sender and step counts."""
        if isinstance(self.carried, Chained):
            raise no_answers()
        if 0 <= sender < len(self._shapes) and not self._shapes[sender].fits(message):
            raise InputError(f"What agent {sender} sent is no answer of this model's agents.")
        return self._inbox.receive(int(sender), int(step), message)

    @property
    def num_answers(self) -> int:
        """How many others have answered at this step."""
        return self._inbox.count(self.step)

    def heard(self, within: int | None = None) -> dict[int, int]:
        """Whose answers count now, itself aside, and of which step they are."""
        return {sender: step for sender, (step, _) in self._inbox.heard(self.step, within).items()}

    def estimate(self, within: int | None = None, *, robust: bool = False) -> Estimate:
        """What those heard and itself say together; if robust, without those who cannot be relied on."""
        if self.carried is not None:
            if self.sees:
                self.carried.speak(self.step, self.history)
            return self.carried.estimate(self.step, asked=(within, robust))
        found = self._inbox.heard(self.step, within)
        heard = {sender: sent for sender, (_, sent) in found.items()}
        if self.sees:
            heard[self.number] = self.answer()
        team, judge = np.isin(np.arange(self.layout["num_agents"]), list(heard)), self.exported.judge
        each, unlike = np.zeros((3, len(team), len(self.state_names)), np.float32), np.zeros((len(team), CHECKS))
        for sender, sent in heard.items():
            each[:, sender], unlike[sender, : len(sent.unlike)] = spread(self.exported.about, sender, sent), sent.unlike
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
        low, unit = limits(self.exported.about)  # in float64, of which some states need all digits
        verdict = None if doubts is None else judge.verdict(doubts, left_out, int(team.sum()), uncertainty)
        return Estimate(low + unit * mean, unit**2 * variance, team, uncertainty, verdict, left_out)

    def intervals(self, found: Estimate, level: float, team: int = 0) -> dict[str, list[float]] | None:
        """Bounds of each number at the next level that was measured; None where none was; `team` as there."""
        return None if self.carried else intervals(self.exported.about, self.exported.measured, found, level, team)
