"""Worlds of other libraries, in which each agent goes by a name and all act at once, as problems on the host.

The interface is that of PettingZoo's parallel environments: `possible_agents`, `agents`, `reset(seed=...)` and `step`
with dictionaries by agent, `observation_space(agent)`, `action_space(agent)`.

    observations   flattened; agents that observe less than others have zeros behind, and those who are gone everywhere
    actions        the first ones of `num_actions`, or as the world's own `action_mask` says; who is gone has action 0
    reward         the sum over the agents
    end            of an episode: when all agents are done
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from composite_flow.errors import InputError
from composite_flow.problems.host import HostProblem
from composite_flow.problems.picture import as_picture

StateReader = Callable[[Any], Any]
"""Reads the state off a world: an array, or a dictionary of arrays by name."""

LIMITS = ("max_cycles", "max_steps", "_max_episode_steps", "num_steps")  # what libraries call it


class ParallelWorld(HostProblem):
    """A world in which all agents act at once.

    Attributes:
        world: of the other library.
        agent_names: in the order of the leading axis.
    """

    def __init__(
        self,
        world: Any,
        read: StateReader | None,
        *,
        num_steps: int | None,
        description: dict[str, Any],
        draw: Callable[[Any], Any] | None = None,
    ):
        """Look at the spaces, and at the first state.

        Args:
            world: as the module's head says.
            read: reads the state off it; the world's own `state()` where None.
            num_steps: most steps of an episode; the world's own where None.
            description: what episodes keep of it.
            draw: draws it in red, green and blue; its own `render()` where None.

        Raises:
            InputError: it has no state, no such spaces, or does not say how long an episode is.
        """
        self.world, self._read = world, _own_state if read is None else read
        self._draw = _rendered if draw is None else draw
        self.agent_names = tuple(str(agent) for agent in world.possible_agents)
        self._agents = list(world.possible_agents)
        self.num_agents = len(self._agents)
        if not self.num_agents:
            raise InputError("This world has no agents.")
        spaces = [world.action_space(agent) for agent in self._agents]
        self._choices = np.array([_choices(agent, space) for agent, space in zip(self._agents, spaces, strict=True)])
        self._firsts = [int(getattr(space, "start", 0)) for space in spaces]
        self._views = [_viewed(world.observation_space(agent)) for agent in self._agents]
        self._sizes = [_size(agent, view) for agent, view in zip(self._agents, self._views, strict=True)]
        self.num_actions, self.observation_size = int(self._choices.max()), max(self._sizes)
        self.num_steps = _limit(world) if num_steps is None else int(num_steps)
        if self.num_steps < 1:
            raise InputError(f"An episode needs at least one step, not {num_steps}.")
        self._begin(0)
        if read is None:
            self._refuse_observations_as_state()
        values, self._names = _named(self._read(world))
        self.state_size = len(values)
        self._description = description

    @property
    def state_names(self) -> tuple[str, ...]:
        return self._names

    @property
    def description(self) -> dict[str, Any]:
        return {**self._description, "agents": list(self.agent_names), "num_steps": self.num_steps}

    def reset(self, key: PRNGKeyArray) -> None:
        """Start anew with a seed that is drawn from the key; all that the world draws comes from it."""
        self._begin(int(jax.random.randint(key, (), 0, np.iinfo(np.int32).max)))

    def step(self, key, actions):
        """The world's step, with the sum of the rewards; it is over when no agent is left."""
        there = [agent for agent in self._agents if agent in self.world.agents]
        chosen = {
            agent: int(action) + first
            for agent, action, first in zip(self._agents, actions, self._firsts, strict=True)
            if agent in there
        }
        seen, rewards, terminated, truncated, infos = self.world.step(chosen)
        self._seen, self._infos = seen, infos
        is_done = all(terminated.get(agent, True) or truncated.get(agent, True) for agent in self._agents)
        return float(sum(float(reward) for reward in rewards.values())), is_done or not self.world.agents

    def observe(self, key):
        """What each agent sees, flat."""
        return self._flat()

    def state(self):
        """As it is read off the world."""
        values, _ = _named(self._read(self.world))
        if len(values) != self.state_size:
            raise InputError(
                f"The state of this world had {self.state_size} features and now has {len(values)}; give a function "
                "that returns as many in every step."
            )
        return values

    def available(self):
        """The actions that each agent has, by its mask where the world gives one."""
        rows = np.arange(self.num_actions)[None] < self._choices[:, None]
        for place, agent in enumerate(self._agents):
            mask = self._mask(agent)
            if agent not in self.world.agents:
                rows[place] = np.arange(self.num_actions) == 0
            elif mask is not None:
                rows[place, : len(mask)] = mask.astype(bool)
        return rows

    def picture(self):
        """By the library, where it can draw here: some need a screen."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of fonts that are missing
                return as_picture(self._draw(self.world))
        except Exception:  # whatever another library raises
            self._draw = _nothing
            return None

    def close(self):
        self.world.close()

    def _begin(self, seed: int) -> None:
        self._seen, self._infos = self.world.reset(seed=seed)

    def _mask(self, agent: Any) -> np.ndarray | None:
        """The world's own mask of actions, where it has one."""
        for place in (self._seen.get(agent), self._infos.get(agent)):
            if isinstance(place, Mapping) and "action_mask" in place:
                return np.asarray(place["action_mask"])
        return None

    def _flat(self) -> Float[np.ndarray, "agents observation"]:
        """Observations side by side, zeros where there are none."""
        rows = np.zeros((self.num_agents, self.observation_size), np.float32)
        for place, agent in enumerate(self._agents):
            seen = self._seen.get(agent)
            if seen is None:
                continue
            values = _flattened(self._views[place], seen)
            if len(values) != self._sizes[place]:
                raise InputError(
                    f"Agent {agent} observes {len(values)} features, and {self._sizes[place]} by its space: agents "
                    "must not change their sizes; pad what they see."
                )
            rows[place, : len(values)] = values
        return rows

    def _refuse_observations_as_state(self) -> None:
        """Refuse a `state()` that only repeats what agents see."""
        own = np.ravel(_own_state(self.world))
        seen = [np.ravel(self._seen[a]) for a in self._agents if not isinstance(self._seen.get(a), Mapping | None)]
        side_by_side = np.concatenate(seen) if seen else np.zeros(0)
        if own.shape == side_by_side.shape and np.array_equal(own, side_by_side.astype(own.dtype)):
            raise InputError(
                "The state() of this world is only all observations side by side, not the state of the world: give "
                "state=, a function that reads it off the environment."
            )


def _rendered(world: Any) -> Any:
    """What the world's `render()` draws, where it was made to give an array."""
    inner = world.unwrapped
    return inner.render() if getattr(inner, "render_mode", None) == "rgb_array" else None


def _nothing(world: Any) -> None:
    """Draws nothing, of a world that could not be drawn."""


def _own_state(world: Any) -> Any:
    """The world's own `state()`."""
    try:
        return np.asarray(world.state(), np.float32)
    except (NotImplementedError, AttributeError, TypeError) as error:
        raise InputError(
            "This world has no state(): give state=, a function that reads the state off the environment."
        ) from error


def _named(state: Any) -> tuple[Float[np.ndarray, " state"], tuple[str, ...]]:
    """A state as a flat array, with a name for each feature."""
    parts = state if isinstance(state, Mapping) else {"state": state}
    values, names = [], []
    for name, part in parts.items():
        array = np.asarray(part, np.float32)
        values.append(array.ravel())
        places = np.ndindex(array.shape) if array.ndim else [()]
        names += [" ".join([str(name), *map(str, place)]) for place in places]
    flat = np.concatenate(values) if values else np.zeros(0, np.float32)
    if not len(flat) or not np.isfinite(flat).all():
        raise InputError("The state of this world has no features, or some that are not finite.")
    return flat, tuple(names)


def _choices(agent: Any, space: Any) -> int:
    """How many actions an agent has."""
    count = getattr(space, "n", None)
    if not isinstance(count, int | np.integer):
        raise InputError(f"Agent {agent} acts by {space}; only one choice among some (Discrete) can be recorded.")
    return int(count)


def _viewed(space: Any) -> Any:
    """The space of what an agent sees, without its mask of actions."""
    inner = getattr(space, "spaces", None)
    return inner["observation"] if isinstance(inner, Mapping) and "observation" in inner else space


def _size(agent: Any, space: Any) -> int:
    from gymnasium.spaces import flatdim  # comes with every world that is read here

    try:
        size = int(flatdim(space))
    except (NotImplementedError, ValueError) as error:
        raise InputError(f"What agent {agent} sees, {space}, cannot be laid out flat.") from error
    if size < 1:
        raise InputError(f"Agent {agent} observes nothing.")
    return size


def _flattened(space: Any, seen: Any) -> Float[np.ndarray, " features"]:
    from gymnasium.spaces import Box, flatten

    seen = seen["observation"] if isinstance(seen, Mapping) and "observation" in seen else seen
    values = np.ravel(seen) if isinstance(space, Box) else flatten(space, seen)
    return np.asarray(values, np.float32)


def _limit(world: Any) -> int:
    """The most steps of an episode, by any of the names that libraries use."""
    for holder in (world, getattr(world, "unwrapped", None), getattr(getattr(world, "unwrapped", None), "env", None)):
        for name in LIMITS:
            found = getattr(holder, name, None)
            if isinstance(found, int | np.integer) and found > 0:
                return int(found)
    raise InputError("This world does not say how long an episode is; give num_steps.")
