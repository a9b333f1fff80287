"""Worlds outside of JAX: a game, a simulator, a robot. One runs at a time, and its methods change it.

They cannot be a `Problem`, whose pure functions run thousands of worlds in one program: beliefs, exact or sampled, and
training by MAPPO are out of reach. What they give is data: `collect` and `collect_to` take them as they take problems,
with any policy, and the episodes are of the same kind.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from composite_flow.problems.base import Problem
from composite_flow.problems.picture import Picture


class WorldLost(Exception):
    """The world broke down in the middle of an episode, which is to be played anew."""


class HostProblem(ABC):
    """A team in a world on the host: the contract of `Problem`, with the world inside.

    Attributes:
        num_agents: size of the team.
        num_actions: that each agent chooses from.
        observation_size: features that an agent observes.
        state_size: features of the state.
        num_steps: most steps of an episode.
    """

    num_agents: int
    num_actions: int
    observation_size: int
    state_size: int
    num_steps: int

    @abstractmethod
    def reset(self, key: PRNGKeyArray) -> None:
        """Start a new episode, whether or not the last one came to its end."""

    @abstractmethod
    def step(self, key: PRNGKeyArray, actions: Int[np.ndarray, " agents"]) -> tuple[float, bool]:
        """Advance by one step: the team's reward, and whether the episode is over.

        Raises:
            WorldLost: the world broke down.
        """

    @abstractmethod
    def observe(self, key: PRNGKeyArray) -> Float[np.ndarray, "agents observation"]:
        """What each agent sees; called once in each step."""

    @abstractmethod
    def state(self) -> Float[np.ndarray, " state"]:
        """The global state s as features, in the units that the problem names."""

    @abstractmethod
    def available(self) -> Bool[np.ndarray, "agents actions"]:
        """Which actions each agent may take."""

    @abstractmethod
    def close(self) -> None:
        """Stop what runs; a later `reset` may start it again."""

    @property
    @abstractmethod
    def state_names(self) -> tuple[str, ...]:
        """A name for each feature of the state."""

    @property
    @abstractmethod
    def description(self) -> dict[str, Any]:
        """What episodes keep of the world, with the versions that they depend on; JSON-able."""

    def painter(self, record: Any) -> Any:
        """Who draws an episode in `play`, as in `Problem`; None for the world's own picture, or rows of features."""
        return None

    def picture(self) -> Picture | None:
        """The world as its own library draws it now; None where it does not."""
        return None


AnyProblem = Problem | HostProblem
"""What a team can act in."""


@contextmanager
def closing(problem: AnyProblem) -> Iterator[None]:
    """Stop a world on the host at the end, however it comes."""
    try:
        yield
    finally:
        if isinstance(problem, HostProblem):
            problem.close()
