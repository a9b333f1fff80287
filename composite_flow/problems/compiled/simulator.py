"""What a library's environment must give to become a problem."""

from abc import ABC, abstractmethod
from typing import Any

import equinox as eqx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.problems.compiled.features import Parts
from composite_flow.problems.picture import Picture


class Moment(eqx.Module):
    """The world at one step.

    Attributes:
        state: the simulator's own.
        views: what agents see, side by side where it has several parts, zeros behind where others see more.
        available: which actions they may take.
    """

    state: Any
    views: Float[Array, "agents observation"]
    available: Bool[Array, "agents actions"]


class Simulator(ABC):
    """One environment of a library.

    Attributes:
        num_steps: most steps of an episode.
    """

    num_steps: int

    @abstractmethod
    def reset(self, key: PRNGKeyArray) -> Moment:
        """The start of an episode."""

    @abstractmethod
    def step(
        self, key: PRNGKeyArray, state: Any, actions: Int[Array, " agents"]
    ) -> tuple[Moment, Float[Array, ""], Bool[Array, ""]]:
        """The next moment, the team's reward, and whether the episode is over."""

    @abstractmethod
    def features(self, state: Any) -> Parts:
        """The state by its parts."""

    def picture(self, state: Any) -> Picture | None:
        """A state as the library draws it; None where it does not."""
        return None
