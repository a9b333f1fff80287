"""Composite diffusion round a ring: one message goes from agent to agent, as Definition 6 has it.

All members draw the same orders from a seed and the step's number, so that the message holds nothing but the noisy
states. Who is dead is stepped over, and where the receiver of a message dies, its sender sends it to the next. The last
one tells all where the samples ended. An agent makes each of its hops once. NumPy alone.

What is drawn comes from generators that are the same in all versions of Python and NumPy: members may run different
ones, and some run without JAX.
"""

import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from composite_flow.runtime.member import Member
from composite_flow.runtime.message import RING, TOTAL, Message, RefusedMessage

_HEAD = struct.Struct("<II")  # the hop to be made, and hops made


class Baton:
    """What goes round: the next hop, hops made so far, who made them, and the noisy states."""

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


class Ring:
    """The message goes round, `num_sweeps` times."""

    kinds, waits = (RING, TOTAL), True

    def __init__(
        self,
        num_agents: int,
        shape: tuple[int, int],
        num_sweeps: int,
        seed: int,
        report: Callable[[Any, np.ndarray], dict[str, Any]],
    ):
        """A ring of so many agents.

        Args:
            num_agents: of the team.
            shape: samples, and features of the state.
            num_sweeps: passes through the agents.
            seed: of orders and noise.
            report: what is told by an agent of where the samples ended.
        """
        self._sizes, self._shape, self._seed, self._report = (num_sweeps, num_agents), shape, seed, report
        self._end: Baton | None = None

    def rehearse(self, agent: Any) -> None:
        """Do once what a step does, without a bus."""
        self._report(agent, np.asarray(agent.hop(draw_start(self._seed, 0, self._shape))))

    def opened(self, member: Member) -> None:
        """Draw the turns; the first of those who are present begins."""
        place = self._seed, member.agent.step
        self._order, self._start = draw_order(*place, *self._sizes), draw_start(*place, self._shape)
        self._made, self._sent, self._end = -1, None, None
        self._begin_if_first(member)

    def hear(self, member: Member, message: Message) -> None:
        """Make a hop, or take the end of it all."""
        if message.step < member.agent.step or not member.is_open:
            raise RefusedMessage("late")
        baton = Baton.unpacked(message.payload, member.num_agents, self._shape)
        if message.kind == TOTAL:
            self._end = self._end or baton
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
        """Whether it is known where the samples ended."""
        return self._end is not None

    def estimate(self, member: Member) -> dict[str, Any]:
        """The state that most samples reached; nothing where the message did not come round."""
        if self._end is None:
            return {"participants": [], "nothing": "The message did not come round by the deadline."}
        whose = {"participants": np.flatnonzero(self._end.whose).tolist(), "hops": self._end.made}
        return {**whose, **self._report(member.agent, self._end.y)}

    # --- parts of the above

    def _begin_if_first(self, member: Member) -> None:
        whose = np.zeros(member.num_agents, bool)
        baton = self._stepped_over(member, Baton(0, 0, whose, self._start))
        if self._order[baton.hop] == member.agent.number:
            self._take(member, baton)

    def _take(self, member: Member, baton: Baton) -> None:
        """Make this hop, and pass the message on."""
        self._made = baton.hop
        if member.agent.sees:
            y, whose = np.asarray(member.agent.hop(baton.y)), baton.whose.copy()
            whose[member.agent.number] = True
            baton = Baton(baton.hop, baton.made + 1, whose, y)
        self._pass_on(member, Baton(baton.hop + 1, baton.made, baton.whose, baton.y))

    def _pass_on(self, member: Member, baton: Baton) -> None:
        """To the next who is present; to oneself where nobody else is, and to all at the end."""
        baton = self._stepped_over(member, baton)
        if baton.hop == len(self._order):
            self._end = baton
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


def draw_start(seed: int, step: int, shape: tuple[int, int]) -> np.ndarray:
    """The noisy states of a step before the first hop, N(0, 1)."""
    entropy = int(random.Random(f"start {seed} {step}").random() * 2**32)
    return np.random.RandomState(entropy).standard_normal(shape).astype(np.float32)  # frozen, unlike `Generator`
