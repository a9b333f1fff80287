"""How an agent goes from step to step: what it remembers of itself, what it heard, and what it forgets.

NumPy alone, so that it runs where JAX is not installed: `Agent` and the agents of exported folders are such agents.
"""

from collections.abc import Mapping
from typing import Any

from composite_flow.errors import InputError
from composite_flow.runtime.inbox import Inbox
from composite_flow.runtime.memory import Memory


class SteppingAgent:
    """One agent's own side, before it says or estimates anything.

    Attributes:
        number: which agent it is.
        carried: what it carries over time; None where it does not.
    """

    number: int
    carried: Any
    _hops: Any

    def __init__(self, layout: Mapping[str, Any], number: int, max_age: int):
        """An agent that has seen nothing yet; `layout` is the settings of a `HistoryLayout`."""
        self.number, self.max_age, self._settings = number, max_age, layout
        self._memory, self._inbox = Memory(layout, number), Inbox(layout["num_agents"], number, max_age)

    @property
    def step(self) -> int:
        """Number of the present step; −1 before the first."""
        return self._memory.step

    @property
    def sees(self) -> bool:
        """Whether it observed the present step."""
        return self._memory.sees

    def observe(self, observation, action=None, step: int | None = None, *, begins: bool = False) -> None:
        """Take in what it sees now; what cannot be used is refused, and leaves everything as it was.

        Args:
            observation: (observation,), in its own units; what this agent does not observe of it is not read.
            action: that it took since the last observation, a number, or one for each of its components; needed where
                histories are longer than one step.
            step: number of the step; by default the next one. Where steps are left out the history begins anew.
            begins: whether an episode begins here, and with it the history.

        Raises:
            InputError: an observation of another size or not finite, no such action, or a step that was observed; over
                time also an episode of which it did not see the beginning.
        """
        if self.carried is not None:
            self.carried.check(self.step + 1 if step is None else step, begins, first=self.step < 0)
        self._memory.observe(observation, action, step, begins=begins)
        self._went_on(begins)

    def miss(self, step: int | None = None, *, begins: bool = False) -> None:
        """A step at which it sees nothing, says nothing, and its history begins anew; `begins` as in `observe`."""
        self._memory.miss(step)
        self._went_on(begins)

    def reset(self) -> None:
        """Forget everything, as at the start of an episode."""
        self._memory = Memory(self._settings, self.number)
        self._inbox.forget()
        if self.carried is not None:
            self.carried.forget()
        self._forget_step()

    def _went_on(self, begins: bool) -> None:
        if begins:
            self._inbox.forget(before=self.step)
        if self.carried is not None:
            self.carried.follow(self.step, begins)
        self._forget_step()

    def _forget_step(self) -> None:
        self._said: Any = None
        self._hops.forget()

    def _check_sees(self) -> None:
        if not self.sees:
            raise InputError("This agent has observed nothing at this step, of which it could say something.")
