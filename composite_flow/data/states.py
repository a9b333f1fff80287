"""Compare and count states, each row of an array as one value."""

import numpy as np
from jaxtyping import Bool, Float

from composite_flow.errors import MismatchError


def distinct(states: Float[np.ndarray, "rows state"]) -> Float[np.ndarray, "distinct state"]:
    """The distinct rows."""
    return np.unique(_keys(states)).view(np.float32).reshape(-1, states.shape[1])


def are_among(
    states: Float[np.ndarray, "rows state"], listed: Float[np.ndarray, "listed state"]
) -> Bool[np.ndarray, " rows"]:
    """Which rows are in a list of rows."""
    return np.isin(_keys(states), _keys(listed))


def count(
    states: Float[np.ndarray, "rows state"], listed: Float[np.ndarray, "listed state"]
) -> Float[np.ndarray, " listed"]:
    """How many rows equal each row of a list; the count is divided evenly among equal rows of the list.

    Raises:
        MismatchError: a row is not in the list.
    """
    keys, place, copies = np.unique(_keys(listed), return_inverse=True, return_counts=True)
    seen, counts = np.unique(_keys(states), return_counts=True)
    where = np.searchsorted(keys, seen)
    if np.any(keys[np.minimum(where, len(keys) - 1)] != seen):
        raise MismatchError("The data hold a state that the list of states lacks; they are of different problems.")
    totals = np.zeros(len(keys))
    totals[where] = counts
    return (totals / copies)[place]


def _keys(states: Float[np.ndarray, "rows state"]) -> np.ndarray:
    """Each row as one value, which can be sorted: its bytes; −0 counts as 0."""
    states = np.ascontiguousarray(states + np.float32(0), dtype=np.float32)
    return states.view(f"V{states.shape[1] * states.itemsize}")[:, 0]
