"""Ranges of training data: of all of their steps and of no others, read block by block."""

from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from composite_flow.data.precision import outlying
from composite_flow.data.scaling import Scaling
from composite_flow.data.windows import Windows

_SAMPLE = 65_536  # rows from which quantiles are taken
_BLOCK_BYTES = 2**26


def measured_scaling(windows: Windows, steps: Int[np.ndarray, " steps"]) -> Scaling | None:
    """The scaling by the states of these steps: by their range or by quantiles, as the present one; None if given."""
    if windows.scaling.by == "given":
        return None
    if windows.scaling.by == "quantiles":
        some = steps[:: max(1, len(steps) // _SAMPLE)]
        found = Scaling.from_quantiles(np.concatenate(list(windows.own_states_of(some))))
    else:
        ends = [(block.min(axis=0), block.max(axis=0)) for block in windows.own_states_of(steps)]
        low, high = np.min([low for low, _ in ends], axis=0), np.max([high for _, high in ends], axis=0)
        found = Scaling.of_limits(low, high, "range")
    return found.with_types(windows.declared_types)


def history_range(
    windows: Windows, steps: Int[np.ndarray, " steps"]
) -> tuple[Float[Array, " history"], Float[Array, " history"]]:
    """The smallest and largest value of each history column at these steps, of agents that are there.

    The same for observations of all ages; those before the present one are also 0, where they are masked. Numbers among
    actions likewise; all other columns lie in [0, 1].
    """
    layout, columns = windows.layout, windows.layout.parts
    low, high = np.zeros(layout.size, np.float32), np.ones(layout.size, np.float32)
    seen, acted = _range(windows, steps, "observations"), _range(windows, steps, "actions")
    assert seen is not None, "observations have features"
    for limits, limit, bound in ((low, 0, np.minimum), (high, 1, np.maximum)):
        rows = np.repeat(seen[limit][None], layout.length, axis=0)
        rows[:-1] = bound(rows[:-1], 0)
        limits[columns["observations"]] = rows.reshape(-1)
        one = _of_actions(layout.choices, layout.num_actions, limit, None if acted is None else acted[limit])
        limits[columns["actions"]] = np.tile(one, layout.length - 1)
    return jnp.asarray(low), jnp.asarray(high)


def outlying_features(
    windows: Windows, steps: Int[np.ndarray, " steps"], state_names: Sequence[str]
) -> tuple[str, ...]:
    """Features of states and observations whose range is more than a hundred times that of the middle 99%."""
    some = steps[:: max(1, len(steps) * windows.num_agents // _SAMPLE)]
    states = np.concatenate(list(windows.own_states_of(steps[:: max(1, len(steps) // _SAMPLE)])))
    seen = np.concatenate(list(_blocks(windows, some, "observations")))
    names = windows.layout.observation_names or tuple(f"observation {k}" for k in range(seen.shape[1]))
    found = [name for name, is_out in zip(state_names, outlying(states), strict=True) if is_out]
    return (*found, *(name for name, is_out in zip(names, outlying(seen), strict=True) if is_out))


def _of_actions(choices, num_actions: int, limit: int, found: np.ndarray | None) -> np.ndarray:
    """The limit of each column of an action."""
    limits, place = np.full(num_actions, float(limit)), 0
    for component, options in enumerate(choices or ()):
        if not options and found is not None:
            limits[place] = (np.minimum, np.maximum)[limit](found[component], 0)
        place += max(1, options)
    return limits


def _range(windows: Windows, steps: Int[np.ndarray, " steps"], name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Smallest and largest value of each feature; None where an action is one choice, or has no parts."""
    shape = getattr(windows, name).shape
    if len(shape) < 3 or shape[2] == 0:
        return None
    ends = [(block.min(axis=0), block.max(axis=0)) for block in _blocks(windows, steps, name) if len(block)]
    return np.min([low for low, _ in ends], axis=0), np.max([high for _, high in ends], axis=0)


def _blocks(windows: Windows, steps: Int[np.ndarray, " steps"], name: str) -> Iterator[np.ndarray]:
    """The values of agents that are there, rows of features, block by block."""
    array, alive = windows.on_host(name), windows.on_host("alive")
    rows = max(1, _BLOCK_BYTES // (4 * int(np.prod(array.shape[1:]))))
    for first in range(0, len(steps), rows):
        part = steps[first : first + rows]
        yield array[part].reshape(-1, array.shape[2]) if alive is None else array[part][alive[part]]
