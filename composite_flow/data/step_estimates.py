"""What a team infers at the steps of a dataset, part by part, as `Estimates` that can be written."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from composite_flow.data.dataset import HistoryDataset
from composite_flow.files.estimates import Estimates
from composite_flow.numerics.batches import numbered_parts

AT_ONCE = 256  # joint histories of a part

Inferred = tuple[Float[Array, "joint state"], Mapping[str, Array]]
"""States in their own units, and by the names of `Estimates` what is kept beside them."""


def estimates_of_steps(
    dataset: HistoryDataset,
    steps: Int[np.ndarray, " joint"],
    infer: Callable[[Float[Array, "joint agents history"], int], Inferred],
    state_names: Sequence[str],
    about: Mapping[str, Any] | None,
) -> Iterator[Estimates]:
    """Infer the states at some steps of a dataset, 256 of them at a time.

    Args:
        dataset: of the joint histories.
        steps: such as `dataset.steps`.
        infer: returns what is inferred from joint histories, from these and the number of the part.
        state_names: a name for each feature.
        about: what is kept with the estimates; JSON-able.
    """
    episodes = np.asarray(dataset.windows.episode_of_step)
    for number, (rows, kept) in numbered_parts(len(steps), AT_ONCE):
        found = infer(dataset.joint(steps[rows]).histories, number)
        states, arrays = jax.tree.map(lambda leaf, kept=kept: np.asarray(leaf[:kept]), found)
        now = steps[rows[:kept]]
        yield Estimates(states, now, episodes[now], tuple(state_names), dict(about or {}), **arrays)
