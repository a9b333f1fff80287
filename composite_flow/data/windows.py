"""Windows of length H over the flat arrays of episodes, gathered when they are needed."""

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.data.episodes import Episodes
from composite_flow.data.exact_states import ExactStates
from composite_flow.data.scaling import Scaling
from composite_flow.data.shards import ShardedArray
from composite_flow.data.states import are_among
from composite_flow.errors import InputError
from composite_flow.history import History, HistoryLayout

BLOCK_STEPS = 2**18
"""Number of steps whose states are read at once."""


class JointBatch(eqx.Module):
    """Every agent's history at the same steps, and the state there.

    Attributes:
        histories: the flat histories that networks read.
        structured: the same histories in the form that exact beliefs read; batch axes (steps, agents).
        states: the states, scaled to [0, 1].
    """

    histories: Float[Array, "steps agents history"]
    structured: History
    states: Float[Array, "steps state"]


class PairBatch(eqx.Module):
    """One agent's history at each of some steps, and the state there; attributes as in `JointBatch`."""

    histories: Float[Array, "pairs history"]
    structured: History
    states: Float[Array, "pairs state"]


class Windows(eqx.Module):
    """The arrays of episodes, on the device or in shards, and the windows that end at each of their steps.

    States are in their own units, which `device_scaling` maps to [0, 1]; where there are `exact` ones, they are scaled
    already.
    """

    observations: Float[Array, "steps agents observation"] | ShardedArray
    actions: Int[Array, "steps agents"] | Float[Array, "steps agents components"] | ShardedArray
    states: Float[Array, "steps state"] | ShardedArray
    alive: Bool[Array, "steps agents"] | ShardedArray | None
    starts: Int[Array, " steps"]
    episode_of_step: Int[Array, " steps"]
    device_scaling: Scaling
    exact: ExactStates | None
    layout: HistoryLayout = eqx.field(static=True)
    declared_types: tuple[str, ...] = eqx.field(static=True)
    state_names: tuple[str, ...] = eqx.field(static=True)
    units: tuple[tuple[str, str], ...] = eqx.field(static=True)

    def __init__(self, episodes: Episodes, length: int):
        sizes = length, episodes.observation_size, episodes.num_actions, episodes.num_agents
        self.layout, self.declared_types = HistoryLayout(*sizes, **episodes.columns.layout), episodes.columns.types
        self.state_names, self.units = episodes.state_names, tuple(episodes.columns.units.items())
        self.observations = _on_device(episodes.observations)
        self.actions = _on_device(episodes.actions)
        self.alive = None if episodes.alive is None else _on_device(episodes.alive)
        is_double = episodes.scaling.is_double or episodes.states.dtype == np.float64
        self.exact = ExactStates(episodes.states, episodes.scaling) if is_double else None
        self.device_scaling = episodes.scaling if self.exact is None else Scaling.identity(episodes.state_size)
        self.states = _on_device(episodes.states if self.exact is None else self.exact.scaled())
        self.starts = jnp.asarray(episodes.starts[episodes.episode_of_step], jnp.int32)
        self.episode_of_step = jnp.asarray(episodes.episode_of_step, jnp.int32)

    @property
    def scaling(self) -> Scaling:
        """Maps states from their own units to [0, 1]."""
        return self.device_scaling if self.exact is None else self.exact.scaling

    @property
    def num_steps(self) -> int:
        """Number of steps of all episodes."""
        return self.starts.shape[0]

    @property
    def num_agents(self) -> int:
        """Number of agents."""
        return self.layout.num_agents

    @property
    def state_size(self) -> int:
        """Number of features of the state."""
        return self.states.shape[1]

    @property
    def in_memory(self) -> bool:
        """Whether the arrays are on the device."""
        return not isinstance(self.observations, ShardedArray)

    @property
    def device_arrays(self) -> tuple[Array, Array, Array]:
        """Observations, actions and states; they must be on the device."""
        arrays = self.observations, self.actions, self.states
        on_device = tuple(array for array in arrays if not isinstance(array, ShardedArray))
        assert len(on_device) == 3, "callers fetch the rows first"
        return on_device

    @property
    def shard_stops(self) -> Int[np.ndarray, " shards"]:
        """One past each shard's last step; arrays in memory count as one shard."""
        return self.observations.stops if isinstance(self.observations, ShardedArray) else np.asarray([self.num_steps])

    @property
    def step_bytes(self) -> int:
        """Memory of one step."""
        arrays = self.observations, self.actions, self.states, self.alive
        return max(1, sum(array.nbytes for array in arrays if array is not None) // self.num_steps)

    def pairs(self, steps: Int[Array, " k"], agents: Int[Array, " k"]) -> PairBatch:
        """One agent's window at each of some steps; traceable where the arrays are on the device."""
        return _pairs(*self._fetched(steps), agents)

    def joint(self, steps: Int[Array, " k"]) -> JointBatch:
        """Every agent's window at each of some steps; traceable where the arrays are on the device."""
        return _joint(*self._fetched(steps))

    def drawn_agents(self, key: PRNGKeyArray, steps: Int[Array, " k"]) -> Int[Array, " k"]:
        """For each step one of the agents that are there, drawn uniformly; traceable."""
        if self.alive is None:
            return jax.random.randint(key, steps.shape, 0, self.num_agents)
        assert not isinstance(self.alive, ShardedArray), "callers fetch the rows first"
        lots = jax.random.uniform(key, (len(steps), self.num_agents))
        return jnp.argmax(jnp.where(self.alive[steps], lots, -1.0), axis=1).astype(jnp.int32)

    def rows(self, steps: Int[Array, " k"]) -> tuple[Int[Array, "k length"], Bool[Array, "k length"]]:
        """The rows t − H + 1, …, t of each step t, and which of them lie in its episode.

        In place of the others stands the episode's first row.
        """
        rows = steps[:, None] + jnp.arange(1 - self.layout.length, 1, dtype=jnp.int32)[None, :]
        starts = self.starts[steps][:, None]
        return jnp.maximum(rows, starts), rows >= starts

    def _fetched(self, steps: Int[Array, " k"]) -> tuple["Windows", Int[Array, " k"]]:
        """Windows on the device that hold these steps, and the numbers of the steps there.

        Where the arrays are in shards, only the rows that are needed are read.
        """
        if self.in_memory:
            return self, steps
        rows, mask = (np.asarray(array) for array in self.rows(steps))
        last = np.arange(len(rows)) * self.layout.length + self.layout.length - 1
        starts = np.repeat(last + 1 - mask.sum(axis=1), self.layout.length)
        return self._with_rows(rows.reshape(-1), starts), jnp.asarray(last, jnp.int32)

    def portion(
        self, key: PRNGKeyArray, episodes: Int[np.ndarray, " episodes"], num_bytes: int
    ) -> tuple["Windows", Int[np.ndarray, " rows"]]:
        """A random portion of these episodes in memory, and the steps that it holds.

        Args:
            key: draws the shards, and the episodes of the last shard.
            episodes: the numbers of the episodes to draw from.
            num_bytes: most memory of the portion's arrays. It fixes their size, to which they are padded.

        Raises:
            InputError: not one episode fits.
        """
        capacity = min(num_bytes // self.step_bytes, self.num_steps)
        drawn = self._draw_episodes(key, episodes, capacity)
        rows = np.flatnonzero(np.isin(np.asarray(self.episode_of_step), drawn))
        starts, padding = np.searchsorted(rows, np.asarray(self.starts)[rows]), (0, capacity - len(rows))
        return self._with_rows(np.pad(rows, padding, mode="edge"), np.pad(starts, padding, mode="edge")), rows

    def _draw_episodes(
        self, key: PRNGKeyArray, episodes: Int[np.ndarray, " episodes"], capacity: int
    ) -> Int[np.ndarray, " drawn"]:
        """Draw episodes shard by shard, in a random order, as long as all of them together fit into the capacity."""
        generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        shards = np.searchsorted(
            self.shard_stops, np.searchsorted(np.asarray(self.episode_of_step), episodes), side="right"
        )
        rank = generator.permutation(shards.max() + 1)[shards]
        order = np.lexsort((generator.random(len(episodes)), rank))
        sizes = np.bincount(np.asarray(self.episode_of_step))[episodes][order]
        fitting = int(np.searchsorted(np.cumsum(sizes), capacity, side="right"))
        if not fitting:
            raise InputError("Not one episode fits into these bytes; allow more.")
        return episodes[order[:fitting]]

    def _with_rows(self, rows: Int[np.ndarray, " rows"], starts: Int[np.ndarray, " rows"]) -> "Windows":
        """Windows over these rows of the arrays, on the device; `starts` are the first rows of their episodes."""
        arrays = [self.on_host(name)[rows] for name in ("observations", "actions")]
        states, alive = self._states_at(rows), None if self.alive is None else jnp.asarray(self.on_host("alive")[rows])
        episodes = np.asarray(self.episode_of_step)[rows]
        return eqx.tree_at(
            lambda w: (w.observations, w.actions, w.states, w.starts, w.episode_of_step, w.alive),
            self,
            (*map(jnp.asarray, (*arrays, states)), jnp.asarray(starts, jnp.int32), jnp.asarray(episodes), alive),
            is_leaf=lambda leaf: leaf is None,
        )

    def _states_at(self, rows: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "rows state"]:
        """The states of these rows; exact ones that lie in shards are scaled as they are read."""
        states = self.on_host("states")[rows]
        in_shards = isinstance(self.states, ShardedArray)
        return states if self.exact is None or not in_shards else self.exact.scale(states)

    def states_of(self, steps: Int[np.ndarray, " steps"]) -> Iterator[Float[np.ndarray, "block state"]]:
        """The states of these steps, one block at a time, so that memory is bounded."""
        for first in range(0, len(steps), BLOCK_STEPS):
            yield self._states_at(steps[first : first + BLOCK_STEPS])

    def own_states_of(self, steps: Int[np.ndarray, " steps"]) -> Iterator[Float[np.ndarray, "block state"]]:
        """The same in their own units, in float64 where they are."""
        states = self.states if self.exact is None else self.exact.values
        states = states if isinstance(states, ShardedArray) else np.asarray(states)
        for first in range(0, len(steps), BLOCK_STEPS):
            yield states[steps[first : first + BLOCK_STEPS]]

    def scaled_states(self, states: Float[Array, "*batch state"]) -> Float[Array, "*batch state"]:
        """Some of the states, scaled to [0, 1]."""
        return self.device_scaling.scale(states)

    def with_scaling(self, scaling: Scaling) -> "Windows":
        """The same windows under another scaling."""
        if self.exact is None:
            return eqx.tree_at(lambda w: w.device_scaling, self, scaling)
        exact = ExactStates(self.exact.values, scaling)
        return eqx.tree_at(lambda w: (w.exact, w.states), self, (exact, _on_device(exact.scaled())))

    def there(self, steps: Int[np.ndarray, " steps"]) -> Bool[np.ndarray, " steps"]:
        """At which of these steps any agent is there."""
        alive = self.on_host("alive")
        if alive is None:
            return np.ones(len(steps), bool)
        parts = (steps[first : first + BLOCK_STEPS] for first in range(0, len(steps), BLOCK_STEPS))
        return np.concatenate([np.zeros(0, bool), *(alive[part].any(axis=1) for part in parts)])

    def on_host(self, name: str) -> Any:
        """One of the arrays, to be indexed on the host; None where there is none."""
        array = getattr(self, name)
        return array if isinstance(array, ShardedArray | None) else np.asarray(array)

    def are_in_states(
        self, steps: Int[np.ndarray, " steps"], states: Float[np.ndarray, "listed state"]
    ) -> Bool[np.ndarray, " steps"]:
        """At which of these steps the state is one of the listed states."""
        return np.concatenate([np.zeros(0, bool), *(are_among(block, states) for block in self.states_of(steps))])


@eqx.filter_jit
def _pairs(windows: Windows, steps: Int[Array, " k"], agents: Int[Array, " k"]) -> PairBatch:
    (observations, actions, states), (rows, mask) = windows.device_arrays, windows.rows(steps)
    columns = agents[:, None]
    if windows.alive is not None:
        mask = mask & jnp.asarray(windows.alive)[rows, columns]
    history = _zero_masked(History(observations[rows, columns], actions[rows[:, :-1], columns], mask, agents))
    return PairBatch(windows.layout.encode(history), history, windows.scaled_states(states[steps]))


@eqx.filter_jit
def _joint(windows: Windows, steps: Int[Array, " k"]) -> JointBatch:
    (observations, actions, states), (rows, mask) = windows.device_arrays, windows.rows(steps)
    observations, actions = jnp.moveaxis(observations[rows], 2, 1), jnp.moveaxis(actions[rows[:, :-1]], 2, 1)
    shape = observations.shape[:3]
    agents = jnp.broadcast_to(jnp.arange(shape[1], dtype=jnp.int32)[None, :], shape[:2])
    mask = jnp.broadcast_to(mask[:, None, :], shape)
    if windows.alive is not None:
        mask = mask & jnp.moveaxis(jnp.asarray(windows.alive)[rows], 2, 1)
    history = _zero_masked(History(observations, actions, mask, agents))
    return JointBatch(windows.layout.encode(history), history, windows.scaled_states(states[steps]))


def _on_device(array: np.ndarray | ShardedArray) -> Array | ShardedArray:
    """The array on the device, unless it is read from shards."""
    return array if isinstance(array, ShardedArray) else jnp.asarray(array)


def _zero_masked(history: History) -> History:
    """Put zeros where a history is masked, so that the structured and the flat form agree."""
    acted = history.mask[..., :-1]
    acted = acted if history.actions.ndim == acted.ndim else acted[..., None]
    return History(
        observations=jnp.where(history.mask[..., None], history.observations, 0.0),
        actions=jnp.where(acted, history.actions, jnp.zeros((), history.actions.dtype)),
        mask=history.mask,
        agent=history.agent,
    )
