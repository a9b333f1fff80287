"""Ridge regression: the best linear estimate of the state from histories, in closed form.

    ŝ = s̄ + (x − x̄) W,      W = argmin Σ ‖s − ŝ‖² / N + α Σ_j v_j ‖W_j‖²,      v_j the variance of column j

from the histories of all agents side by side, which shows them to each other, or from each agent's own. α is chosen on
validation data. Columns that do not vary in training, such as who an agent is, are not read.

Cost: the moments of N training steps, N · columns² products, and for each α a system of as many equations as columns.
"""

from collections.abc import Iterator

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int

from composite_flow.data.dataset import HistoryDataset
from composite_flow.errors import TooLargeError

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
MOST_COLUMNS = 10_000
_MOST_STEPS, _MOST_PRODUCTS, _MOST_JUDGED, _AT_ONCE = 65_536, 1e12, 4096, 2048

Steps = Int[np.ndarray, " steps"]


class Ridge(eqx.Module):
    """The estimates of one linear map of all histories, or of one for each agent: `groups` is 1 or `agents`.

    Attributes:
        centre: x̄.
        weights: W.
        mean: s̄.
        penalty: α.
    """

    centre: Float[np.ndarray, "groups columns"]
    weights: Float[np.ndarray, "groups columns state"]
    mean: Float[np.ndarray, " state"]
    penalty: float = eqx.field(static=True)

    def __call__(self, columns: Float[np.ndarray, "steps groups columns"]) -> Float[np.ndarray, "steps groups state"]:
        """ŝ of each step, by each map."""
        centred = np.swapaxes(columns - self.centre[None], 0, 1)
        return self.mean[None, None] + np.swapaxes(centred @ self.weights, 0, 1)

    def estimates(self, dataset: HistoryDataset, steps: Steps) -> Float[np.ndarray, "steps groups state"]:
        """ŝ at steps of a dataset, scaled."""
        together = len(self.centre) == 1
        return np.concatenate([self(columns) for columns, _ in _blocks(dataset, steps, together)])


class _Moments(eqx.Module):
    """Means of training steps, and the centred second moments that W needs."""

    centre: Float[np.ndarray, "groups columns"]
    mean: Float[np.ndarray, " state"]
    products: Float[np.ndarray, "groups columns columns"]
    with_state: Float[np.ndarray, "groups columns state"]

    def solved(self, penalty: float) -> Ridge:
        """The minimum for this α."""
        variance = np.einsum("gii->gi", self.products)
        varies = variance > 1e-24 * self.centre**2  # rounding leaves a little where a column is constant
        scale = np.sqrt(np.where(varies, variance, np.inf))
        ridge = penalty * np.eye(scale.shape[1])[None]
        correlation = self.products / scale[:, :, None] / scale[:, None, :]
        weights = np.linalg.solve(correlation + ridge, self.with_state / scale[:, :, None]) / scale[:, :, None]
        return Ridge(self.centre, weights, self.mean, penalty)


def fit_ridge(train: HistoryDataset, validation: HistoryDataset, *, together: bool) -> Ridge:
    """Fit the linear estimate whose penalty is best on validation steps.

    Args:
        train: up to 65,536 of its steps are used, drawn at random, always the same ones; fewer where columns are many.
        validation: up to 4,096 of its steps choose α.
        together: read all agents' histories at once; else each agent's own, by a map for each.

    Raises:
        TooLargeError: the histories have more than 10,000 columns.
    """
    num_agents, own = train.num_agents, train.layout.size - train.num_agents
    columns = num_agents * own if together else own
    if columns > MOST_COLUMNS:
        raise TooLargeError(f"Ridge regression is fitted to {MOST_COLUMNS:,} columns at most, not to {columns:,}.")
    groups = 1 if together else num_agents
    affordable = int(min(_MOST_STEPS, max(1.0, _MOST_PRODUCTS / (groups * columns**2))))
    moments = _moments(train, _some(train, affordable), together)
    judged = _some(validation, _MOST_JUDGED)
    found = [moments.solved(penalty) for penalty in PENALTIES]
    errors = np.zeros(len(found))
    for read, states in _blocks(validation, judged, together):
        errors += [np.sum((ridge(read) - states[:, None]) ** 2) for ridge in found]
    return found[int(np.argmin(errors))]


def _moments(train: HistoryDataset, steps: Steps, together: bool) -> _Moments:
    """The moments, gathered about the means of the first block so that they keep their digits."""
    first, first_states = next(_blocks(train, steps, together))
    origin, origin_states = first.mean(axis=0), first_states.mean(axis=0)
    totals = None
    for columns, states in _blocks(train, steps, together):
        x, s = np.swapaxes(columns - origin[None], 0, 1), states - origin_states[None]
        transposed = np.swapaxes(x, 1, 2)
        sums = x.sum(axis=1), s.sum(axis=0), transposed @ x, transposed @ s[None]
        totals = sums if totals is None else tuple(old + new for old, new in zip(totals, sums, strict=True))
    mean_x, mean_s, products, with_state = (total / len(steps) for total in totals or ())
    return _Moments(
        centre=origin + mean_x,
        mean=origin_states + mean_s,
        products=products - mean_x[:, :, None] * mean_x[:, None, :],
        with_state=with_state - mean_x[:, :, None] * mean_s[None, None],
    )


def _blocks(
    dataset: HistoryDataset, steps: Steps, together: bool
) -> Iterator[tuple[Float[np.ndarray, "block groups columns"], Float[np.ndarray, "block state"]]]:
    """Histories without identities, and scaled states, in float64."""
    for first in range(0, len(steps), _AT_ONCE):
        joint = dataset.joint(steps[first : first + _AT_ONCE])
        own = np.asarray(dataset.layout.encode_own(joint.structured), np.float64)
        yield own.reshape(len(own), 1, -1) if together else own, np.asarray(joint.states, np.float64)


def _some(dataset: HistoryDataset, most: int) -> Steps:
    """Steps drawn at random, always the same ones of a dataset; all where they are few."""
    steps = np.asarray(dataset.steps)
    return np.sort(np.random.default_rng(0).choice(steps, min(most, len(steps)), replace=False))
