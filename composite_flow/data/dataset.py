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
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.data.episodes import Episodes
from composite_flow.data.scaling import Scaling
from composite_flow.errors import InputError, MismatchError
from composite_flow.history import History, HistoryLayout


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

    Steps are rows of the flat arrays of the episodes; `steps` lists those that this part uses.

    Attributes:
        layout: sizes and columns of the histories.
        scaling: of the states to [0, 1].
        steps: the steps of this part.
        unseen_steps: those whose state was withheld from the other parts; None where nothing was.
        withheld_states: the states withheld, in their own units; None where nothing was.
    """

    observations: Float[Array, "all_steps agents observation"]
    actions: Int[Array, "all_steps agents"]
    states: Float[Array, "all_steps state"]
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
        self.observations, self.actions = jnp.asarray(episodes.observations), jnp.asarray(episodes.actions)
        self.states = jnp.asarray(episodes.states)
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
        """Draw pairs (history, scaled state), uniform over steps of this part and agents; traceable."""
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
            observations=self.observations[rows, agents[:, None]],
            actions=self.actions[rows[:, :-1], agents[:, None]],
            mask=mask,
            agent=agents,
        )
        history = _zero_masked(history)
        return PairBatch(self.layout.encode(history), history, self.scaling.scale(self.states[steps]))

    def _joint(self, steps: Int[Array, " k"]) -> JointBatch:
        rows, mask = self._window(steps)
        count = (len(steps), self.num_agents)
        history = History(
            observations=jnp.moveaxis(self.observations[rows], 2, 1),
            actions=jnp.moveaxis(self.actions[rows[:, :-1]], 2, 1),
            mask=jnp.broadcast_to(mask[:, None, :], (*count, self.layout.length)),
            agent=jnp.broadcast_to(jnp.arange(self.num_agents, dtype=jnp.int32)[None, :], count),
        )
        history = _zero_masked(history)
        return JointBatch(self.layout.encode(history), history, self.scaling.scale(self.states[steps]))

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
            withheld = np.isin(_rows(np.asarray(self.states)[steps]), _rows(withheld_states))
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

    # --- states

    def distinct_states(self) -> Float[np.ndarray, "distinct state"]:
        """The states that occur in this part, each once, in their own units."""
        return _distinct(np.asarray(self.states)[np.asarray(self.steps)])

    def _draw_states(self, key: PRNGKeyArray, share: float) -> Float[np.ndarray, "withheld state"]:
        """This share of the distinct states, at least one."""
        states = self.distinct_states()
        count = max(1, round(share * len(states)))
        return states[np.asarray(jax.random.permutation(key, len(states)))[:count]]

    def state_frequencies(
        self, states: Float[np.ndarray, "states state"] | Float[Array, "states state"]
    ) -> Float[Array, " states"]:
        """How often each of these states occurs in this part, as shares of its steps.

        Args:
            states: in the state's own units; equal rows share their state's frequency evenly.

        Raises:
            MismatchError: a state of this part is not in the list.
        """
        rows = _rows(np.asarray(states))
        listed, place, copies = np.unique(rows, return_inverse=True, return_counts=True)
        seen, counts = np.unique(_rows(np.asarray(self.states)[np.asarray(self.steps)]), return_counts=True)
        where = np.searchsorted(listed, seen)
        if np.any(where == len(listed)) or np.any(listed[np.minimum(where, len(listed) - 1)] != seen):
            raise MismatchError("The data hold a state that the list of states lacks; they are of different problems.")
        frequencies = np.zeros(len(listed))
        frequencies[where] = counts / counts.sum()
        return jnp.asarray((frequencies / copies)[place], jnp.float32)


def _zero_masked(history: History) -> History:
    """Zeros where a history is masked, so that the structured and the flat form say the same."""
    return History(
        observations=jnp.where(history.mask[..., None], history.observations, 0.0),
        actions=jnp.where(history.mask[..., :-1], history.actions, 0),
        mask=history.mask,
        agent=history.agent,
    )


def _rows(states: Float[np.ndarray, "rows state"]) -> np.ndarray:
    """Each row as one value that NumPy can sort and compare, by its bytes; −0 counts as 0."""
    states = np.ascontiguousarray(states + np.float32(0), dtype=np.float32)
    return states.view(f"V{states.shape[1] * states.itemsize}")[:, 0]


def _distinct(states: Float[np.ndarray, "rows state"]) -> Float[np.ndarray, "distinct state"]:
    """Distinct rows."""
    return np.unique(_rows(states)).view(np.float32).reshape(-1, states.shape[1])
