"""Pairs (an agent's local history, the state): what denoisers learn from and are measured on.

A window of length H that ends at step t is gathered on the fly from the flat arrays of the episodes; it never
reaches into the episode before, its mask says which of its steps exist. Parts of a split share the arrays and
differ in the steps that they use.
"""

from collections.abc import Iterator, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.data import states as state_rows
from composite_flow.data.episodes import Episodes
from composite_flow.data.scaling import Scaling
from composite_flow.data.shards import ShardedArray
from composite_flow.errors import InputError
from composite_flow.history import History, HistoryLayout

BLOCK_STEPS = 2**18
"""Steps whose states are looked through at once."""


class JointBatch(eqx.Module):
    """Every agent's history at the same steps, and the state there.

    Attributes:
        histories: flat, as networks read them.
        structured: the same, as exact beliefs read them; batch axes (steps, agents).
        states: scaled to [0, 1].
    """

    histories: Float[Array, "steps agents history"]
    structured: History
    states: Float[Array, "steps state"]


class PairBatch(eqx.Module):
    """One agent's history at each of some steps, and the state there; as in `JointBatch`."""

    histories: Float[Array, "pairs history"]
    structured: History
    states: Float[Array, "pairs state"]


class HistoryDataset(eqx.Module):
    """Windows of length H over episodes; a pytree, so that it is an argument of compiled functions.

    Steps are rows of the flat arrays of the episodes; `steps` lists those that this part uses. Where the episodes are
    not in memory, `joint` and `pairs` read what they need and `resident` gives a random share that `sample` can draw from.

    Attributes:
        layout: sizes and columns of the histories.
        scaling: of the states to [0, 1].
        steps: the steps of this part.
        unseen_steps: those whose state was withheld from the other parts; None where nothing was.
        withheld_states: the states withheld, in their own units; None where nothing was.
    """

    observations: Float[Array, "all_steps agents observation"] | ShardedArray
    actions: Int[Array, "all_steps agents"] | ShardedArray
    states: Float[Array, "all_steps state"] | ShardedArray
    starts: Int[Array, " all_steps"]
    episode_of_step: Int[Array, " all_steps"]
    steps: Int[Array, " steps"]
    unseen_steps: Int[Array, " unseen"] | None
    withheld_states: Float[np.ndarray, "withheld state"] | None
    scaling: Scaling
    layout: HistoryLayout = eqx.field(static=True)

    def __init__(self, episodes: Episodes, length: int = 1):
        """All steps of all episodes.

        Args:
            episodes: the logs.
            length: H, how many steps a history reaches back, the present one included.
        """
        self.layout = HistoryLayout(length, episodes.observation_size, episodes.num_actions, episodes.num_agents)
        self.scaling = episodes.scaling
        self.observations = _on_device(episodes.observations)
        self.actions, self.states = _on_device(episodes.actions), _on_device(episodes.states)
        self.episode_of_step = jnp.asarray(episodes.episode_of_step, jnp.int32)
        self.starts = jnp.asarray(episodes.starts[episodes.episode_of_step], jnp.int32)
        self.steps = jnp.arange(episodes.num_steps, dtype=jnp.int32)
        self.unseen_steps, self.withheld_states = None, None

    # --- sizes

    @property
    def num_steps(self) -> int:
        """Number of steps of this part."""
        return self.steps.shape[0]

    @property
    def num_agents(self) -> int:
        """Number of agents."""
        return self.layout.num_agents

    @property
    def state_size(self) -> int:
        """Number of features of the state."""
        return self.states.shape[1]

    @property
    def episode_ids(self) -> Int[np.ndarray, " episodes"]:
        """The episodes of this part, by their place in the data; `part` rebuilds it from them."""
        return np.unique(np.asarray(self.episode_of_step)[np.asarray(self.steps)])

    # --- batches

    def sample(
        self, key: PRNGKeyArray, batch: int
    ) -> tuple[Float[Array, "{batch} history"], Float[Array, "{batch} state"]]:
        """Draw pairs (history, scaled state), uniform over steps of this part and agents; traceable.

        Raises:
            InputError: the episodes are not in memory.
        """
        if not self.in_memory:
            raise InputError("These episodes are not in memory; sample from resident(key, num_bytes).")
        key_step, key_agent = jax.random.split(key)
        steps = self.steps[jax.random.randint(key_step, (batch,), 0, self.num_steps)]
        pairs = self._pairs(steps, jax.random.randint(key_agent, (batch,), 0, self.num_agents))
        return pairs.histories, pairs.states

    def joint(self, steps: Int[Array, " k"] | Int[np.ndarray, " k"]) -> JointBatch:
        """Every agent's history at these steps, such as some of `self.steps`.

        Raises:
            InputError: a step is not in the data.
        """
        return self._joint(self._checked(steps, self.states.shape[0], "step"))

    def pairs(
        self, steps: Int[Array, " k"] | Int[np.ndarray, " k"], agents: Int[Array, " k"] | Int[np.ndarray, " k"]
    ) -> PairBatch:
        """One agent's history at each of these steps.

        Raises:
            InputError: a step or an agent is not in the data.
        """
        return self._pairs(
            self._checked(steps, self.states.shape[0], "step"), self._checked(agents, self.num_agents, "agent")
        )

    def _checked(self, values: Int[Array, " k"] | Int[np.ndarray, " k"], count: int, name: str) -> Int[Array, " k"]:
        """As int32 on the device, in range (which only concrete values can be checked for)."""
        if not isinstance(values, jax.core.Tracer):
            wrong = [int(value) for value in np.asarray(values) if not 0 <= value < count]
            if wrong:
                raise InputError(f"There is no {name} {wrong[0]}; they are numbered 0 to {count - 1}.")
        return jnp.asarray(values, jnp.int32)

    def _window(self, steps: Int[Array, " k"]) -> tuple[Int[Array, "k length"], Bool[Array, "k length"]]:
        """Rows t − H + 1, …, t and which of them lie in t's episode; the others repeat its first row."""
        rows = steps[:, None] + jnp.arange(1 - self.layout.length, 1, dtype=jnp.int32)[None, :]
        starts = self.starts[steps][:, None]
        return jnp.maximum(rows, starts), rows >= starts

    def _pairs(self, steps: Int[Array, " k"], agents: Int[Array, " k"]) -> PairBatch:
        rows, mask = self._window(steps)
        history = History(
            observations=_entries(self.observations, rows, agents),
            actions=_entries(self.actions, rows[:, :-1], agents),
            mask=mask,
            agent=agents,
        )
        history = _zero_masked(history)
        return PairBatch(self.layout.encode(history), history, self.scaling.scale(_rows(self.states, steps)))

    def _joint(self, steps: Int[Array, " k"]) -> JointBatch:
        rows, mask = self._window(steps)
        count = (steps.shape[0], self.num_agents)
        history = History(
            observations=jnp.moveaxis(_rows(self.observations, rows), 2, 1),
            actions=jnp.moveaxis(_rows(self.actions, rows[:, :-1]), 2, 1),
            mask=jnp.broadcast_to(mask[:, None, :], (*count, self.layout.length)),
            agent=jnp.broadcast_to(jnp.arange(self.num_agents, dtype=jnp.int32)[None, :], count),
        )
        history = _zero_masked(history)
        return JointBatch(self.layout.encode(history), history, self.scaling.scale(_rows(self.states, steps)))

    # --- parts

    def split(
        self, *, key: PRNGKeyArray, fractions: Sequence[float] = (0.8, 0.1, 0.1), withhold_states: float = 0.0
    ) -> tuple["HistoryDataset", "HistoryDataset", "HistoryDataset"]:
        """Split by episode into training, validation and test.

        Steps in withheld states leave training and validation, though longer windows may still show
        observations made there; the test part keeps them, apart in `unseen`.

        Args:
            key: draws the episodes of each part and the withheld states.
            fractions: shares of the episodes; each part gets at least one.
            withhold_states: share of the distinct states to withhold.

        Raises:
            InputError: the shares cannot be used, or a part would be empty.
        """
        shares = np.asarray(fractions, np.float64)
        if shares.shape != (3,) or np.any(shares <= 0) or abs(shares.sum() - 1) > 1e-6:
            raise InputError(f"fractions must be three positive shares that sum to 1, not {tuple(fractions)}.")
        if not 0 <= withhold_states < 1:
            raise InputError(f"withhold_states must be a share from 0 to below 1, not {withhold_states}.")
        key_episodes, key_states = jax.random.split(key)
        episodes = self.episode_ids
        if len(episodes) < 3:
            raise InputError(f"A split into three parts needs at least three episodes, not {len(episodes)}.")
        episodes = np.asarray(jax.random.permutation(key_episodes, jnp.asarray(episodes)))
        withheld = self._draw_states(key_states, withhold_states) if withhold_states else None
        num_validation, num_test = (max(1, int(round(share * len(episodes)))) for share in shares[1:])
        bounds = max(1, len(episodes) - num_validation - num_test), len(episodes) - num_test
        train, validation, test = np.split(episodes, bounds)
        return (
            self.part(train, withheld_states=withheld, remove_withheld=True),
            self.part(validation, withheld_states=withheld, remove_withheld=True),
            self.part(test, withheld_states=withheld),
        )

    def part(
        self,
        episode_ids: Int[np.ndarray, " episodes"],
        *,
        withheld_states: Float[np.ndarray, "withheld state"] | None = None,
        remove_withheld: bool = False,
    ) -> "HistoryDataset":
        """The part of these episodes: rebuilds a split from its record.

        Args:
            episode_ids: as a part's `episode_ids` gives them.
            withheld_states: as a part's `withheld_states` gives them.
            remove_withheld: drop the steps in those states, as training and validation do; else keep them, in `unseen`.

        Raises:
            InputError: an episode is not in this dataset, or no step remains.
        """
        unknown = np.setdiff1d(episode_ids, self.episode_ids)
        if len(unknown):
            raise InputError(f"Episode {unknown[0]} is not in this dataset.")
        steps = np.asarray(self.steps)
        steps = steps[np.isin(np.asarray(self.episode_of_step)[steps], episode_ids)]
        unseen = None
        if withheld_states is not None:
            blocks = [state_rows.are_among(states, withheld_states) for states in self._states_of(steps)]
            withheld = np.concatenate([np.zeros(0, bool), *blocks])
            unseen = steps[withheld]
            if remove_withheld:
                steps, unseen = steps[~withheld], None
        return self._with_steps(steps, unseen, withheld_states)

    @property
    def unseen(self) -> "HistoryDataset | None":
        """The steps in withheld states; None where nothing is withheld or none of these steps is in this part."""
        if self.unseen_steps is None or not len(self.unseen_steps):
            return None
        return self._with_steps(np.asarray(self.unseen_steps), None, self.withheld_states)

    @property
    def seen(self) -> "HistoryDataset":
        """The steps in states that were not withheld."""
        if self.unseen_steps is None:
            return self
        steps = np.setdiff1d(np.asarray(self.steps), np.asarray(self.unseen_steps))
        return self._with_steps(steps, None, self.withheld_states)

    def _with_steps(
        self,
        steps: Int[np.ndarray, " steps"],
        unseen: Int[np.ndarray, " unseen"] | None,
        withheld_states: Float[np.ndarray, "withheld state"] | None,
    ) -> "HistoryDataset":
        """The same arrays, other steps."""
        if not len(steps):
            raise InputError("This part would hold no steps; collect more episodes or withhold fewer states.")
        return eqx.tree_at(
            lambda dataset: (dataset.steps, dataset.unseen_steps, dataset.withheld_states),
            self,
            (
                jnp.asarray(steps, jnp.int32),
                None if unseen is None else jnp.asarray(unseen, jnp.int32),
                withheld_states,
            ),
            is_leaf=lambda leaf: leaf is None,
        )

    # --- episodes that do not fit into memory

    @property
    def in_memory(self) -> bool:
        """Whether the arrays are on the device, so that `sample` can draw from them."""
        return not isinstance(self.observations, ShardedArray)

    def resident(self, key: PRNGKeyArray, num_bytes: int) -> "HistoryDataset":
        """A random share of this part's episodes in memory; itself where it is there already.

        Shards are drawn, then taken whole as far as they fit, so that each is read once. Steps are numbered anew.

        Args:
            key: draws the shards, and the episodes of the last one.
            num_bytes: most memory of the share's arrays.

        Raises:
            InputError: not one episode fits.
        """
        if not self.in_memory:
            rows = np.flatnonzero(np.isin(np.asarray(self.episode_of_step), self._drawn_episodes(key, num_bytes)))
            return self._with_rows(rows)
        return self

    def _drawn_episodes(self, key: PRNGKeyArray, num_bytes: int) -> Int[np.ndarray, " drawn"]:
        """Episodes of this part that fit, shard by shard, the shards and the episodes within in a random order."""
        assert isinstance(self.observations, ShardedArray)
        episodes, generator = self.episode_ids, np.random.default_rng(np.asarray(jax.random.key_data(key)))
        first_rows = np.searchsorted(np.asarray(self.episode_of_step), episodes)
        shards = np.searchsorted(self.observations.stops, first_rows, side="right")
        rank = generator.permutation(shards.max() + 1)[shards]
        order = np.lexsort((generator.random(len(episodes)), rank))
        step_bytes = sum(array.nbytes for array in (self.observations, self.actions, self.states)) / len(self.states)
        sizes = np.bincount(np.asarray(self.episode_of_step))[episodes][order] * step_bytes
        fitting = int(np.searchsorted(np.cumsum(sizes), num_bytes, side="right"))
        if not fitting:
            raise InputError(f"Not one episode fits into {num_bytes} bytes; allow more.")
        return episodes[order[:fitting]]

    def _with_rows(self, rows: Int[np.ndarray, " rows"]) -> "HistoryDataset":
        """These rows of the arrays, in memory; whole episodes, ascending."""
        steps = np.flatnonzero(np.isin(rows, np.asarray(self.steps)))
        unseen = None if self.unseen_steps is None else np.flatnonzero(np.isin(rows, np.asarray(self.unseen_steps)))
        starts = np.searchsorted(rows, np.asarray(self.starts)[rows])
        part = eqx.tree_at(
            lambda dataset: (
                dataset.observations,
                dataset.actions,
                dataset.states,
                dataset.starts,
                dataset.episode_of_step,
            ),
            self,
            (
                *(jnp.asarray(array[rows]) for array in (self.observations, self.actions, self.states)),
                jnp.asarray(starts, jnp.int32),
                self.episode_of_step[rows],
            ),
        )
        return part._with_steps(steps, unseen, self.withheld_states)

    # --- states

    def distinct_states(self) -> Float[np.ndarray, "distinct state"]:
        """The states that occur in this part, each once, in their own units."""
        parts = [state_rows.distinct(states) for states in self._states_of(np.asarray(self.steps))]
        return state_rows.distinct(np.concatenate(parts))

    def state_frequencies(
        self, states: Float[np.ndarray, "states state"] | Float[Array, "states state"]
    ) -> Float[Array, " states"]:
        """How often each of these states occurs in this part, as shares of its steps.

        Args:
            states: in the state's own units; equal rows share their state's frequency evenly.

        Raises:
            MismatchError: a state of this part is not in the list.
        """
        listed = np.asarray(states)
        counts = sum(state_rows.count(block, listed) for block in self._states_of(np.asarray(self.steps)))
        return jnp.asarray(counts / self.num_steps, jnp.float32)

    def _states_of(self, steps: Int[np.ndarray, " steps"]) -> Iterator[Float[np.ndarray, "block state"]]:
        """The states of these steps, a block at a time, so that they never have to be in memory all at once."""
        for first in range(0, len(steps), BLOCK_STEPS):
            yield np.asarray(_rows(self.states, jnp.asarray(steps[first : first + BLOCK_STEPS])))

    def _draw_states(self, key: PRNGKeyArray, share: float) -> Float[np.ndarray, "withheld state"]:
        """This share of the distinct states, at least one."""
        states = self.distinct_states()
        count = max(1, round(share * len(states)))
        return states[np.asarray(jax.random.permutation(key, len(states)))[:count]]


def _on_device(array: np.ndarray | ShardedArray) -> Array | ShardedArray:
    """On the device, unless it is read from shards."""
    return array if isinstance(array, ShardedArray) else jnp.asarray(array)


def _rows(array: Array | ShardedArray, rows: Int[Array, "*shape"]) -> Array:
    """Rows of an array on the device or in shards."""
    return jnp.asarray(array[np.asarray(rows)]) if isinstance(array, ShardedArray) else array[rows]


def _entries(array: Array | ShardedArray, rows: Int[Array, "k length"], agents: Int[Array, " k"]) -> Array:
    """One agent's entries of rows; on the device nothing of the other agents is touched."""
    if isinstance(array, ShardedArray):
        pairs, columns = jnp.arange(rows.shape[0])[:, None], jnp.arange(rows.shape[1])[None, :]
        return _rows(array, rows)[pairs, columns, agents[:, None]]
    return array[rows, agents[:, None]]


def _zero_masked(history: History) -> History:
    """Zeros where a history is masked, so that the structured and the flat form say the same."""
    return History(
        observations=jnp.where(history.mask[..., None], history.observations, 0.0),
        actions=jnp.where(history.mask[..., :-1], history.actions, 0),
        mask=history.mask,
        agent=history.agent,
    )
