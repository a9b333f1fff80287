"""Pairs (an agent's local history, the state): what denoisers learn from and are measured on.

A window of length H that ends at step t is gathered on the fly from the flat arrays of the episodes; it never
reaches into the episode before, its mask says which of its steps exist. Parts of a split share the arrays and
differ in the steps that they use.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.data import states as state_rows
from composite_flow.data.episodes import Episodes
from composite_flow.data.scaling import Scaling
from composite_flow.data.windows import JointBatch, PairBatch, Windows, checked_indices
from composite_flow.errors import InputError
from composite_flow.history import HistoryLayout


class HistoryDataset(eqx.Module):
    """Windows of length H over episodes; a pytree, so that it is an argument of compiled functions.

    Steps are rows of the flat arrays of the episodes; `steps` lists those that this part uses. Where the episodes are
    not in memory, `joint` and `pairs` read what they need, and `sample` draws from a random share, `resident`.

    Attributes:
        windows: the arrays, shared by all parts of a split.
        listed_steps: the steps of this part, and perhaps padding.
        count: how many of them are no padding; None where all are.
        unseen_steps: those whose state was withheld from the other parts; None where nothing was.
        withheld_states: the states withheld, in their own units; None where nothing was.
    """

    windows: Windows
    listed_steps: Int[Array, " steps"]
    count: Int[Array, ""] | None
    unseen_steps: Int[Array, " unseen"] | None
    withheld_states: Float[np.ndarray, "withheld state"] | None

    def __init__(self, episodes: Episodes, length: int = 1):
        """All steps of all episodes.

        Args:
            episodes: the logs.
            length: H, how many steps a history reaches back, the present one included.
        """
        self.windows = Windows(episodes, length)
        self.listed_steps, self.count = jnp.asarray(np.arange(episodes.num_steps), jnp.int32), None
        self.unseen_steps, self.withheld_states = None, None

    @property
    def layout(self) -> HistoryLayout:
        """Sizes and columns of the histories."""
        return self.windows.layout

    @property
    def scaling(self) -> Scaling:
        """Maps the states to [0, 1]."""
        return self.windows.scaling

    @property
    def in_memory(self) -> bool:
        """Whether the arrays are on the device, so that `sample` can draw from them."""
        return self.windows.in_memory

    @property
    def steps(self) -> Int[Array, " steps"]:
        """The steps of this part."""
        return self.listed_steps if self.count is None else self.listed_steps[: int(self.count)]

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
        return self.windows.state_size

    @property
    def episode_ids(self) -> Int[np.ndarray, " episodes"]:
        """The episodes of this part, by their place in the data; `part` rebuilds it from them."""
        return np.unique(np.asarray(self.windows.episode_of_step)[np.asarray(self.steps)])

    # --- batches

    def sample(
        self, key: PRNGKeyArray, batch: int
    ) -> tuple[Float[Array, "{batch} history"], Float[Array, "{batch} state"]]:
        """Draw pairs (history, scaled state), uniform over steps of this part and agents; traceable.

        Raises:
            InputError: the episodes are not in memory.
        """
        key_step, key_agent = jax.random.split(key)
        agents = jax.random.randint(key_agent, (batch,), 0, self.num_agents)
        pairs = self.windows.pairs(self.drawn_steps(key_step, batch), agents)
        return pairs.histories, pairs.states

    def drawn_steps(self, key: PRNGKeyArray, batch: int) -> Int[Array, "{batch}"]:
        """Steps of this part drawn uniformly, with replacement; traceable. Errors as in `sample`."""
        if not self.in_memory:
            raise InputError("These episodes are not in memory; sample from resident(key, num_bytes).")
        count = len(self.listed_steps) if self.count is None else self.count
        return self.listed_steps[jax.random.randint(key, (batch,), 0, count)]

    def joint(self, steps: Int[Array, " k"] | Int[np.ndarray, " k"]) -> JointBatch:
        """Every agent's history at these steps, such as some of `self.steps`.

        Raises:
            InputError: a step is not in the data.
        """
        return self.windows.joint(checked_indices(steps, self.windows.num_steps, "step"))

    def pairs(
        self, steps: Int[Array, " k"] | Int[np.ndarray, " k"], agents: Int[Array, " k"] | Int[np.ndarray, " k"]
    ) -> PairBatch:
        """One agent's history at each of these steps.

        Raises:
            InputError: a step or an agent is not in the data.
        """
        return self.windows.pairs(
            checked_indices(steps, self.windows.num_steps, "step"), checked_indices(agents, self.num_agents, "agent")
        )

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
        num_test = min(max(1, round(shares[2] * len(episodes))), len(episodes) - 2)
        num_validation = min(max(1, round(shares[1] * len(episodes))), len(episodes) - num_test - 1)
        test, validation, train = np.split(episodes, [num_test, num_test + num_validation])
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
        steps = steps[np.isin(np.asarray(self.windows.episode_of_step)[steps], episode_ids)]
        unseen = None
        if withheld_states is not None:
            blocks = [state_rows.are_among(states, withheld_states) for states in self.windows.states_of(steps)]
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
            lambda dataset: (dataset.listed_steps, dataset.count, dataset.unseen_steps, dataset.withheld_states),
            self,
            (
                jnp.asarray(steps, jnp.int32),
                None,
                None if unseen is None else jnp.asarray(unseen, jnp.int32),
                withheld_states,
            ),
            is_leaf=lambda leaf: leaf is None,
        )

    # --- episodes that do not fit into memory

    def resident(self, key: PRNGKeyArray, num_bytes: int) -> "HistoryDataset":
        """A random share of this part's episodes in memory; itself where it is there already.

        Shards are drawn, then taken whole as far as they fit, so that each is read once. Steps are numbered anew.
        Shares of one part have arrays of one size, so that what is compiled for one runs on all.

        Args:
            key: draws the shards, and the episodes of the last one.
            num_bytes: most memory of the share's arrays.

        Raises:
            InputError: not one episode fits.
        """
        if self.in_memory:
            return self
        capacity = min(num_bytes // self.windows.step_bytes, self.windows.num_steps)
        drawn = self.windows.draw_episodes(key, self.episode_ids, capacity)
        rows = np.flatnonzero(np.isin(np.asarray(self.windows.episode_of_step), drawn))
        steps = np.flatnonzero(np.isin(rows, np.asarray(self.steps)))
        unseen = None if self.unseen_steps is None else np.flatnonzero(np.isin(rows, np.asarray(self.unseen_steps)))
        if not len(steps):
            raise InputError("No step of this part lies in the drawn episodes; allow more bytes.")
        part = self._with_steps(np.pad(steps, (0, capacity - len(steps))), unseen, self.withheld_states)
        return eqx.tree_at(
            lambda dataset: (dataset.windows, dataset.count),
            part,
            (self.windows.restricted(rows, capacity), jnp.asarray(len(steps), jnp.int32)),
            is_leaf=lambda leaf: leaf is None,
        )

    # --- states

    def distinct_states(self) -> Float[np.ndarray, "distinct state"]:
        """The states that occur in this part, each once, in their own units."""
        parts = [state_rows.distinct(states) for states in self.windows.states_of(np.asarray(self.steps))]
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
        counts = sum(state_rows.count(block, listed) for block in self.windows.states_of(np.asarray(self.steps)))
        return jnp.asarray(counts / self.num_steps, jnp.float32)

    def _draw_states(self, key: PRNGKeyArray, share: float) -> Float[np.ndarray, "withheld state"]:
        """This share of the distinct states, at least one."""
        states = self.distinct_states()
        count = max(1, round(share * len(states)))
        return states[np.asarray(jax.random.permutation(key, len(states)))[:count]]
