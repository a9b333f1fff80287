"""Whether an estimate is to be used, in one sentence: accepted, or why nothing can be said."""

from dataclasses import dataclass
from typing import Literal

Reason = Literal["", "too wide", "too many candidates", "sensors in doubt", "unlike training"]
"""Why no answer is given; empty where one is."""


@dataclass(frozen=True)
class Verdict:
    """What is made of one estimate.

    Attributes:
        accepted: whether the estimate is to be used.
        reason: why not.
        agents: whom it is about: those in doubt, or who were left out.
        sentence: all of this in words.
    """

    accepted: bool
    reason: Reason
    agents: tuple[int, ...]
    sentence: str


def refused(reason: Reason, agents: tuple[int, ...], why: str) -> Verdict:
    """A verdict that no answer is given, and why."""
    return Verdict(False, reason, agents, f"Abstained, {reason}: {why}.")
