"""What one agent remembers of itself: its last H observations, the actions between them, and the number of the step.

NumPy alone, so that it runs where JAX is not installed.
"""

import numpy as np

from composite_flow.errors import InputError


class Memory:
    """One agent's window, as `History` has it: zeros and a mask that is off where nothing is known.

    Steps are numbered. One that follows the last carries the window on. Where steps were left out, nobody knows what
    lay between, and the window begins anew, as at the start of an episode.

    Attributes:
        observations: (length, observation), oldest first.
        actions: (length − 1,), those taken between them.
        mask: (length,), which steps are known.
        step: number of the present step; −1 before the first.
    """

    def __init__(self, length: int, observation_size: int, num_actions: int):
        self.num_actions = num_actions
        self.observations = np.zeros((length, observation_size), np.float32)
        self.actions = np.zeros(length - 1, np.int32)
        self.mask = np.zeros(length, bool)
        self.step = -1

    def observe(self, observation, action: int | None, step: int | None, *, begins: bool = False) -> None:
        """Take in the observation of a step; what cannot be used leaves everything as it was.

        Args:
            observation: of this step.
            action: taken since the last observation; only read where the window holds more than one step.
            step: number of the step; by default the next one.
            begins: whether an episode begins at this step, and with it the window.

        Raises:
            InputError: the observation is of another size or not finite, the action is missing or unknown, or the step
                is not after the last.
        """
        values, step = self._checked(observation), self._next(step)
        follows = self.sees and step == self.step + 1 and not begins
        taken = self._action(action) if follows and len(self.actions) else 0
        if not follows:
            self.forget()
        self.observations = np.concatenate([self.observations[1:], values[None]])
        self.mask = np.append(self.mask[1:], True)
        if len(self.actions):
            self.actions = np.append(self.actions[1:], np.int32(taken))
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
        return values

    def _next(self, step: int | None) -> int:
        if step is not None and step <= self.step:
            raise InputError(f"Step {step} is not after step {self.step}, which was observed already.")
        return self.step + 1 if step is None else int(step)

    def _action(self, action: int | None) -> int:
        if action is None and self.num_actions == 1:
            return 0
        if action is None or not 0 <= action < self.num_actions:
            raise InputError(
                f"The action since the last observation belongs to the history, a number from 0 to "
                f"{self.num_actions - 1}, not {action}."
            )
        return int(action)
