"""Messages on the bus: a header that says whose they are, what they carry, and a signature where the team has a key.

    magic, kind, bits   what it is
    team, checksum      of which team and of which model: eight bytes of a SHA-256 each
    sender, nonce       who sent it, and a number that the sender drew at its start
    sequence, step      its place among the sender's messages, and the step of which it tells
    payload
    signature           sixteen bytes of an HMAC-SHA-256 over all before it, with the team's key

NumPy and JAX are not needed.
"""

import hashlib
import hmac
import secrets
import struct
from dataclasses import dataclass

_MAGIC, _HEADER = b"cfm1", struct.Struct("<4sBB8s8sIQQq")
_SIGNATURE_BYTES = 16

ANSWER, SUMS, TOTAL, RING = 1, 2, 3, 4
"""Kinds: an agent's answer, running sums on their way up a tree, the tree's total, and what goes round a ring."""


class RefusedMessage(Exception):
    """A message that must not be used; its text is the reason under which it is counted."""


@dataclass(frozen=True)
class Message:
    """One message, without its signature."""

    kind: int
    bits: int
    team: bytes
    checksum: bytes
    sender: int
    nonce: int
    sequence: int
    step: int
    payload: bytes


def digest(text: str | bytes) -> bytes:
    """Eight bytes that stand for a text."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).digest()[:8]


def draw_nonce() -> int:
    """A number that no earlier start has drawn."""
    return secrets.randbits(64)


def overhead(key: bytes | None) -> int:
    """Bytes of a message beside its payload."""
    return _HEADER.size + (_SIGNATURE_BYTES if key else 0)


def pack(message: Message, key: bytes | None = None) -> bytes:
    """The message as bytes, signed where there is a key."""
    numbers = (message.sender, message.nonce, message.sequence, message.step)
    head = _HEADER.pack(_MAGIC, message.kind, message.bits, message.team, message.checksum, *numbers)
    return head + message.payload + (_signature(head + message.payload, key) if key else b"")


def unpack(data: bytes, key: bytes | None = None) -> Message:
    """The message in these bytes.

    Raises:
        RefusedMessage: it is none, or it is not signed with the key.
    """
    if len(data) < overhead(key) or data[:4] != _MAGIC:
        raise RefusedMessage("no message")
    if key:
        data, signature = data[:-_SIGNATURE_BYTES], data[-_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, _signature(data, key)):
            raise RefusedMessage("unsigned or altered")
    _, kind, bits, team, checksum, *numbers = _HEADER.unpack_from(data)
    return Message(kind, bits, team, checksum, *numbers, payload=data[_HEADER.size :])


def prove(challenge: bytes, team: str, sender: int, nonce: int, key: bytes | None) -> bytes:
    """The reply by which a sender shows that it is there and has this nonce now; nobody else has it, given a key."""
    told = b"present" + challenge + digest(team) + struct.pack("<IQ", sender, nonce)
    return _signature(told, key or b"no key")


def is_proof(reply: bytes, challenge: bytes, team: str, sender: int, nonce: int, key: bytes | None) -> bool:
    """Whether a reply is that of `prove`."""
    return hmac.compare_digest(reply, prove(challenge, team, sender, nonce, key))


def _signature(data: bytes, key: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()[:_SIGNATURE_BYTES]
