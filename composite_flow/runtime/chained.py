"""What one agent carries of a chain over time: the message with which the last step ended that it heard of.

The message goes round once a step, and everybody hears where it ended. Whoever speaks first in the next step starts
from there, and an agent that missed the end of a step from the last one that it heard. NumPy alone.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from composite_flow.errors import InputError
from composite_flow.runtime.carrying import UNKNOWN, refuse_options
from composite_flow.runtime.sent import Sent


class Chained:
    """One agent's memory of the message.

    Attributes:
        known: (state,), the mean of the state that the team had last, scaled; None where nothing is known, since the
            episode began unseen and no step's end was heard.
    """

    known: np.ndarray | None

    def __init__(self, initial: np.ndarray, num_agents: int, told: Callable[[np.ndarray, np.ndarray], Any]):
        """Nothing is known yet.

        Args:
            initial: (state,), with which an episode begins, scaled.
            num_agents: of the team.
            told: the estimate, in the state's own units, of a mean and of who has spoken.
        """
        self._initial, self._told, self._nobody = initial, told, np.zeros(num_agents, bool)
        self.forget()

    def forget(self) -> None:
        """As before an episode."""
        self.known, self._step, self._whose = None, -1, self._nobody

    def check(self, step: int, begins: bool, first: bool) -> None:
        """Any step may be observed: who does not know how the episode began can speak once another has begun."""

    def follow(self, step: int, begins: bool) -> None:
        """Go on to a step; an episode begins at the first one, or where that is said."""
        if begins or (self.known is None and step == 0):
            self.known, self._step = self._initial, step - 1

    def answer(self, step: int, history: np.ndarray) -> Sent:
        """There is none: InputError."""
        raise no_answers()

    def speak(self, step: int, history: np.ndarray) -> None:
        """Nothing is to be said beside the message that goes round."""

    def take(self, step: int, mean: np.ndarray, whose: np.ndarray) -> bool:
        """Hear where the message ended.

        Args:
            step: of which it is.
            mean: (state,), scaled.
            whose: who has spoken; nobody changed anything where nobody has.

        Returns:
            Whether it is news; not where this step's end or a later one was heard, or it is of an episode before.

        Raises:
            InputError: it is of another size, or not finite.
        """
        if np.shape(mean) != self._initial.shape or not np.isfinite(mean).all():
            raise InputError(f"A message has {len(self._initial)} finite numbers.")
        if step <= self._step or not whose.any():
            return False
        self.known, self._step, self._whose = np.asarray(mean, np.float32), step, np.asarray(whose, bool)
        return True

    def estimate(self, step: int, asked: tuple[int | None, bool | float]) -> Any:
        """What the team knew last, by those who spoke at this step: by nobody where its end was not heard.

        Args:
            step: the present one.
            asked: `within` and `robust`, which have no meaning here.
        """
        refuse_options(asked)
        if self.known is None:
            raise InputError(UNKNOWN)
        return self._told(self.known, self._whose if self._step == step else self._nobody)


def no_answers() -> InputError:
    """The error where an agent that carries a chain's message is asked for an answer, or given one."""
    return InputError(
        "A chain's message goes from agent to agent: `hop` passes it on, and no agent answers for itself."
    )
