"""Ridge regression: the best linear estimate of the state from histories, in closed form.

    ŝ = s̄ + (x − x̄) W,      W = argmin Σ ‖s − ŝ‖² / N + α Σ_j v_j ‖W_j‖²,      v_j the variance of column j

from the histories of all agents side by side, which shows them to each other, or from each agent's own. α is chosen on
validation data, of each feature by itself: a feature that nobody knows would choose it for all others. Columns that do
not vary in training, such as who an agent is, are not read.

Early in an episode histories hold fewer steps, and zeros in the place of those that they lack; one map for all would
have to serve both. `fit_ridge_by_age` has a map for each number of steps that are known.

Cost: the moments of N training steps, N · columns² products, and for each α a system of as many equations as columns.
"""

from collections.abc import Iterable, Iterator, Sequence

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float, Int

from composite_flow.data.dataset import HistoryDataset
from composite_flow.errors import InputError, TooLargeError

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
MOST_COLUMNS, MOST_STEPS = 10_000, 65_536
_MOST_PRODUCTS, _MOST_JUDGED, _AT_ONCE = 1e12, 4096, 2048

Steps = Int[np.ndarray, " steps"]
Columns = Float[np.ndarray, "rows groups columns"]
Targets = Float[np.ndarray, "rows groups_or_one targets"]


class Ridge(eqx.Module):
    """Linear estimates, a map of its own for each group; all histories together are one group.

    Attributes:
        centre: x̄.
        weights: W.
        mean: s̄, one for all groups where they have the same targets.
        penalties: α of each feature, by group; None of maps that were kept before these were chosen one by one.
    """

    centre: Float[np.ndarray, "groups columns"]
    weights: Float[np.ndarray, "groups columns targets"]
    mean: Float[np.ndarray, "groups_or_one targets"]
    penalties: Float[np.ndarray, "groups targets"] | None = None

    def __call__(self, columns: Columns) -> Float[np.ndarray, "rows groups targets"]:
        """ŝ of each row, by each map."""
        centred = np.swapaxes(columns - self.centre[None], 0, 1)
        return self.mean[None] + np.swapaxes(centred @ self.weights, 0, 1)

    def estimates(self, dataset: HistoryDataset, steps: Steps) -> Float[np.ndarray, "steps groups state"]:
        """ŝ at steps of a dataset, scaled."""
        together = len(self.centre) == 1
        return np.concatenate([self(columns) for columns, _ in _blocks(dataset, steps, together)])


class RidgeByAge(eqx.Module):
    """Linear estimates, with maps of their own for each number of steps that histories hold.

    Attributes:
        maps: of 1, 2, …, H known steps.
    """

    maps: tuple[Ridge, ...]

    def __call__(self, columns: Columns, known: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "rows groups targets"]:
        """ŝ of each row, by the maps of as many known steps as it has, 1 to H."""
        found = np.stack([ridge(columns) for ridge in self.maps])
        return found[known - 1, np.arange(len(columns))]

    def estimates(self, dataset: HistoryDataset, steps: Steps) -> Float[np.ndarray, "steps groups state"]:
        """ŝ at steps of a dataset, scaled."""
        known, together = known_steps(dataset, steps), len(self.maps[0].centre) == 1
        places = range(0, len(steps), _AT_ONCE)
        blocks = zip(places, _blocks(dataset, steps, together), strict=True)
        return np.concatenate([self(columns, known[first : first + len(columns)]) for first, (columns, _) in blocks])


class Moments(eqx.Module):
    """Means of training rows, and the centred second moments that W needs."""

    centre: Float[np.ndarray, "groups columns"]
    mean: Float[np.ndarray, "groups_or_one targets"]
    products: Float[np.ndarray, "groups columns columns"]
    with_targets: Float[np.ndarray, "groups columns targets"]

    @classmethod
    def of(cls, blocks: Iterable[tuple[Columns, Targets]]) -> "Moments":
        """From blocks of rows, gathered in float64 about the means of the first block so that they keep their digits.

        Raises:
            InputError: there are no rows.
        """
        totals, count, origin, origin_targets = None, 0, np.zeros(()), np.zeros(())
        for columns, targets in blocks:
            if totals is None:
                origin, origin_targets = columns.mean(axis=0, dtype=np.float64), targets.mean(axis=0, dtype=np.float64)
            x, s = (np.swapaxes(part, 0, 1) for part in (columns - origin[None], targets - origin_targets[None]))
            transposed = np.swapaxes(x, 1, 2)
            sums = x.sum(axis=1), s.sum(axis=1), transposed @ x, transposed @ s
            totals = sums if totals is None else tuple(old + new for old, new in zip(totals, sums, strict=True))
            count += len(columns)
        if totals is None:
            raise InputError("A regression needs at least one row.")
        mean_x, mean_s, products, with_targets = (total / count for total in totals)
        return cls(
            centre=origin + mean_x,
            mean=origin_targets + mean_s,
            products=products - mean_x[:, :, None] * mean_x[:, None, :],
            with_targets=with_targets - mean_x[:, :, None] * mean_s[:, None],
        )

    def solved(self, penalty: float) -> Ridge:
        """The minimum for this α."""
        variance = np.einsum("gii->gi", self.products)
        varies = variance > 1e-24 * self.centre**2  # rounding leaves a little where a column is constant
        scale = np.sqrt(np.where(varies, variance, np.inf))
        ridge = penalty * np.eye(scale.shape[1])[None]
        correlation = self.products / scale[:, :, None] / scale[:, None, :]
        weights = np.linalg.solve(correlation + ridge, self.with_targets / scale[:, :, None]) / scale[:, :, None]
        return Ridge(self.centre, weights, self.mean, np.full((len(weights), weights.shape[2]), penalty))


def best_ridge(moments: Moments, held_out: Iterable[tuple[Columns, Targets]]) -> Ridge:
    """The minimum for the α by which each feature errs least on held-out rows."""
    found = [moments.solved(penalty) for penalty in PENALTIES]
    chosen, weights = np.argmin(squared_errors(found, held_out), axis=0), found[0].weights
    for place, ridge in enumerate(found):
        weights = np.where((chosen == place)[:, None], ridge.weights, weights)
    return Ridge(moments.centre, weights, moments.mean, np.asarray(PENALTIES)[chosen])


def squared_errors(
    ridges: Sequence[Ridge], held_out: Iterable[tuple[Columns, Targets]]
) -> Float[np.ndarray, "ridges groups targets"]:
    """Of each ridge, group and feature the sum over held-out rows."""
    groups, _, features = ridges[0].weights.shape
    totals = np.zeros((len(ridges), groups, features))
    for columns, targets in held_out:
        totals += [np.sum((ridge(columns) - targets) ** 2, axis=0) for ridge in ridges]
    return totals


def best_of_each(own: Ridge, other: Ridge, own_is_better: Bool[np.ndarray, "groups targets"]) -> Ridge:
    """One map that estimates each feature as the better of two does."""
    weights = np.where(own_is_better[:, None], own.weights, other.weights)
    # what the other says at this centre, so that one centre serves both
    mean = np.where(own_is_better, own.mean, other(own.centre[None])[0])
    if own.penalties is None or other.penalties is None:
        return Ridge(own.centre, weights, mean)
    penalties = np.where(own_is_better, own.penalties, other.penalties)
    return Ridge(own.centre, weights, mean, penalties)


def fit_ridge(
    train: HistoryDataset, validation: HistoryDataset, *, together: bool, most_steps: int = MOST_STEPS
) -> Ridge:
    """Fit the linear estimate whose penalty is best on validation steps.

    Args:
        train: up to `most_steps` of its steps are used, drawn at random, always the same ones; fewer where columns are
            many.
        validation: up to 4,096 of its steps choose α.
        together: read all agents' histories at once; else each agent's own, by a map for each.
        most_steps: 65,536 by default.

    Raises:
        TooLargeError: the histories have more than 10,000 columns.
    """
    num_agents, own = train.num_agents, train.layout.size - train.num_agents
    columns = num_agents * own if together else own
    if columns > MOST_COLUMNS:
        raise TooLargeError(f"Ridge regression is fitted to {MOST_COLUMNS:,} columns at most, not to {columns:,}.")
    affordable = _affordable(most_steps, columns, 1 if together else num_agents)
    moments = Moments.of(_blocks(train, _some(train, affordable), together))
    return best_ridge(moments, _blocks(validation, _some(validation, _MOST_JUDGED), together))


def fit_ridge_by_age(
    train: HistoryDataset, validation: HistoryDataset, *, together: bool, most_steps: int = MOST_STEPS
) -> RidgeByAge:
    """Fit a map for each number of known steps; of each feature that of all steps stays where it errs less there.

    Arguments and errors as in `fit_ridge`.
    """
    common = fit_ridge(train, validation, together=together, most_steps=most_steps)
    if train.layout.length == 1:
        return RidgeByAge((common,))
    most = _affordable(most_steps, *common.centre.shape[::-1])
    steps, held_out = _some(train, most), _some(validation, _MOST_JUDGED)
    ages, held_out_ages = known_steps(train, steps), known_steps(validation, held_out)

    def of_age(age: int) -> Ridge:
        ours, judged = steps[ages == age], held_out[held_out_ages == age]
        if len(ours) < 2 or not len(judged):
            return common
        own = best_ridge(Moments.of(_blocks(train, ours, together)), _blocks(validation, judged, together))
        errors = squared_errors((own, common), _blocks(validation, judged, together))
        return best_of_each(own, common, errors[0] < errors[1])

    return RidgeByAge(tuple(of_age(age + 1) for age in range(train.layout.length)))


def _affordable(most_steps: int, columns: int, groups: int) -> int:
    """Training steps whose moments take no more than so many products."""
    return int(min(most_steps, max(1.0, _MOST_PRODUCTS / (groups * columns**2))))


def known_steps(dataset: HistoryDataset, steps: Steps) -> Int[np.ndarray, " steps"]:
    """How many steps the histories at these steps hold, 1 to H: as many as there were in the episode."""
    return np.minimum(np.asarray(steps) - np.asarray(dataset.windows.starts)[steps] + 1, dataset.layout.length)


def _blocks(dataset: HistoryDataset, steps: Steps, together: bool) -> Iterator[tuple[Columns, Targets]]:
    """Histories without identities, and scaled states, in float64."""
    for first in range(0, len(steps), _AT_ONCE):
        joint = dataset.joint(steps[first : first + _AT_ONCE])
        own = np.asarray(dataset.layout.encode_own(joint.structured), np.float64)
        yield own.reshape(len(own), 1, -1) if together else own, np.asarray(joint.states, np.float64)[:, None]


def _some(dataset: HistoryDataset, most: int) -> Steps:
    """Steps drawn at random, always the same ones of a dataset; all where they are few."""
    steps = np.asarray(dataset.steps)
    return np.sort(np.random.default_rng(0).choice(steps, min(most, len(steps)), replace=False))
