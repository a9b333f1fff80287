"""Fusion by one answer an agent, sent to all: n messages a step, and no one waits for more than the others' answers."""

from collections.abc import Callable, Sequence
from typing import Any

from composite_flow.errors import InputError
from composite_flow.runtime.member import Member
from composite_flow.runtime.message import ANSWER, Message, RefusedMessage
from composite_flow.runtime.payload import decode, encode
from composite_flow.runtime.sent import SentShape


class Broadcast:
    """Everybody answers everybody; NumPy alone.

    Attributes:
        shapes: of every agent's answers.
    """

    kinds, waits = (ANSWER,), False

    def __init__(self, shapes: Sequence[SentShape], report: Callable[[Any, int], dict[str, Any]]):
        """`report` infers the state by an agent whose team has so many members, and says what is told of it."""
        self.shapes, self._report = shapes, report

    def rehearse(self, agent: Any) -> None:
        """Do once what a step does, without a bus."""
        agent.answer()
        self._report(agent, 1)

    def opened(self, member: Member) -> None:
        """Send the own answer, where there is one."""
        if member.agent.sees:
            settings, shape = member.settings, self.shapes[member.agent.number]
            member.send(ANSWER, encode(member.agent.answer(), shape, settings.bits, settings.most_payload))

    def hear(self, member: Member, message: Message) -> None:
        """Take in an answer."""
        if message.step < member.agent.step - member.agent.max_age:
            raise RefusedMessage("late")
        answer = decode(message.payload, self.shapes[message.sender], message.bits)
        try:
            kept = member.agent.receive(message.sender, message.step, answer)
        except InputError:
            raise RefusedMessage("no answer") from None
        if not kept:
            raise RefusedMessage("said already")

    def gone(self, member: Member, other: int) -> None:
        """Nothing is to be done: what it said of this step still counts."""

    def wake(self, member: Member) -> None:
        """It never asks to be woken."""

    def complete(self, member: Member) -> bool:
        """Whether all who are present have answered at this step."""
        if member.agent.num_answers < len(member.present):
            return False  # the usual case, which need not look at each of them
        return member.present <= {sender for sender, step in member.agent.heard().items() if step == member.agent.step}

    def estimate(self, member: Member) -> dict[str, Any]:
        """What all who were heard say together."""
        return self._report(member.agent, 1 + len(member.present))
