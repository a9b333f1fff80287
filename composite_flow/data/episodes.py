"""Episodes: what a team saw and did, and the state of the world at each step.

All arrays are flat over steps, whole episodes one after the other; `ends` marks the last step of each. Step t
holds the state s_t, what each agent observed of it, what it then did and the reward of that. The action of an
episode's last step leads nowhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from composite_flow.data.scaling import Scaling
from composite_flow.errors import InputError

ARRAYS = ("observations", "actions", "states", "rewards", "ends", "availability")


@dataclass(frozen=True, eq=False)
class Episodes:
    """Logged episodes of one team, on the host.

    Attributes:
        observations: what each agent saw.
        actions: what each agent then did.
        states: the global state, in its own units.
        rewards: the team's reward for the actions.
        ends: True on the last step of each episode.
        availability: which actions each agent could take.
        state_names: a name for each feature of the state.
        scaling: maps states to [0, 1].
        description: the problem that they come from, as `problem_from_description` reads it; may be empty.
    """

    observations: Float[np.ndarray, "steps agents observation"]
    actions: Int[np.ndarray, "steps agents"]
    states: Float[np.ndarray, "steps state"]
    rewards: Float[np.ndarray, " steps"]
    ends: Bool[np.ndarray, " steps"]
    availability: Bool[np.ndarray, "steps agents actions"]
    state_names: tuple[str, ...]
    scaling: Scaling
    description: dict[str, Any]

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
        """Memory that the arrays take when they are read whole."""
        return sum(getattr(self, name).nbytes for name in ARRAYS)

    def select(self, episodes: Int[np.ndarray, " chosen"]) -> "Episodes":
        """Some of the episodes, in the order given, in memory."""
        rows = np.concatenate([np.arange(self.starts[episode], self.stops[episode]) for episode in episodes])
        return replace(self, **{name: getattr(self, name)[rows] for name in ARRAYS})

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
        """Episodes from one's own logs: anything that NumPy reads, flat over steps.

        Args:
            observations: (steps, agents, observation).
            actions: (steps, agents), whole numbers from 0.
            states: (steps, state), in their own units.
            ends: (steps,), True on each episode's last step.
            rewards: (steps,); 0 where not given.
            availability: (steps, agents, actions); every action where not given.
            num_actions: how many actions there are; as many as `availability` has or `actions` uses where not given.
            state_names: one for each feature of the state; "state 0", "state 1", … where not given.
            scaling: of the states to [0, 1]; min–max of these states where not given, except that states
                of zeros and ones stay as they are.
            description: of the problem; JSON-able.

        Returns:
            The episodes, in float32 and int32.

        Raises:
            InputError: the arrays do not fit together or hold something that cannot be used.
        """
        arrays = {
            "observations": _floats("observations", observations, 3),
            "actions": _actions(actions),
            "states": _floats("states", states, 2),
            "ends": _booleans("ends", ends, 1),
        }
        num_steps, num_agents = arrays["observations"].shape[:2]
        arrays["rewards"] = _floats("rewards", np.zeros(num_steps) if rewards is None else rewards, 1)
        _check_lengths(arrays, num_agents)
        if availability is None:
            count = int(arrays["actions"].max()) + 1 if num_actions is None else num_actions
            availability = np.ones((num_steps, num_agents, count), bool)
        arrays["availability"] = _booleans("availability", availability, 3)
        _check_availability(arrays["availability"], arrays["actions"], num_actions)
        state_size = arrays["states"].shape[1]
        names = tuple(f"state {i}" for i in range(state_size)) if state_names is None else tuple(state_names)
        scaling = Scaling.from_states(arrays["states"]) if scaling is None else scaling
        if len(names) != state_size or scaling.minimum.shape[0] != state_size:
            raise InputError(
                f"state_names and scaling must have one entry for each of the {state_size} state features."
            )
        return cls(**arrays, state_names=names, scaling=scaling, description=dict(description or {}))


def _array(name: str, values: Any, num_axes: int) -> np.ndarray:
    """As a NumPy array with this number of axes."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name} must be one array, but its rows differ in length.") from error
    if array.ndim != num_axes:
        raise InputError(f"{name} must have {num_axes} axes, not {array.ndim}.")
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} must hold numbers, not {array.dtype}.")
    return array


def _floats(name: str, values: Any, num_axes: int) -> np.ndarray:
    """As finite float32."""
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(_array(name, values, num_axes), dtype=np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{name} hold values that are NaN or infinite in float32.")
    return array


def _booleans(name: str, values: Any, num_axes: int) -> np.ndarray:
    """As bool, from bools or from zeros and ones."""
    array = _array(name, values, num_axes)
    if not np.isin(array, (0, 1)).all():
        raise InputError(f"{name} must hold booleans, or zeros and ones.")
    return np.ascontiguousarray(array, dtype=bool)


def _actions(values: Any) -> np.ndarray:
    """As int32, from 0."""
    array = _array("actions", values, 2)
    if array.dtype.kind not in "iu" or np.any(array < 0) or np.any(array > np.iinfo(np.int32).max):
        raise InputError("actions must be whole numbers from 0, of an integer type.")
    return np.ascontiguousarray(array, dtype=np.int32)


def _check_lengths(arrays: dict[str, np.ndarray], num_agents: int) -> None:
    """All arrays speak of the same steps and agents, and the last step ends an episode."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"All arrays must have the same number of steps, but they have: {listed}.")
    if not lengths["ends"]:
        raise InputError("There must be at least one step.")
    if arrays["actions"].shape[1] != num_agents or num_agents == 0:
        raise InputError(
            f"observations are of {num_agents} agents and actions of {arrays['actions'].shape[1]}; "
            "they must be of the same agents, at least one."
        )
    if arrays["states"].shape[1] == 0 or arrays["observations"].shape[2] == 0:
        raise InputError("States and observations must have at least one feature.")
    if not arrays["ends"][-1]:
        raise InputError("The last step must end an episode: set ends[-1] to True or drop the unfinished episode.")


def _check_availability(availability: np.ndarray, actions: np.ndarray, num_actions: int | None) -> None:
    """It has the shape of the actions, each of which it knows."""
    if availability.shape[:2] != actions.shape or (num_actions is not None and availability.shape[2] != num_actions):
        raise InputError(
            f"availability must have the shape (steps, agents, actions) = "
            f"{(*actions.shape, num_actions if num_actions is not None else 'actions')}, not {availability.shape}."
        )
    if actions.max() >= availability.shape[2]:
        raise InputError(f"actions hold {actions.max()}, but there are only {availability.shape[2]} actions, from 0.")


def concatenate(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Flat arrays of several runs of whole episodes, one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in ARRAYS}


assert set(ARRAYS) <= {field.name for field in fields(Episodes)}
