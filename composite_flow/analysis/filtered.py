"""What a filter knows at single steps of a dataset: it follows their episodes from the first step on."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.data.dataset import HistoryDataset
from composite_flow.fusion.over_time import TeamFilter
from composite_flow.fusion.over_time.episode import filtered_means

_AT_ONCE = 32  # episodes


def filtered_at(
    team_filter: TeamFilter, dataset: HistoryDataset, steps: Int[np.ndarray, " joint"], *, key: PRNGKeyArray
) -> Float[Array, "joint state"]:
    """The scaled means of whole teams at these steps, in their order.

    Args:
        team_filter: that was learned.
        dataset: of the episodes.
        steps: of the dataset.
        key: draws the orders in which chains go round.
    """
    windows, steps = dataset.windows, np.asarray(steps)
    starts = np.asarray(windows.starts)[steps]
    begins, row = np.unique(starts, return_inverse=True)
    length = int((steps - starts).max()) + 1
    found = []
    for part in range(0, len(begins), _AT_ONCE):
        first = begins[part : part + _AT_ONCE]
        grid = np.minimum(first[:, None] + np.arange(length)[None], windows.num_steps - 1)
        grid = np.pad(grid, ((0, _AT_ONCE - len(first)), (0, 0)), mode="edge")  # one size, compiled once
        histories = windows.joint(jnp.asarray(grid.reshape(-1), jnp.int32)).histories
        histories = histories.reshape(*grid.shape, *histories.shape[1:])
        heard, key_part = jnp.ones(histories.shape[:3], bool), jax.random.fold_in(key, part)
        found.append(filtered_means(team_filter, histories, heard, key_part)[: len(first)])
    return jnp.concatenate(found)[row, steps - starts]
