"""Whose messages are believed: who is introduced, what was said already, and what was refused and why.

A sender draws a nonce when it starts. A listener believes it once its owner has replied to a challenge of the
listener's own (`message.prove`), so that a message recorded earlier, or before a restart, is none of the sender that is
there now.
Within one start each sequence number counts once.
"""

from collections import Counter

from composite_flow.runtime.message import Message, RefusedMessage

WINDOW = 64  # messages of a sender may overtake each other by so many


class Ledger:
    """What one listener knows of its senders.

    Attributes:
        refused: how many messages were refused, by reason.
        introduced: the nonce of each sender that has proved to be there.
    """

    def __init__(self, team: bytes, checksum: bytes, own: int, num_agents: int):
        self._team, self._checksum, self._own, self._num_agents = team, checksum, own, num_agents
        self.refused: Counter[str] = Counter()
        self.introduced: dict[int, int] = {}
        self._seen: dict[int, set[int]] = {}
        self._highest: dict[int, int] = {}

    def introduce(self, sender: int, nonce: int) -> None:
        """A sender has proved that this is its nonce now; what it said under another is no longer believed."""
        if self.introduced.get(sender) != nonce:
            self.introduced[sender], self._seen[sender], self._highest[sender] = nonce, set(), -1

    def accept(self, message: Message) -> None:
        """Believe a message, once.

        Raises:
            RefusedMessage: it is of another team, model or start, of nobody known, or was heard before.
        """
        sender = message.sender
        if message.team != self._team:
            raise RefusedMessage("of another team")
        if message.checksum != self._checksum:
            raise RefusedMessage("of another model")
        if sender == self._own or not 0 <= sender < self._num_agents:
            raise RefusedMessage("of no other agent")
        if self.introduced.get(sender) != message.nonce:
            raise RefusedMessage("not introduced")
        if message.sequence in self._seen[sender] or message.sequence <= self._highest[sender] - WINDOW:
            raise RefusedMessage("heard before")
        self._remember(sender, message.sequence)

    def _remember(self, sender: int, sequence: int) -> None:
        highest = self._highest[sender] = max(self._highest[sender], sequence)
        seen = self._seen[sender]
        seen.add(sequence)
        if len(seen) > 2 * WINDOW:
            self._seen[sender] = {number for number in seen if number > highest - WINDOW}
