"""Fusion by running sums along a tree: n − 1 sums go up, and one total comes back to all.

The tree is that of a heap over those who are present, in rising order: the parent of the member at place p > 0 is at
place (p − 1) // 2. A member sends its sum up when all below it were heard, or when its share of the deadline is over:
the lower it stands the sooner. Each sum says whose answers it holds, so that none is added twice when members come, go,
or see the team differently. Who hears no total by the deadline has its own part of the tree.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from composite_flow.runtime.member import Member
from composite_flow.runtime.message import SUMS, TOTAL, Message, RefusedMessage
from composite_flow.runtime.payload import decode, encode
from composite_flow.runtime.sent import Sent, SentShape


class Tree:
    """Sums up, the total down; NumPy alone."""

    kinds, waits = (SUMS, TOTAL), True

    def __init__(
        self,
        num_agents: int,
        shape: SentShape,
        whole: Callable[[Any], Sent],
        report: Callable[[Any, Sent, np.ndarray, int], dict[str, Any]],
    ):
        """A tree of agents whose sums have this shape.

        Args:
            num_agents: of the team.
            shape: of an answer of every feature.
            whole: an agent's answer of every feature.
            report: what is told by an agent of a sum, of whose answers it holds, where the team has so many members.
        """
        self._num_agents, self._shape, self._whole, self._report = num_agents, shape, whole, report
        self._total: tuple[Sent, np.ndarray] | None = None

    def rehearse(self, agent: Any) -> None:
        """Do once what a step does, without a bus."""
        self._report(agent, self._whole(agent), np.isin(np.arange(self._num_agents), agent.number), 1)

    def opened(self, member: Member) -> None:
        """Begin with the own answer, and send it on where nobody is below."""
        own, self._total, self._passed = member.agent.number, None, False
        self._whose = np.zeros(member.num_agents, bool)
        self._whose[own] = member.agent.sees
        self._sum = self._whole(member.agent) if member.agent.sees else self._shape.nothing
        self._order = sorted(member.present | {own})
        self._place = self._order.index(own)
        member.wake_after(self._patience(member.settings.deadline))
        self._pass_on_if_ready(member)

    def hear(self, member: Member, message: Message) -> None:
        """Add a sum from below, or take the total."""
        if message.step < member.agent.step or not member.is_open:
            raise RefusedMessage("late")
        flags = (member.num_agents + 7) // 8
        whose = np.unpackbits(np.frombuffer(message.payload[:flags], np.uint8))[: member.num_agents].astype(bool)
        if len(whose) < member.num_agents or not whose.any():
            raise RefusedMessage("no answer")
        found = decode(message.payload[flags:], self._shape, message.bits)
        if message.kind == TOTAL:
            self._total = self._total or (found, whose)
            return
        if self._passed:
            raise RefusedMessage("late")
        if (whose & self._whose).any():
            raise RefusedMessage("said already")
        self._sum = Sent(*(mine + theirs for mine, theirs in zip(self._sum, found, strict=True)))
        self._whose = self._whose | whose
        self._pass_on_if_ready(member)

    def gone(self, member: Member, other: int) -> None:
        """Who is gone is not waited for."""
        if member.is_open:
            self._pass_on_if_ready(member)

    def wake(self, member: Member) -> None:
        """No more waiting for those below."""
        self._pass_on(member)

    def complete(self, member: Member) -> bool:
        """Whether the total is known."""
        return self._total is not None

    def estimate(self, member: Member) -> dict[str, Any]:
        """What the total says, or by the deadline the own part of the tree."""
        total, whose = self._total or (self._sum, self._whose)
        return self._report(member.agent, total, whose, 1 + len(member.present))

    def _patience(self, deadline: float) -> float:
        """Seconds to wait for those below: none of the lowest, most of the root."""
        depth, lowest = (int(np.log2(place + 1)) for place in (self._place, len(self._order) - 1))
        return deadline * (lowest - depth) / (lowest + 2)

    def _pass_on_if_ready(self, member: Member) -> None:
        below = _below(self._place, self._order)
        if all(self._whose[agent] for agent in below if agent in member.present):
            self._pass_on(member)

    def _pass_on(self, member: Member) -> None:
        """Send the sum up once; the root sends the total to all."""
        if self._passed or not self._whose.any():
            return
        self._passed = True
        settings = member.settings
        head = np.packbits(self._whose).tobytes()
        most = None if settings.most_payload is None else settings.most_payload - len(head)
        payload = head + encode(self._sum, self._shape, settings.bits, most)
        parent = next((agent for agent in _above(self._place, self._order) if agent in member.present), None)
        if parent is None:
            self._total = self._sum, self._whose
        member.send(TOTAL if parent is None else SUMS, payload, parent)


def _below(place: int, order: list[int]) -> list[int]:
    """Everybody whose sums come through this place."""
    found, row = [], [place]
    while row:
        row = [child for parent in row for child in (2 * parent + 1, 2 * parent + 2) if child < len(order)]
        found += [order[child] for child in row]
    return found


def _above(place: int, order: list[int]) -> list[int]:
    """The parent, its parent, and so on."""
    found = []
    while place > 0:
        place = (place - 1) // 2
        found.append(order[place])
    return found
