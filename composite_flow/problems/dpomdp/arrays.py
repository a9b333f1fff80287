"""Sparse tables as JAX arrays: to draw from a row, and to add up along rows."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.problems.dpomdp.table import Sparse


class Entries(eqx.Module):
    """The entries of a sparse table whose rows are distributions.

    Attributes:
        starts: of each row, its first entry; and the number of all at the end.
        rows, columns, values: of each entry.
        reached: the sum of the values of its row up to an entry, the last one's exactly 1.
    """

    starts: Int[Array, " rows_plus_1"]
    rows: Int[Array, " entries"]
    columns: Int[Array, " entries"]
    values: Float[Array, " entries"]
    reached: Float[Array, " entries"]

    def __init__(self, table: Sparse):
        total = np.cumsum(table.values)
        rows = table.rows
        before = np.append(0.0, total)[table.starts[:-1]]
        reached = total - before[rows]
        reached[table.starts[1:] - 1] = 1.0
        self.starts, self.rows = jnp.asarray(table.starts, jnp.int32), jnp.asarray(rows, jnp.int32)
        self.columns, self.values = jnp.asarray(table.columns, jnp.int32), jnp.asarray(table.values, jnp.float32)
        self.reached = jnp.asarray(reached, jnp.float32)

    def draw(self, key: PRNGKeyArray, row: Int[Array, ""]) -> Int[Array, ""]:
        """A column of a row, by its probabilities: the first entry that reaches a uniform number, by bisection."""
        target = jax.random.uniform(key)

        def halve(_, ends):
            low, high = ends
            middle = (low + high) // 2
            is_reached = self.reached[middle] > target
            return jnp.where(is_reached, low, middle + 1), jnp.where(is_reached, middle, high)

        ends = (self.starts[row], self.starts[row + 1] - 1)
        low, _ = jax.lax.fori_loop(0, 1 + len(self.values).bit_length(), halve, ends)
        return self.columns[jnp.minimum(low, ends[1])]

    def add_up(self, weights: Float[Array, " entries"]) -> Float[Array, " rows"]:
        """Σ of value times weight, along each row."""
        return jax.ops.segment_sum(self.values * weights, self.rows, self.starts.shape[0] - 1)


def joint_parts(sizes: tuple[int, ...]) -> Int[np.ndarray, "joint agents"]:
    """The parts of every joint choice, the last agent's changing fastest."""
    return np.indices(sizes).reshape(len(sizes), -1).T.astype(np.int32)


def class_of_actions(
    observation: Sparse, num_actions: int, num_states: int
) -> tuple[Int[np.ndarray, " joint_actions"], list[int]]:
    """Of each joint action, the class of those with the same observations, from 1; and the first of each class."""
    classes, firsts, known = [], [], {}
    for action in range(num_actions):
        starts = observation.starts[action * num_states : (action + 1) * num_states + 1]
        inside = slice(starts[0], starts[-1])
        key = (
            (starts - starts[0]).tobytes(),
            observation.columns[inside].tobytes(),
            observation.values[inside].tobytes(),
        )
        if key not in known:
            known[key] = len(firsts) + 1
            firsts.append(action)
        classes.append(known[key])
    return np.array(classes), firsts


def of_classes(observation: Sparse, firsts: list[int], num_states: int) -> Sparse:
    """The rows of one joint action of each class."""
    rows = (np.array(firsts)[:, None] * num_states + np.arange(num_states)[None]).ravel()
    entries, of_row = observation.entries_of(rows)
    starts = np.append(0, np.cumsum(np.bincount(of_row, minlength=len(rows))))
    return Sparse(starts, observation.columns[entries], observation.values[entries])


def marginals(
    observation: Sparse, sizes: tuple[int, ...], num_states: int
) -> Float[np.ndarray, "agents observations hidden"]:
    """P(o_i | h) of each agent's own observation; zero in class 0, where none is made.

    Args:
        observation: P(o | class, s'), rows by class and state.
        sizes: how many observations each agent has.
        num_states: that there are.
    """
    parts, rows = joint_parts(sizes)[observation.columns], observation.rows + num_states
    found = np.zeros((len(sizes), max(sizes), len(observation.starts) - 1 + num_states))
    for agent in range(len(sizes)):
        np.add.at(found[agent], (parts[:, agent], rows), observation.values)
    return found.astype(np.float32)
