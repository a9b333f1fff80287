"""What one agent carries from step to step: the team's last estimate, predicted, with each step's answers taken in.

An answer counts at its own step. One that comes late, but no more than `max_age` steps, is taken in there, and all that
follows is computed again, as if it had come in time; older ones are dropped.

NumPy alone: what the filter computes is given, by JAX (`product`) or from an exported folder.
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from composite_flow.errors import InputError
from composite_flow.runtime.inbox import Inbox
from composite_flow.runtime.sent import Sent

MOST_SKIPPED = 1000
"""Steps without a word through which an estimate is carried; beyond them it is as if nothing were known."""
UNKNOWN = "How this episode began is unknown, and with it what the team carries."


@runtime_checkable
class Parts(Protocol):
    """What a product filter computes for one agent; what is known is of whatever kind it takes.

    Attributes:
        initial: what is known before an episode's first step.
        nothing: the answer that says nothing.
    """

    initial: Any
    nothing: Sent

    def say(self, history: np.ndarray, predicted: Any) -> Sent:
        """What an agent sends, from its own history and what it predicted."""
        ...

    def predict(self, known: Any) -> Any:
        """What is known, of the next step."""
        ...

    def take_in(self, predicted: Any, answers: Sent, heard: np.ndarray) -> Any:
        """What is known once the answers of those who were heard are added; agents along the leading axis."""
        ...

    def told(self, known: Any, heard: np.ndarray) -> Any:
        """The estimate in the state's own units."""
        ...


class Carrying:
    """One agent's filter."""

    def __init__(self, parts: Parts, number: int, num_agents: int, inbox: Inbox, max_age: int):
        """Nothing is known yet, not even when the episode began."""
        self._parts, self._number, self._num_agents = parts, number, num_agents
        self._inbox, self._max_age = inbox, max_age
        self.forget()

    def forget(self) -> None:
        """As before an episode."""
        self._own: dict[int, Sent] = {}
        self._began: int | None = None
        self._base: tuple[int, Any] = -1, self._parts.initial

    def check(self, step: int, begins: bool, first: bool) -> None:
        """Refuse to go on where it is not known how the episode began.

        Args:
            step: that is to be observed.
            begins: whether an episode begins there.
            first: whether nothing was observed before; step 0 is an episode's first.
        """
        if not begins and self._began is None and not (first and step == 0):
            raise InputError(
                f"This episode began before step {step}, unseen by this agent, so that what the team carries is "
                "unknown: it takes part again where an episode begins (`begins=True`)."
            )

    def follow(self, step: int, begins: bool) -> None:
        """Go on to a step; answers of steps that are too old by then are no longer waited for."""
        if begins or (self._began is None and step == 0):
            self._began, self._base, self._own = step, (step - 1, self._parts.initial), {}
        if self._began is None:
            return
        if step - self._base[0] > MOST_SKIPPED + self._max_age:
            return self.forget()
        last = step - 1 - self._max_age
        if last > self._base[0]:
            self._base = last, self._known_at(last)
            self._own = {at: sent for at, sent in self._own.items() if at > last}

    def answer(self, step: int, history: np.ndarray) -> Sent:
        """What this agent says at the present step, of its own history; once."""
        if step not in self._own:
            self._own[step] = self._parts.say(history, self._predicted_at(step))
        return self._own[step]

    def speak(self, step: int, history: np.ndarray) -> None:
        """Take the own answer into what is known, whether or not it is sent."""
        self.answer(step, history)

    def estimate(self, step: int, asked: tuple[int | None, bool | float]) -> Any:
        """What is known at the present step, in the state's own units; without an answer what was predicted.

        Args:
            step: the present one.
            asked: `within` and `robust`, which have no meaning here.
        """
        refuse_options(asked)
        return self._parts.told(self._known_at(step), self._heard_at(step)[1])

    # --- parts of the above

    def _predicted_at(self, step: int) -> Any:
        if self._began is None:
            raise InputError(UNKNOWN)
        return self._parts.initial if step == self._began else self._parts.predict(self._known_at(step - 1))

    def _known_at(self, step: int) -> Any:
        """After a step, from what is settled on."""
        settled, known = self._base
        if step < settled or self._began is None:
            raise InputError(UNKNOWN)
        for at in range(settled + 1, step + 1):
            predicted = self._parts.initial if at == self._began else self._parts.predict(known)
            known = self._parts.take_in(predicted, *self._heard_at(at))
        return known

    def _heard_at(self, step: int) -> tuple[Sent, np.ndarray]:
        """The answers of a step, agents along the leading axis, and whose they are."""
        answers = self._inbox.at(step)
        if step in self._own:
            answers[self._number] = self._own[step]
        rows = [answers.get(agent, self._parts.nothing) for agent in range(self._num_agents)]
        parts = (np.stack(part) for part in zip(*rows, strict=True))
        return Sent(*parts), np.isin(np.arange(self._num_agents), list(answers))


def refuse_options(asked: tuple[int | None, bool | float]) -> None:
    """InputError where `within` or `robust` is asked of an estimate that is carried."""
    if asked[0] is not None or asked[1]:
        raise InputError("Over time each answer counts at its own step, and nobody is left out: no other options.")
