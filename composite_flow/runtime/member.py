"""A member of a team on a bus: what it does with observations, messages, and time. It opens no connection itself.

A step opens with the agent's own observation. The rule says what is sent then, and what is done with what is received.
The step closes when the rule has heard everybody who is present, and at the deadline in any case, with those heard by
then. What arrives is believed as `ledger` says, and everything that is refused is counted.

Time is whatever clock the caller reads, and only differences of it count: clocks of members need not agree. NumPy
alone.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from composite_flow.errors import InputError
from composite_flow.runtime.ledger import Ledger
from composite_flow.runtime.message import Message, RefusedMessage, digest, draw_nonce, overhead, pack, unpack
from composite_flow.runtime.observation import Parse, parse_json

_NEVER = float("inf")


@dataclass(frozen=True)
class Settings:
    """How a team's members speak to each other; the same for all of them.

    Attributes:
        team: its name on the bus.
        deadline: seconds after an observation at which the estimate is due.
        bits: of a number in messages: 32, 16 or 8.
        most_bytes: of a message; None for no limit.
        key: by which messages are signed; None leaves them unsigned.
    """

    team: str
    deadline: float = 0.1
    bits: int = 32
    most_bytes: int | None = None
    key: bytes | None = None

    def __post_init__(self):
        if not self.team or set(self.team) & set("/*$#? "):
            raise InputError(f"A team's name is a word without / * $ # ? or spaces, not {self.team!r}.")
        if not self.deadline > 0:
            raise InputError(f"The deadline is a positive number of seconds, not {self.deadline}.")
        if self.key is not None and len(self.key) < 16:
            raise InputError(f"A key has 16 bytes at least, not {len(self.key)}.")

    @property
    def most_payload(self) -> int | None:
        """Bytes that the header and the signature leave."""
        if self.most_bytes is None:
            return None
        left = self.most_bytes - overhead(self.key)
        if left < 1:
            raise InputError(f"A message has {overhead(self.key)} bytes before it says anything; allow more.")
        return left


class Rule(Protocol):
    """How a step's messages lead to an estimate.

    Attributes:
        kinds: of messages that it takes.
        waits: whether messages of a step ahead wait until the member is there; otherwise they are heard at once.
    """

    kinds: tuple[int, ...]
    waits: bool

    def rehearse(self, agent: Any) -> None:
        """What a step does, without a bus: it compiles what is called."""
        ...

    def opened(self, member: "Member") -> None:
        """The step is open, with the agent's own observation or without one."""
        ...

    def hear(self, member: "Member", message: Message) -> None:
        """A message that is believed; `RefusedMessage` where it cannot be used after all."""
        ...

    def gone(self, member: "Member", other: int) -> None:
        """Another is no longer present."""
        ...

    def wake(self, member: "Member") -> None:
        """The time is over for which it wanted to wait, by `Member.wake_after`."""
        ...

    def complete(self, member: "Member") -> bool:
        """Whether nothing more is to be waited for."""
        ...

    def estimate(self, member: "Member") -> dict[str, Any]:
        """What is told of the step; `InputError` where nothing can be said."""
        ...


class Member:
    """One agent of a team, as its process runs it.

    Attributes:
        agent: what observes and answers.
        settings: of the team.
        nonce: drawn at this start.
        present: the others who are there and introduced.
    """

    def __init__(
        self,
        agent: Any,
        checksum: bytes,
        settings: Settings,
        rule: Rule,
        num_agents: int,
        send: Callable[[bytes, int | None], None],
        tell: Callable[[dict[str, Any]], None],
    ):
        """A member of which nobody knows yet.

        Args:
            agent: with `observe`, `miss`, `step`, and what the rule needs.
            checksum: of the model.
            settings, rule: of the team.
            num_agents: of the team.
            send: sends a message to one other, or to all of them (None).
            tell: publishes what a step led to.
        """
        self.agent, self.settings, self.rule, self.nonce = agent, settings, rule, draw_nonce()
        self.num_agents, self.present = num_agents, set[int]()
        self._checksum, self._send, self._tell = checksum, send, tell
        self._ledger = Ledger(digest(settings.team), checksum, agent.number, num_agents)
        self._dropped: Counter[str] = Counter()
        self._sequence, self._due, self._wake, self._now = 0, _NEVER, _NEVER, 0.0
        self._early: list[Message] = []
        self._sent_bytes = self._sent_messages = 0

    # --- what happens to it

    @property
    def due(self) -> float:
        """When something is to be done; infinite where no step is open."""
        return min(self._due, self._wake)

    @property
    def is_open(self) -> bool:
        """Whether the step's estimate is still to be told."""
        return self._due < _NEVER

    @property
    def refused(self) -> dict[str, int]:
        """How many messages and observations were not used, by reason."""
        return dict(sorted((self._ledger.refused + self._dropped).items()))

    def observe(self, data: bytes, now: float, parse: Parse = parse_json) -> None:
        """An observation came in, as `parse` reads it.

        An earlier step that is still open closes with those heard so far. What cannot be observed is dropped and
        counted; where its step is known, the step goes on without an answer of this agent.
        """
        self._now = now
        try:
            told = parse(data)
        except InputError:
            return self._drop("observation that cannot be read")
        if told.get("step") is not None and told["step"] <= self.agent.step:
            return self._drop("observation of a step that is over")
        self._close()
        try:
            self.agent.observe(**told)
        except InputError:
            self._drop("observation that cannot be used")
            if told.get("step") is None:
                return
            self.agent.miss(told["step"], begins=told.get("begins", False))
        self._due, self._sent_bytes, self._sent_messages = now + self.settings.deadline, 0, 0
        self.rule.opened(self)
        early, self._early = self._early, []
        for message in early:
            self._hear(message)
        self._close_if_complete()

    def hear(self, data: bytes, now: float) -> None:
        """A message came in."""
        self._now = now
        try:
            message = unpack(data, self.settings.key)
            self._ledger.accept(message)
            if message.kind not in self.rule.kinds:
                raise RefusedMessage("of another rule")
        except RefusedMessage as refusal:
            return self._drop(str(refusal))
        self._hear(message)
        self._close_if_complete()

    def meet(self, other: int, nonce: int, now: float) -> None:
        """Another has proved to be there."""
        self._now = now
        if other == self.agent.number or not 0 <= other < self.num_agents:
            return self._drop("of no other agent")
        self._ledger.introduce(other, nonce)
        self.present.add(other)

    def has_met(self, other: int, nonce: int) -> bool:
        """Whether another is present with this start."""
        return other in self.present and self._ledger.introduced.get(other) == nonce

    def miss(self, other: int, nonce: int, now: float) -> None:
        """Another is gone; it may come back."""
        self._now = now
        if self._ledger.introduced.get(other) == nonce and other in self.present:
            self.present.discard(other)
            self.rule.gone(self, other)
            self._close_if_complete()

    def tick(self, now: float) -> None:
        """Time has passed."""
        self._now = now
        if now >= self._due:
            self._close()
        elif now >= self._wake:
            self._wake = _NEVER
            self.rule.wake(self)
            self._close_if_complete()

    # --- what rules do

    def wake_after(self, seconds: float) -> None:
        """Have `Rule.wake` called so many seconds after the step was opened, if it is still open then."""
        self._wake = self._due - self.settings.deadline + seconds

    def send(self, kind: int, payload: bytes, to: int | None = None) -> None:
        """Send to one other, or to all."""
        place = {"nonce": self.nonce, "sequence": self._sequence, "step": self.agent.step}
        head = {"team": digest(self.settings.team), "checksum": self._checksum, "sender": self.agent.number, **place}
        message = Message(kind, self.settings.bits, **head, payload=payload)
        data = pack(message, self.settings.key)
        self._sequence += 1
        self._sent_bytes += len(data)
        self._sent_messages += 1
        self._send(data, to)

    # --- parts of the above

    def _hear(self, message: Message) -> None:
        """Let the rule hear it, now or when its step is there."""
        if self.rule.waits and message.step > self.agent.step:
            self._early = [*self._early, message][-4 * self.num_agents :]
            return
        try:
            self.rule.hear(self, message)
        except RefusedMessage as refusal:
            self._drop(str(refusal))

    def _close_if_complete(self) -> None:
        if self.is_open and self.rule.complete(self):
            self._close()

    def _close(self) -> None:
        """Tell what the open step led to."""
        if not self.is_open:
            return
        late, self._due, self._wake = max(0.0, self._now - self._due), _NEVER, _NEVER
        about = {"agent": self.agent.number, "step": self.agent.step, "late": late, "refused": self.refused}
        about |= {"bytes": self._sent_bytes, "messages": self._sent_messages, "present": sorted(self.present)}
        try:
            self._tell({**about, **self.rule.estimate(self)})
        except InputError as error:
            self._tell({**about, "participants": [], "nothing": str(error)})

    def _drop(self, reason: str) -> None:
        self._dropped[reason] += 1
