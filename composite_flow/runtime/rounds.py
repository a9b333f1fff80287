"""What goes round a ring: the noisy states of composite diffusion, or a chain's mean, which may go on over time.

Each is begun, handed on, and told of by an agent; how that makes its hops is given, by JAX or without. NumPy alone.

Noise comes from a generator that is frozen: members may run different versions of NumPy.
"""

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from composite_flow.errors import InputError
from composite_flow.runtime.ring import Baton, Hop

_NOT_ROUND = "The message did not come round by the deadline."
_NOBODY = "Nobody has observed anything at this step: nothing can be inferred."


class NoisyStates:
    """Composite diffusion (Definition 6): N(0, 1) at first, the same for all members, and several sweeps."""

    def __init__(self, shape: tuple[int, int], num_sweeps: int, seed: int, hop: Hop, report: Callable[..., Any]):
        """What goes round.

        Args:
            shape: samples, and features of the state.
            num_sweeps: passes through the agents.
            seed: of the noise.
            hop: of an agent.
            report: what an agent tells of where the samples ended.
        """
        self.shape, self.num_sweeps, self._seed, self.hop, self._report = shape, num_sweeps, seed, hop, report

    def start(self, agent: Any) -> np.ndarray:
        """The step's noise."""
        return draw_start(self._seed, agent.step, self.shape)

    def ended(self, agent: Any, step: int, end: Baton) -> bool:
        """Nothing goes on to the next step."""
        return False

    def report(self, agent: Any, end: Baton | None) -> dict[str, Any]:
        """The state at which most samples ended."""
        return self._report(agent, _ends(end))


class OneMean:
    """The gated chain: the prior's mean at first, and one sweep, which changes it."""

    num_sweeps = 1

    def __init__(self, start: np.ndarray, hop: Hop, report: Callable[..., Any]):
        """What goes round.

        Args:
            start: (state,), the prior's mean, scaled.
            hop: of an agent.
            report: what an agent tells of a scaled mean.
        """
        self.shape, self._start, self.hop, self._report = (1, len(start)), start[None], hop, report

    def start(self, agent: Any) -> np.ndarray:
        """The prior's mean."""
        return self._start

    def ended(self, agent: Any, step: int, end: Baton) -> bool:
        """Nothing goes on to the next step."""
        return False

    def report(self, agent: Any, end: Baton | None) -> dict[str, Any]:
        """The mean."""
        return self._report(agent, _ends(end)[0])


class CarriedMean:
    """A chain over time: the team's last mean at first, as the agent heard it (`chained`), and one sweep a step."""

    num_sweeps = 1

    def __init__(self, size: int, hop: Hop, report: Callable[[Any], dict[str, Any]]):
        """What goes round.

        Args:
            size: features of the state.
            hop: of an agent.
            report: what an agent tells of what it carries.
        """
        self.shape, self.hop, self._report = (1, size), hop, report

    def start(self, agent: Any) -> np.ndarray | None:
        """What the agent heard last; None where it does not know how the episode began."""
        known = agent.carried.known
        return None if known is None else known[None]

    def ended(self, agent: Any, step: int, end: Baton) -> bool:
        """The next step begins there."""
        return agent.carried.take(step, end.y[0], end.whose)

    def report(self, agent: Any, end: Baton | None) -> dict[str, Any]:
        """What the agent carries, by nobody where the end was not heard."""
        return self._report(agent)


def _ends(end: Baton | None) -> np.ndarray:
    """Where a message ended that somebody has changed."""
    if end is None:
        raise InputError(_NOT_ROUND)
    if not end.made:
        raise InputError(_NOBODY)
    return end.y


def draw_start(seed: int, step: int, shape: tuple[int, int]) -> np.ndarray:
    """The noisy states of a step before the first hop, N(0, 1)."""
    entropy = int(random.Random(f"start {seed} {step}").random() * 2**32)
    return np.random.RandomState(entropy).standard_normal(shape).astype(np.float32)  # frozen, unlike `Generator`
