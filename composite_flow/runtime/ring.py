"""What goes round a ring: one message from agent to agent, a hop each, once or in several sweeps.

All members draw the same orders from a seed and the step's number, so that the message holds nothing but what its
`Round` puts into it: noisy states, or a mean. Who is dead is stepped over, and where the receiver of a message dies,
its sender sends it to the next. The last one tells all where it ended. An agent makes each of its hops once.

Who makes the first hop starts from what it has itself; all others from what they received. NumPy alone.

Orders come from a generator that is the same in all versions of Python: members may run different ones, and some run
without JAX.
"""

import random
import struct
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from composite_flow.runtime.member import Member
from composite_flow.runtime.message import RING, TOTAL, Message, RefusedMessage

_HEAD = struct.Struct("<II")  # the hop to be made, and hops made


class Baton:
    """The message: the next hop, hops made so far, who made them, and the states that it holds."""

    def __init__(self, hop: int, made: int, whose: np.ndarray, y: np.ndarray):
        self.hop, self.made, self.whose, self.y = hop, made, whose, y

    def packed(self) -> bytes:
        """As bytes."""
        return _HEAD.pack(self.hop, self.made) + np.packbits(self.whose).tobytes() + self.y.astype("<f4").tobytes()

    @classmethod
    def unpacked(cls, data: bytes, num_agents: int, shape: tuple[int, int]) -> "Baton":
        """The inverse; `RefusedMessage` where it is of another size, or not finite."""
        flags = (num_agents + 7) // 8
        if len(data) != _HEAD.size + flags + 4 * shape[0] * shape[1]:
            raise RefusedMessage("no answer")
        hop, made = _HEAD.unpack_from(data)
        whose = np.unpackbits(np.frombuffer(data[_HEAD.size : _HEAD.size + flags], np.uint8))[:num_agents].astype(bool)
        y = np.frombuffer(data[_HEAD.size + flags :], "<f4").reshape(shape)
        if not np.isfinite(y).all():
            raise RefusedMessage("no answer")
        return cls(hop, made, whose, y)


Hop = Callable[[Any, np.ndarray, bool], np.ndarray]
"""What an agent makes of the states that it received; and whether nobody has made a hop before."""


@runtime_checkable
class Round(Protocol):
    """What goes round: its size, where it begins, what an agent makes of it, and what follows from where it ended.

    Attributes:
        shape: states that the message holds, and features of each.
        num_sweeps: passes through the agents.
        hop: what an agent sends on.
    """

    shape: tuple[int, int]
    num_sweeps: int
    hop: Hop

    def start(self, agent: Any) -> np.ndarray | None:
        """What the step's first speaker starts from; None where this agent cannot be the first."""
        ...

    def ended(self, agent: Any, step: int, end: Baton) -> bool:
        """Hear where it ended, in time or late; whether that is of use even where the step is over."""
        ...

    def report(self, agent: Any, end: Baton | None) -> dict[str, Any]:
        """What is told of where it ended; None where that was not heard. InputError where nothing can be said."""
        ...


class Ring:
    """The message goes round, `num_sweeps` times."""

    kinds, waits = (RING, TOTAL), True

    def __init__(self, num_agents: int, what: Round, seed: int):
        """A ring of so many agents.

        Args:
            num_agents: of the team.
            what: goes round.
            seed: of orders.
        """
        self._num_agents, self._what, self._seed = num_agents, what, seed
        self._end: Baton | None = None

    def rehearse(self, agent: Any) -> None:
        """Do once what a step does, without a bus."""
        start = self._what.start(agent)
        assert start is not None, "at step 0 anybody can be the first"
        self._what.hop(agent, start, False)
        end = Baton(0, 1, np.isin(np.arange(self._num_agents), agent.number), self._what.hop(agent, start, True))
        self._what.ended(agent, agent.step, end)
        self._what.report(agent, end)

    def opened(self, member: Member) -> None:
        """Draw the turns; the first of those who are present begins."""
        self._order = draw_order(self._seed, member.agent.step, self._what.num_sweeps, self._num_agents)
        self._made, self._sent, self._end = -1, None, None
        self._begin_if_first(member)

    def hear(self, member: Member, message: Message) -> None:
        """Make a hop, or take the end of it all; what is late may still be of use to the next step."""
        baton = Baton.unpacked(message.payload, member.num_agents, self._what.shape)
        late = message.step < member.agent.step or not member.is_open
        if message.kind == TOTAL:
            used = self._what.ended(member.agent, message.step, baton)
            self._end = self._end if late else self._end or baton
            if late and not used:
                raise RefusedMessage("late")
        elif late:
            raise RefusedMessage("late")
        elif baton.hop <= self._made or baton.hop >= len(self._order) or self._order[baton.hop] != member.agent.number:
            raise RefusedMessage("said already")
        else:
            self._take(member, baton)

    def gone(self, member: Member, other: int) -> None:
        """Send on what the one that is gone was sent, or begin in its place."""
        if not member.is_open or self._end is not None:
            return
        if self._sent is not None and self._sent[0] == other:
            self._pass_on(member, self._sent[1])
        elif self._made < 0:
            self._begin_if_first(member)

    def wake(self, member: Member) -> None:
        """It never asks to be woken."""

    def complete(self, member: Member) -> bool:
        """Whether it is known where it ended."""
        return self._end is not None

    def estimate(self, member: Member) -> dict[str, Any]:
        """What follows from where it ended, or that nothing does."""
        end = self._end
        whose = {} if end is None else {"participants": np.flatnonzero(end.whose).tolist(), "hops": end.made}
        return {"participants": [], "hops": 0, **whose, **self._what.report(member.agent, end)}

    # --- parts of the above

    def _begin_if_first(self, member: Member) -> None:
        nothing = np.zeros(self._what.shape, np.float32)
        baton = self._stepped_over(member, Baton(0, 0, np.zeros(member.num_agents, bool), nothing))
        if self._order[baton.hop] == member.agent.number:
            self._take(member, baton)

    def _take(self, member: Member, baton: Baton) -> None:
        """Make this hop, and pass the message on."""
        self._made = baton.hop
        y = baton.y if baton.made else self._what.start(member.agent)
        if member.agent.sees and y is not None:
            y, whose = self._what.hop(member.agent, y, not baton.made), baton.whose.copy()
            whose[member.agent.number] = True
            baton = Baton(baton.hop, baton.made + 1, whose, y)
        self._pass_on(member, Baton(baton.hop + 1, baton.made, baton.whose, baton.y))

    def _pass_on(self, member: Member, baton: Baton) -> None:
        """To the next who is present; to oneself where nobody else is, and to all at the end."""
        baton = self._stepped_over(member, baton)
        if baton.hop == len(self._order):
            self._end = baton
            self._what.ended(member.agent, member.agent.step, baton)
            return member.send(TOTAL, baton.packed())
        speaker = self._order[baton.hop]
        if speaker == member.agent.number:
            return self._take(member, baton)
        self._sent = speaker, baton
        member.send(RING, baton.packed(), speaker)

    def _stepped_over(self, member: Member, baton: Baton) -> Baton:
        """The same, due at the next who is present."""
        there, hop = member.present | {member.agent.number}, baton.hop
        while hop < len(self._order) and self._order[hop] not in there:
            hop += 1
        return Baton(hop, baton.made, baton.whose, baton.y)


def draw_order(seed: int, step: int, num_sweeps: int, num_agents: int) -> list[int]:
    """Who makes which hop of a step: a fresh permutation in every sweep."""
    draw = random.Random(f"{seed} {step}")  # of whose methods `random` alone is promised to stay as it is
    return [agent for _ in range(num_sweeps) for agent in sorted(range(num_agents), key=lambda _: draw.random())]
