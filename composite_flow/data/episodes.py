"""Episodes: what a team saw and did, and the state of the world at each step.

All arrays are flat over steps: whole episodes stand one after the other, and `ends` marks the last step of each. Step
t holds the state s_t, what each agent observed of it, the action that it took then, and the reward for these actions.
Those of an episode's last step have no consequence.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from jaxtyping import Bool, Float, Int

from composite_flow.data.bounds import Bounds
from composite_flow.data.columns import Columns
from composite_flow.data.description import read_description, shard_description
from composite_flow.data.dictionaries import arrays_of_dictionaries
from composite_flow.data.dictionary_parts import DictionaryParts
from composite_flow.data.folder import read_headers, write_folder
from composite_flow.data.in_parts import write_in_parts
from composite_flow.data.own_arrays import own_arrays
from composite_flow.data.progress import CountProgress
from composite_flow.data.scaling import ScaledBy, Scaling
from composite_flow.data.shards import OPTIONAL, SHARD_BYTES, ShardedArray
from composite_flow.data.table.meaning import Fill
from composite_flow.data.table.reader import LogOptions, table_reader
from composite_flow.errors import FileError

ARRAYS = ("observations", "actions", "states", "rewards", "ends", "availability")  # which all episodes have
IN_MEMORY_BYTES = 2 * 2**30
"""Larger episodes are not loaded but read from their shards when they are needed."""


@dataclass(frozen=True, eq=False)
class Episodes(Bounds):
    """Logged episodes of one team, on the host: in memory, or read from their shards when needed.

    Attributes:
        observations: what each agent saw.
        actions: the action that each agent took then: one choice, or the components of it.
        states: the global state, in its own units; 0 where it is not known.
        rewards: the team's reward for the actions, or each agent's.
        ends: True on the last step of each episode.
        availability: which actions each agent could take.
        state_names: a name for each feature of the state.
        scaling: maps states to [0, 1].
        description: the problem that the episodes come from, as `problem_from_description` reads it; may be empty.
        policy: how the team acted, as `Policy.description` gives it; empty where that is not known.
        alive: which agents are there; None where all always are.
        known: at which steps the state is known; None where it always is.
        truncations: which ends cut an episode off; None where that is not known.
        columns: names of agents, observations and actions, kinds of actions, types of features.
    """

    observations: Float[np.ndarray, "steps agents observation"] | ShardedArray
    actions: Int[np.ndarray, "steps agents"] | Float[np.ndarray, "steps agents components"] | ShardedArray
    states: Float[np.ndarray, "steps state"] | ShardedArray
    rewards: Float[np.ndarray, "steps *agents"] | ShardedArray
    ends: Bool[np.ndarray, " steps"]
    availability: Bool[np.ndarray, "steps agents actions"] | ShardedArray
    state_names: tuple[str, ...]
    scaling: Scaling
    description: dict[str, Any]
    policy: dict[str, Any] = field(default_factory=dict)
    alive: Bool[np.ndarray, "steps agents"] | ShardedArray | None = None
    known: Bool[np.ndarray, " steps"] | None = None
    truncations: Bool[np.ndarray, " steps"] | None = None
    columns: Columns = Columns()

    @property
    def num_agents(self) -> int:
        """Number of agents."""
        return self.observations.shape[1]

    @property
    def num_actions(self) -> int:
        """Number of actions that each agent chooses from, or of the columns of all components of an action."""
        choices = self.columns.choices
        return self.availability.shape[2] if choices is None else sum(max(1, options) for options in choices)

    @property
    def observation_size(self) -> int:
        """Number of features that an agent observes."""
        return self.observations.shape[2]

    @property
    def state_size(self) -> int:
        """Number of features of the state."""
        return self.states.shape[1]

    @property
    def num_bytes(self) -> int:
        """Memory of all arrays when they are loaded."""
        return sum(getattr(self, name).nbytes for name in self.arrays)

    @property
    def arrays(self) -> tuple[str, ...]:
        """The names of the arrays that there are."""
        return (*ARRAYS, *(name for name in OPTIONAL if getattr(self, name) is not None))

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
        described = self.state_names, self.scaling, self.description, self.policy
        description = shard_description(*described, columns=self.columns)
        arrays = {name: getattr(self, name) for name in self.arrays}
        write_folder(Path(folder), arrays, ARRAYS, description, overwrite, shard_bytes)

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
        arrays = {name: ShardedArray(name, headers) for name in headers[0].shapes}
        if in_memory is None:
            in_memory = sum(array.nbytes for array in arrays.values()) <= IN_MEMORY_BYTES
        ends = arrays.pop("ends")
        if not ends[ends.stops - 1].all():
            raise FileError(f"{folder} is damaged: a shard does not stop with the end of an episode.")
        at_once = arrays if in_memory else ("known", "truncations")
        loaded = {name: array[:] if name in at_once else array for name, array in arrays.items()}
        return cls(**loaded, ends=ends[:], **read_description(headers))

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
        scaling: Scaling | ScaledBy | None = None,
        description: dict[str, Any] | None = None,
        alive: Any = None,
        known: Any = None,
        truncations: Any = None,
        choices: Sequence[int] | None = None,
        observation_names: Sequence[str] | None = None,
        agent_names: Sequence[str] | None = None,
        observed: Any = None,
        types: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
    ) -> "Episodes":
        """Episodes from the user's own logs: anything that NumPy can read, flat over steps.

        Args:
            observations: (steps, agents, observation); further axes, as of images, are flattened in C order.
            actions: (steps, agents), whole numbers from 0, one choice each; or (steps, agents, components), whole
                numbers for choices, else numbers; or None.
            states: (steps, state), in their own units; NaN throughout where a state is missing. Further axes as above.
            ends: (steps,), True on each episode's last step.
            rewards: of the team (steps,), or of each agent (steps, agents); 0 by default.
            availability: (steps, agents, actions); by default every action is available.
            num_actions: number of actions; by default as many as `availability` has or `actions` uses.
            state_names: a name for each feature of the state; by default "state 0", "state 1", …
            scaling: the scaling of the states to [0, 1]; by default ("range") from their minimum and maximum, except
                that states of zeros and ones stay as they are; "quantiles" from the quantiles 0.005 and 0.995. A split
                measures it again, on its training part.
            description: a description of the problem that can be written as JSON.
            alive: (steps, agents), whether an agent is there. It may appear late and be gone early, but not return.
            known: (steps,), whether the state is known; one that is not can be inferred, but teaches nothing.
            truncations: (steps,), True where an episode was cut off at its end.
            choices: of each component of an action its options, 0 for a number.
            observation_names, agent_names: a name for each.
            observed: (agents, observation), which features each agent observes, where they differ; 0 elsewhere.
            types: by the name of a feature "number", "binary", "one of k", "angle" (in radians) or "angle in degrees";
                what is not said is found in the data. One of k becomes k features, and an angle its sine and cosine.
            units: by the name of a feature.

        Returns:
            The episodes, in float32 and int32; states in float64 where float32 would merge their values.

        Raises:
            InputError: the arrays do not fit together or hold something that cannot be used.
        """
        given = {"observations": observations, "actions": actions, "states": states, "ends": ends, "rewards": rewards}
        given |= {"availability": availability, "num_actions": num_actions, "choices": choices, "alive": alive}
        given |= {"known": known, "truncations": truncations, "observed": observed, "types": types, "units": units}
        given |= {"state_names": state_names, "observation_names": observation_names, "agent_names": agent_names}
        return cls(**own_arrays(**given, scaling=scaling), description=dict(description or {}), policy={})

    @classmethod
    def from_episodes(
        cls,
        episodes: Iterable[Mapping[str, Any]],
        *,
        folder: str | Path | None = None,
        overwrite: bool = False,
        **options: Unpack[LogOptions],
    ) -> "Episodes":
        """Episodes from dictionaries, one for each.

        Args:
            episodes: each has "observations" and "states", and may have "actions", "rewards", "alive" and "truncated".
                What agents see and do is by agent: a dictionary of arrays (steps, …), or one array (steps, agents, …).
                States, and what an agent sees, are an array, or a dictionary of columns by name. Agents may differ in
                what they see, appear in some episodes only, and be gone before the end.
            folder, overwrite: as in `from_table`; episodes are read more than once then, so that no generator will do.
            options: as in `from_arrays`.

        Raises:
            InputError: they do not fit together.
            FileError: the folder is in the way, or cannot be written.
        """
        if folder is None:
            return cls.from_arrays(**arrays_of_dictionaries(episodes), **options)
        write_in_parts(DictionaryParts(episodes), Path(folder), overwrite, ARRAYS, name="The log", **options)
        return cls.load(folder, in_memory=False)

    @classmethod
    def from_table(
        cls,
        table: Any,
        *,
        observation: Sequence[str] | Mapping[str, Sequence[str]],
        state: Sequence[str],
        action: Sequence[str] | Mapping[str, Sequence[str]] = (),
        episode: str | None = None,
        step: str | None = None,
        agent: str | None = None,
        reward: str | None = None,
        alive: str | None = None,
        truncated: str | None = None,
        fill: Fill = None,
        folder: str | Path | None = None,
        overwrite: bool = False,
        progress: CountProgress | None = None,
        **options: Unpack[LogOptions],
    ) -> "Episodes":
        """Episodes from a table: a row for each agent at each step, or for each step with the columns of all agents.

        The rows of an episode stand together, in any order. An agent is there from its first row in an episode to its
        last. Actions of whole numbers are choices, all others numbers.

        Args:
            table: a path that ends in .csv or .parquet, a frame (pandas, polars, pyarrow), or columns by name.
            observation: columns of what the row's agent sees; by agent, where a row has all. A column that is empty in
                all rows of an agent is one that it does not see.
            state: columns of the state, the same in all rows of a step; empty where it is not known.
            action: columns of actions, as the observations.
            episode, step, agent: columns that name them; steps are numbers or times. Without `step` the order of rows
                counts, and without `episode` all rows are one.
            reward, alive, truncated: columns of rewards, of whether the agent is alive, and of whether the episode was
                cut off at its end.
            fill: where a row or a value is missing within an episode, the agent's previous one in it ("previous") or a
                number; refused by default, and where there is none before. Steps that nobody has are left out then.
            folder: where shards are written and stay, so that memory need not hold the table; by default it does.
            overwrite: replace the episodes there.
            progress: called now and then with the rows that are read.
            options: types, units, scaling and description, as in `from_arrays`.

        Raises:
            InputError: pyarrow is not installed, or the table cannot be used; the sentence names row and column.
            FileError: a file cannot be read or written.
        """
        columns = {"episode": episode, "step": step, "agent": agent, "observation": observation, "action": action}
        columns |= {"state": state, "reward": reward, "alive": alive, "truncated": truncated, "fill": fill}
        reader = table_reader(table, columns, progress, **options)
        if folder is None:
            return cls(**reader.in_memory())
        reader.to_folder(Path(folder), overwrite, ARRAYS)
        return cls.load(folder, in_memory=False)
