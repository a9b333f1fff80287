"""Apply a compiled function to any number of rows in batches, with bounded memory and few compilations."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from composite_flow.errors import InputError


def in_batches(function: Callable[..., Any], arrays: Sequence[Any], batch_size: int) -> Any:
    """Apply a function to batches of rows and collect what it returns, rows along the leading axis.

    Args:
        function: takes one batch of each array and treats its rows independently; compiled once for each size.
        arrays: arrays with the same number of rows, at least one row.
        batch_size: rows at a time. If there are fewer rows, they are padded to a power of two; otherwise the last
            batch is padded to the full size. Padding repeats the last row, and its results are dropped.

    Returns:
        The function's results, on the host.
    """
    count = len(arrays[0])
    batch_size = min(batch_size, 1 << (count - 1).bit_length())
    parts = []
    for rows, kept in padded_batches(count, batch_size):
        results = function(*(jnp.asarray(np.asarray(array)[rows]) for array in arrays))
        parts.append(jax.tree.map(lambda result, kept=kept: np.asarray(result)[:kept], results))
    return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)


def padded_batches(count: int, batch_size: int) -> Iterator[tuple[Int[np.ndarray, " batch"], int]]:
    """The rows of each batch and how many of them count: the last batch repeats its last row up to the full size."""
    for first in range(0, count, batch_size):
        yield np.minimum(np.arange(first, first + batch_size), count - 1), min(batch_size, count - first)


def numbered_parts(count: int, at_once: int) -> Iterator[tuple[int, tuple[Int[np.ndarray, " rows"], int]]]:
    """The numbered parts in which joint histories are computed, all of one size; InputError if there are none."""
    if not count:
        raise InputError("There is no joint history to infer a state from; give at least one.")
    return enumerate(padded_batches(count, min(at_once, count)))
