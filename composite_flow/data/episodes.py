"""Episodes: what a team saw and did, and the state of the world at each step.

All arrays are flat over steps: whole episodes stand one after the other, and `ends` marks the last step of each. Step
t holds the state s_t, what each agent observed of it, the action that each agent took then, and the reward for these
actions. The actions of an episode's last step have no consequence.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from composite_flow.data.arrays import as_actions, as_booleans, as_floats, check_availability, check_lengths
from composite_flow.data.folder import FolderWriter, read_headers
from composite_flow.data.scaling import Scaling
from composite_flow.data.shards import SHARD_BYTES, ShardedArray, ShardHeader
from composite_flow.errors import FileError, InputError

ARRAYS = ("observations", "actions", "states", "rewards", "ends", "availability")
IN_MEMORY_BYTES = 2 * 2**30
"""Larger episodes are not loaded but read from their shards when they are needed."""


@dataclass(frozen=True, eq=False)
class Episodes:
    """Logged episodes of one team, on the host: in memory, or read from their shards when needed.

    Attributes:
        observations: what each agent saw.
        actions: the action that each agent took then.
        states: the global state, in its own units.
        rewards: the team's reward for the actions.
        ends: True on the last step of each episode.
        availability: which actions each agent could take.
        state_names: a name for each feature of the state.
        scaling: maps states to [0, 1].
        description: the problem that the episodes come from, as `problem_from_description` reads it; may be empty.
        policy: how the team acted, as `Policy.description` gives it; empty where that is not known.
    """

    observations: Float[np.ndarray, "steps agents observation"] | ShardedArray
    actions: Int[np.ndarray, "steps agents"] | ShardedArray
    states: Float[np.ndarray, "steps state"] | ShardedArray
    rewards: Float[np.ndarray, " steps"] | ShardedArray
    ends: Bool[np.ndarray, " steps"]
    availability: Bool[np.ndarray, "steps agents actions"] | ShardedArray
    state_names: tuple[str, ...]
    scaling: Scaling
    description: dict[str, Any]
    policy: dict[str, Any] = field(default_factory=dict)

    @property
    def num_steps(self) -> int:
        """Number of steps of all episodes."""
        return self.ends.shape[0]

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""
        return len(self.stops)

    @property
    def num_agents(self) -> int:
        """Number of agents."""
        return self.observations.shape[1]

    @property
    def num_actions(self) -> int:
        """Number of actions that each agent chooses from."""
        return self.availability.shape[2]

    @property
    def observation_size(self) -> int:
        """Number of features that an agent observes."""
        return self.observations.shape[2]

    @property
    def state_size(self) -> int:
        """Number of features of the state."""
        return self.states.shape[1]

    @cached_property
    def stops(self) -> Int[np.ndarray, " episodes"]:
        """One past each episode's last step."""
        return np.flatnonzero(self.ends) + 1

    @cached_property
    def starts(self) -> Int[np.ndarray, " episodes"]:
        """Each episode's first step."""
        return np.concatenate([[0], self.stops[:-1]]).astype(self.stops.dtype)

    @cached_property
    def episode_of_step(self) -> Int[np.ndarray, " steps"]:
        """The episode that each step belongs to."""
        return np.repeat(np.arange(self.num_episodes), self.stops - self.starts)

    @property
    def num_bytes(self) -> int:
        """Memory of all arrays when they are loaded."""
        return sum(getattr(self, name).nbytes for name in ARRAYS)

    @property
    def in_memory(self) -> bool:
        """Whether the arrays are in memory; otherwise they are read from their shards when they are needed."""
        return not isinstance(self.observations, ShardedArray)

    def save(self, folder: str | Path, overwrite: bool = False, shard_bytes: int = SHARD_BYTES) -> None:
        """Write a folder of HDF5 shards of whole episodes.

        Args:
            folder: a folder that is new or empty, or that holds episodes that may be overwritten.
            overwrite: replace the episodes there, once the new ones are complete.
            shard_bytes: size of a shard before compression.

        Raises:
            FileError: the folder is in the way, or cannot be written.
            InputError: the description cannot be written as JSON.
        """
        cuts = self._cuts(shard_bytes)
        writer = FolderWriter(Path(folder), uuid.uuid4().hex, ARRAYS, overwrite)
        description = shard_description(self.state_names, self.scaling, self.description, self.policy)
        try:
            for number, (first, stop) in enumerate(pairwise(cuts)):
                arrays = {name: getattr(self, name)[first:stop] for name in ARRAYS}
                writer.write(number, len(cuts) - 1, arrays, description)
            writer.finish()
        except BaseException:
            writer.abandon()
            raise

    def _cuts(self, shard_bytes: int) -> list[int]:
        """The steps at which a shard starts, and the number of all steps."""
        most, cuts = shard_bytes // (self.num_bytes // self.num_steps), [0]
        for start, stop in zip(self.starts.tolist(), self.stops.tolist(), strict=True):
            if stop - cuts[-1] > most and start > cuts[-1]:
                cuts.append(start)
        return [*cuts, self.num_steps]

    @classmethod
    def load(cls, folder: str | Path, in_memory: bool | None = None) -> "Episodes":
        """Open a folder of shards.

        Args:
            folder: a folder that `save` or `collect_to` wrote.
            in_memory: load everything now; by default only if it takes no more than 2 GiB.

        Raises:
            FileError: a shard is missing, damaged, foreign, or belongs to another collection.
        """
        headers = read_headers(Path(folder), ARRAYS)
        arrays = {name: ShardedArray(name, headers) for name in ARRAYS}
        if in_memory is None:
            in_memory = sum(array.nbytes for array in arrays.values()) <= IN_MEMORY_BYTES
        ends = arrays.pop("ends")
        if not ends[ends.stops - 1].all():
            raise FileError(f"{folder} is damaged: a shard does not stop with the end of an episode.")
        loaded = {name: array[:] if in_memory else array for name, array in arrays.items()}
        names, scaling, problem, policy = read_description(headers)
        return cls(**loaded, ends=ends[:], state_names=names, scaling=scaling, description=problem, policy=dict(policy))

    @classmethod
    def from_arrays(
        cls,
        *,
        observations: Any,
        actions: Any,
        states: Any,
        ends: Any,
        rewards: Any = None,
        availability: Any = None,
        num_actions: int | None = None,
        state_names: Sequence[str] | None = None,
        scaling: Scaling | None = None,
        description: dict[str, Any] | None = None,
    ) -> "Episodes":
        """Episodes from the user's own logs: anything that NumPy can read, flat over steps.

        Args:
            observations: (steps, agents, observation).
            actions: (steps, agents), whole numbers from 0.
            states: (steps, state), in their own units.
            ends: (steps,), True on each episode's last step.
            rewards: (steps,); 0 by default.
            availability: (steps, agents, actions); by default every action is available.
            num_actions: number of actions; by default as many as `availability` has or `actions` uses.
            state_names: a name for each feature of the state; by default "state 0", "state 1", …
            scaling: the scaling of the states to [0, 1]; by default from the minimum and maximum of these states,
                except that states of zeros and ones stay as they are.
            description: a description of the problem that can be written as JSON.

        Returns:
            The episodes, in float32 and int32.

        Raises:
            InputError: the arrays do not fit together or hold something that cannot be used.
        """
        arrays = {
            "observations": as_floats("observations", observations, 3),
            "actions": as_actions(actions),
            "states": as_floats("states", states, 2),
            "ends": as_booleans("ends", ends, 1),
        }
        num_steps, num_agents = arrays["observations"].shape[:2]
        arrays["rewards"] = as_floats("rewards", np.zeros(num_steps) if rewards is None else rewards, 1)
        check_lengths(arrays, num_agents)
        if availability is None:
            count = int(arrays["actions"].max()) + 1 if num_actions is None else num_actions
            availability = np.ones((num_steps, num_agents, count), bool)
        arrays["availability"] = as_booleans("availability", availability, 3)
        check_availability(arrays["availability"], arrays["actions"], num_actions)
        state_size = arrays["states"].shape[1]
        names = default_state_names(state_size) if state_names is None else tuple(state_names)
        scaling = Scaling.from_states(arrays["states"]) if scaling is None else scaling
        if len(names) != state_size or scaling.minimum.shape[0] != state_size:
            raise InputError(
                f"state_names and scaling must have one entry for each of the {state_size} state features."
            )
        described = dict(description or {})
        return cls(**arrays, state_names=names, scaling=scaling, description=described, policy={})


def shard_description(
    names: tuple[str, ...],
    scaling: Scaling,
    problem: dict[str, Any],
    policy: dict[str, Any],
    measured: bool = False,
) -> dict[str, Any]:
    """The description that a shard holds beside its arrays.

    Args:
        names: a name for each feature of the state.
        scaling: the scaling of the states, or the range of the shard's own states.
        problem: the problem's description.
        policy: the policy's description.
        measured: whether `scaling` is the range of the shard's own states; then all shards together give the scaling.
    """
    minimum, maximum = np.asarray(scaling.minimum).tolist(), np.asarray(scaling.maximum).tolist()
    return {
        "state_names": list(names),
        "scaling": {"minimum": minimum, "maximum": maximum, "measured": measured},
        "problem": problem,
        "policy": policy,
    }


def read_description(headers: Sequence[ShardHeader]) -> tuple[tuple[str, ...], Scaling, dict[str, Any], dict[str, Any]]:
    """The names, scaling, problem and policy of a folder of shards; ranges measured for each shard are merged."""
    try:
        scalings = [header.description["scaling"] for header in headers]
        minimum = np.asarray([scaling["minimum"] for scaling in scalings], np.float32).min(axis=0)
        maximum = np.asarray([scaling["maximum"] for scaling in scalings], np.float32).max(axis=0)
        measured = all(scaling["measured"] for scaling in scalings)
        names, problem = headers[0].description["state_names"], headers[0].description["problem"]
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{headers[0].path.parent} is damaged: its description lacks a part ({error}).") from error
    if len(names) != len(minimum) or headers[0].shapes["states"][1] != len(names):
        raise FileError(f"{headers[0].path} is damaged: it does not name and scale each feature of the state.")
    scaling = Scaling.from_range(minimum, maximum) if measured else Scaling(jnp.asarray(minimum), jnp.asarray(maximum))
    policy = headers[0].description.get("policy", {})  # earlier versions did not write it
    return tuple(names), scaling, problem, policy


def default_state_names(state_size: int) -> tuple[str, ...]:
    """The names of the state's features where none were given: "state 0", "state 1", …"""
    return tuple(f"state {index}" for index in range(state_size))
