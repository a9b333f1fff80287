"""Whether an estimate is to be used, in one sentence: accepted, or why nothing can be said."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Reason = Literal["", "too wide", "too many candidates", "sensors in doubt", "unlike training"]
"""Why no answer is given; empty where one is."""


class Names(NamedTuple):
    """What sentences and results call the features of a state and the agents of a team.

    Attributes:
        states: a name for each feature of the state.
        agents: a name for each agent; empty where they have none.
    """

    states: tuple[str, ...]
    agents: tuple[str, ...] = ()

    def agent(self, number: int) -> str:
        """An agent as sentences call it: by its name, or "agent 3" where it has none, or a number for a name."""
        name = self.agents[number] if self.agents else str(number)
        return f"agent {name}" if name.isdecimal() else name


NAMELESS = Names(())


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
