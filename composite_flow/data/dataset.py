"""Pairs (an agent's local history, the state), from which denoisers learn and on which they are measured.

A window of length H that ends at step t is gathered when it is needed from the flat arrays of the episodes. It never
reaches into the episode before; its mask says which of its steps exist. The parts of a split have the same arrays and
differ in the steps that they use.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.data import states as state_rows
from composite_flow.data.episodes import Episodes
from composite_flow.data.indices import checked_indices
from composite_flow.data.ranges import measured_scaling
from composite_flow.data.scaling import Scaling
from composite_flow.data.split import check_fractions, draw_states, split_episodes, steps_of_episodes, usable_steps
from composite_flow.data.windows import JointBatch, PairBatch, Windows
from composite_flow.errors import InputError
from composite_flow.history import HistoryLayout
from composite_flow.numerics.entry_point import entry_point


class HistoryDataset(eqx.Module):
    """Windows of length H over episodes; a pytree, so that it is an argument of compiled functions.

    Steps are rows of the flat arrays of the episodes; `steps` lists those that this part uses. Where the episodes are
    not in memory, `joint` and `pairs` read what they need, and `sample` needs a portion in memory (`resident`).

    Attributes:
        windows: the arrays, the same for all parts of a split.
        listed_steps: the steps of this part, and padding in a portion.
        count: how many of the listed steps are not padding; None where there is no padding.
        stateless_steps: where the state is missing; they teach nothing. None where there are none.
        unseen_steps: the steps whose state was withheld from the other parts; None where nothing was withheld.
        withheld_states: the withheld states, in their own units; None where nothing was withheld.
    """

    windows: Windows
    listed_steps: Int[Array, " steps"]
    count: Int[Array, ""] | None
    stateless_steps: Int[Array, " stateless"] | None
    unseen_steps: Int[Array, " unseen"] | None
    withheld_states: Float[np.ndarray, "withheld state"] | None

    def __init__(self, episodes: Episodes, length: int = 1):
        """Take all steps of all episodes at which an agent is there; those whose state is missing stand apart.

        Args:
            episodes: the logged episodes.
            length: H, the number of steps in a history, the present one included.
        """
        self.windows = Windows(episodes, length)
        known, missing = usable_steps(self.windows, episodes)
        self.listed_steps, self.count, self.stateless_steps = known, None, missing
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
        """The numbers of this part's episodes in the data; `part` rebuilds the part from them."""
        return np.unique(np.asarray(self.windows.episode_of_step)[np.asarray(self.steps)])

    # --- batches

    @entry_point
    def sample(
        self, key: PRNGKeyArray, batch: int
    ) -> tuple[Float[Array, "{batch} history"], Float[Array, "{batch} state"]]:
        """Draw pairs (history, scaled state) uniformly over the steps of this part and the agents there; traceable.

        Raises:
            InputError: the episodes are not in memory.
        """
        key_step, key_agent = jax.random.split(key)
        steps = self.drawn_steps(key_step, batch)
        pairs = self.windows.pairs(steps, self.windows.drawn_agents(key_agent, steps))
        return pairs.histories, pairs.states

    def drawn_steps(self, key: PRNGKeyArray, batch: int) -> Int[Array, "{batch}"]:
        """Draw steps of this part uniformly, with replacement; traceable. Errors as in `sample`."""
        if not self.in_memory:
            raise InputError("These episodes are not in memory; sample from resident(key, num_bytes).")
        count = len(self.listed_steps) if self.count is None else self.count
        return self.listed_steps[jax.random.randint(key, (batch,), 0, count)]

    @entry_point
    def joint(self, steps: Int[Array, " k"] | Int[np.ndarray, " k"]) -> JointBatch:
        """Every agent's history at these steps, such as some of `self.steps`.

        Raises:
            InputError: a step is not in the data.
        """
        return self.windows.joint(checked_indices(steps, self.windows.num_steps, "step"))

    @entry_point
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

    @entry_point
    def split(
        self, *, key: PRNGKeyArray, fractions: Sequence[float] = (0.8, 0.1, 0.1), withhold_states: float = 0.0
    ) -> tuple["HistoryDataset", ...]:
        """Split by episode into training, validation and test, or with calibration before the test.

        A scaling that was measured is measured again, on the training part alone.

        Steps in withheld states are removed from all parts but the test, though longer windows may still show
        observations made there. The test part keeps them; its `unseen` holds them alone.

        Args:
            key: draws the episodes of each part and the withheld states.
            fractions: of the episodes, for three or four parts; each part gets at least one episode.
            withhold_states: fraction of the distinct states to withhold.

        Raises:
            InputError: the fractions cannot be used, or a part would be empty.
        """
        shares = check_fractions(fractions, withhold_states)
        key_episodes, key_states = jax.random.split(key)
        *others, test = split_episodes(self.episode_ids, shares, key_episodes)
        withheld = draw_states(self.distinct_states(), withhold_states, key_states) if withhold_states else None
        train, *kept = (self.part(part, withheld_states=withheld, remove_withheld=True) for part in others)
        scaling = measured_scaling(self.windows, np.asarray(train.steps))
        parts = (train, *kept, self.part(test, withheld_states=withheld))
        return parts if scaling is None else tuple(part.with_scaling(scaling) for part in parts)

    def with_scaling(self, scaling: Scaling) -> "HistoryDataset":
        """The same part with states scaled by another scaling."""
        return self._with(windows=self.windows.with_scaling(scaling))

    @property
    def all_steps(self) -> Int[np.ndarray, " steps"]:
        """The steps of this part, and those of its episodes whose state is missing."""
        missing = np.asarray([] if self.stateless_steps is None else self.stateless_steps, np.int32)
        episodes = np.asarray(self.windows.episode_of_step)[missing]
        return np.union1d(np.asarray(self.steps), missing[np.isin(episodes, self.episode_ids)])

    def part(
        self,
        episode_ids: Int[np.ndarray, " episodes"],
        *,
        withheld_states: Float[np.ndarray, "withheld state"] | None = None,
        remove_withheld: bool = False,
    ) -> "HistoryDataset":
        """The part that holds these episodes; it rebuilds a part of a recorded split.

        Args:
            episode_ids: the part's `episode_ids`.
            withheld_states: the part's `withheld_states`.
            remove_withheld: remove the steps in those states, as in training and validation; otherwise keep them, and
                list them in `unseen`.

        Raises:
            InputError: an episode is not in this dataset, or no step remains.
        """
        steps, unseen = steps_of_episodes(np.asarray(self.windows.episode_of_step), self.steps, episode_ids), None
        if withheld_states is not None:
            withheld = self.windows.are_in_states(steps, withheld_states)
            unseen = steps[withheld]
            if remove_withheld:
                steps, unseen = steps[~withheld], None
        return self._with_steps(steps, unseen, withheld_states)

    @property
    def unseen(self) -> "HistoryDataset | None":
        """The steps in withheld states; None where this part has no such steps."""
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
        """The same arrays with other steps."""
        if not len(steps):
            raise InputError("This part would hold no steps; collect more episodes or withhold fewer states.")
        return self._with(
            listed_steps=jnp.asarray(steps, jnp.int32),
            count=None,
            unseen_steps=None if unseen is None else jnp.asarray(unseen, jnp.int32),
            withheld_states=withheld_states,
        )

    def _with(self, **fields: Any) -> "HistoryDataset":
        """The same dataset with other values in these fields."""
        return eqx.tree_at(
            lambda dataset: tuple(getattr(dataset, name) for name in fields),
            self,
            tuple(fields.values()),
            is_leaf=lambda leaf: leaf is None,
        )

    # --- episodes that do not fit into memory

    def resident(self, key: PRNGKeyArray, num_bytes: int) -> "HistoryDataset":
        """A random portion of this part's episodes in memory; the part itself where it is in memory already.

        Whole shards are drawn as far as they fit, so that each is read once. The steps get new numbers. All portions of
        a part have arrays of one size, so that a function compiled for one portion runs on all.

        Args:
            key: draws the shards, and the episodes of the last shard.
            num_bytes: most memory of the portion's arrays.

        Raises:
            InputError: not one episode fits.
        """
        if self.in_memory:
            return self
        windows, rows = self.windows.portion(key, self.episode_ids, num_bytes)
        steps = np.flatnonzero(np.isin(rows, np.asarray(self.steps)))
        unseen = None if self.unseen_steps is None else np.flatnonzero(np.isin(rows, np.asarray(self.unseen_steps)))
        if not len(steps):
            raise InputError("No step of this part lies in the drawn episodes; allow more bytes.")
        part = self._with_steps(np.pad(steps, (0, windows.num_steps - len(steps))), unseen, self.withheld_states)
        return part._with(windows=windows, count=jnp.asarray(len(steps), jnp.int32))

    # --- states

    def distinct_states(self) -> Float[np.ndarray, "distinct state"]:
        """The states that occur in this part, each once, in their own units."""
        blocks = self.windows.states_of(np.asarray(self.steps))
        return state_rows.distinct(np.concatenate([state_rows.distinct(block) for block in blocks]))

    def state_frequencies(
        self, states: Float[np.ndarray, "states state"] | Float[Array, "states state"]
    ) -> Float[Array, " states"]:
        """The fraction of this part's steps in which each of these states occurs.

        Args:
            states: states in their own units; the frequency of a state is divided evenly among equal rows.

        Raises:
            MismatchError: a state of this part is not in the list.
        """
        listed = np.asarray(states)
        counts = sum(state_rows.count(block, listed) for block in self.windows.states_of(np.asarray(self.steps)))
        return jnp.asarray(counts / self.num_steps, jnp.float32)
