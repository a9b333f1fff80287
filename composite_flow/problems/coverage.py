"""Who covers which area: the tables that a sensor network is built from, and the checks of its arguments."""

from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike

from composite_flow.errors import InputError, TooLargeError

LISTING_LIMIT = 20_000


def coverage_of(num_agents: int, areas: list) -> np.ndarray:
    """Coverage matrix from each area's list of agents."""
    coverage = np.zeros((num_agents, len(areas)), dtype=bool)
    for area, agents in enumerate(areas):
        coverage[list(agents), area] = True
    return coverage


def padded_rows(table: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """Indices of the True entries of each row, padded to the longest row with the row's `fill`."""
    width = max(1, int(table.sum(axis=1).max()))
    rows = np.repeat(fill[:, None], width, axis=1).astype(np.int32)
    for row, entries in zip(rows, table, strict=True):
        found = np.flatnonzero(entries)
        row[: len(found)] = found
    return rows


def neighbour_table(coverage: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each area's neighbours, padded with the area itself, and how many they are."""
    shared = coverage.astype(np.float32)
    adjacent = shared.T @ shared > 0
    np.fill_diagonal(adjacent, False)
    return padded_rows(adjacent, fill=np.arange(len(adjacent))), adjacent.sum(axis=1).astype(np.int32)


def check_coverage(coverage: ArrayLike | Sequence) -> np.ndarray:
    """The coverage as a boolean matrix, or an InputError."""
    table = np.asarray(coverage)
    if table.ndim != 2 or table.dtype != bool:
        raise InputError(f"Coverage must be a boolean matrix (agents, areas), not {table.dtype} {table.shape}.")
    if not table.any():
        raise InputError("Coverage is empty: at least one agent must cover at least one area.")
    return table


def check_numbers(num_areas: int, num_targets: int, move_probability: float, num_steps: int) -> None:
    """Refuse numbers that are out of their range."""
    if num_targets < 1:
        raise InputError(f"A sensor network needs at least one target, not {num_targets}.")
    if num_targets > num_areas:
        raise InputError(f"{num_targets} targets do not fit into {num_areas} areas: at most one stands in each.")
    if not 0.0 <= move_probability <= 1.0:
        raise InputError(f"The probability of moving must lie in [0, 1], not at {move_probability}.")
    if num_steps < 1:
        raise InputError(f"An episode needs at least one step, not {num_steps}.")


def check_miss(miss: ArrayLike | Sequence, num_areas: int) -> np.ndarray:
    """One miss probability per area, or an InputError."""
    values = np.asarray(miss, dtype=np.float32)
    if values.shape not in ((), (num_areas,)):
        raise InputError(f"Give one miss probability, or one for each of the {num_areas} areas, not {values.shape}.")
    if not np.all((values >= 0.0) & (values <= 1.0)):
        raise InputError("Miss probabilities must lie in [0, 1].")
    return np.broadcast_to(values, (num_areas,)).copy()


def check_listing(num_states: int) -> None:
    """Refuse to list too many states."""
    if num_states > LISTING_LIMIT:
        raise TooLargeError(
            f"{num_states} states are too many to list (at most {LISTING_LIMIT}): use sampled methods, or fewer areas "
            "or targets."
        )
