"""What one agent remembers of itself: its last H observations, the actions between them, and the number of the step.

NumPy alone, so that it runs where JAX is not installed.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from composite_flow.errors import InputError


class Memory:
    """One agent's window, as `History` has it: zeros and a mask that is off where nothing is known.

    Steps are numbered. One that follows the last carries the window on. Where steps were left out, nobody knows what
    lay between, and the window begins anew, as at the start of an episode.

    Attributes:
        observations: (length, observation), oldest first.
        actions: (length − 1,), those taken between them; of several components (length − 1, components).
        mask: (length,), which steps are known.
        step: number of the present step; −1 before the first.
    """

    def __init__(self, layout: Mapping[str, Any], agent: int):
        """An empty window of one agent; `layout` is the settings of a `HistoryLayout`."""
        self._layout, self._agent, self._choices = layout, agent, layout.get("choices")
        observed, length = layout.get("observed"), layout["length"]
        self._observed = None if observed is None else np.asarray(observed[agent], bool)
        self.observations = np.zeros((length, layout["observation_size"]), np.float32)
        components = () if self._choices is None else (len(self._choices),)
        self.actions: Any = np.zeros((length - 1, *components), np.float32 if components else np.int32)
        self.mask = np.zeros(length, bool)
        self.step = -1

    @property
    def history(self) -> np.ndarray:
        """The window as networks read it, as `HistoryLayout.encode` has it."""
        agents = np.arange(self._layout["num_agents"])
        parts = (self.observations, self._encoded() * self.mask[:-1, None], self.mask, agents == self._agent)
        return np.concatenate([np.asarray(part, np.float32).reshape(-1) for part in parts])

    def observe(self, observation, action, step: int | None, *, begins: bool = False) -> None:
        """Take in the observation of a step; what cannot be used leaves everything as it was.

        Args:
            observation: of this step.
            action: taken since the last observation, a number, or one for each of its components; only read where the
                window holds more than one step.
            step: number of the step; by default the next one.
            begins: whether an episode begins at this step, and with it the window.

        Raises:
            InputError: the observation is of another size or not finite, the action is missing or unknown, or the step
                is not after the last.
        """
        values, step = self._checked(observation), self._next(step)
        follows = self.sees and step == self.step + 1 and not begins
        taken = self._action(action) if follows and len(self.actions) else np.zeros(self.actions.shape[1:])
        if not follows:
            self.forget()
        self.observations = np.concatenate([self.observations[1:], values[None]])
        self.mask = np.append(self.mask[1:], True)
        if len(self.actions):
            self.actions = np.concatenate([self.actions[1:], np.asarray(taken, self.actions.dtype)[None]])
        self.step = step

    def miss(self, step: int | None) -> None:
        """A step without an observation; InputError where it is not after the last."""
        step = self._next(step)
        self.forget()
        self.step = step

    def forget(self) -> None:
        """Begin anew, at the step that it is."""
        self.observations, self.actions = np.zeros_like(self.observations), np.zeros_like(self.actions)
        self.mask = np.zeros_like(self.mask)

    @property
    def sees(self) -> bool:
        """Whether the present step was observed."""
        return bool(self.mask[-1])

    def _checked(self, observation) -> np.ndarray:
        values = np.asarray(observation, np.float32)
        if values.shape != self.observations.shape[1:]:
            raise InputError(f"An observation has the shape {self.observations.shape[1:]}, not {values.shape}.")
        if not np.isfinite(values).all():
            raise InputError("An observation holds NaN or infinite values; remove or replace them first.")
        return values if self._observed is None else np.where(self._observed, values, np.float32(0.0))

    def _next(self, step: int | None) -> int:
        if step is not None and step <= self.step:
            raise InputError(f"Step {step} is not after step {self.step}, which was observed already.")
        return self.step + 1 if step is None else int(step)

    def _action(self, action) -> Any:
        options = (self._layout["num_actions"],) if self._choices is None else tuple(self._choices)
        if action is None and options in ((1,), ()):
            action = np.zeros(len(options))
        try:
            taken = np.asarray(action, float).reshape(-1)
        except (TypeError, ValueError):
            taken = np.zeros(0)
        if len(taken) == len(options) and all(map(_is_of, taken.tolist(), options)):
            return taken[0] if self._choices is None else taken
        of = " and ".join(f"a number from 0 to {count - 1}" if count else "any number" for count in options) or "none"
        raise InputError(f"The action since the last observation belongs to the history, {of}, not {action}.")

    def _encoded(self) -> np.ndarray:
        """Columns of the actions: of choices one-hot, of numbers themselves."""
        if self._choices is None:
            return np.eye(self._layout["num_actions"], dtype=np.float32)[self.actions]
        parts = [
            np.eye(count, dtype=np.float32)[part.astype(int)] if count else part[:, None]
            for count, part in zip(self._choices, self.actions.T, strict=True)
        ]
        return np.concatenate([np.zeros((len(self.actions), 0), np.float32), *parts], axis=1)


def _is_of(value: float, options: int) -> bool:
    """Whether a component of an action is one of so many options; any number where there are none."""
    return bool(np.isfinite(value)) and (not options or (value == int(value) and 0 <= value < options))
