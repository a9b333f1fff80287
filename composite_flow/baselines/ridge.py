"""Ridge regression of the state on histories, in closed form.

    W, b minimise Σ_t ‖s_t − b − x_t W‖² + α ‖W‖²:
    W = (X̃ᵀX̃ + α I)⁻¹ X̃ᵀS̃,    b = s̄ − x̄ W,    X̃ and S̃ with their means taken away

Everything but the data is in float64. The sums over time steps are formed once, in blocks; regressions on some of the
columns, such as those of one agent's history, and with several penalties are solved from the same sums.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from composite_flow.errors import InputError

Rows = Float[np.ndarray, "rows inputs"]
States = Float[np.ndarray, "rows state"]


@dataclass(frozen=True, eq=False)
class Moments:
    """What a linear regression needs of its data.

    Attributes:
        mean_inputs, mean_states: x̄ and s̄.
        gram: X̃ᵀX̃.
        cross: X̃ᵀS̃.
    """

    mean_inputs: Float[np.ndarray, " inputs"]
    mean_states: Float[np.ndarray, " state"]
    gram: Float[np.ndarray, "inputs inputs"]
    cross: Float[np.ndarray, "inputs state"]

    @classmethod
    def of(cls, blocks: Iterable[tuple[Rows, States]]) -> "Moments":
        """From blocks of rows (inputs, states).

        Raises:
            InputError: there are no rows.
        """
        count = 0
        inputs_sum = states_sum = gram = cross = np.zeros(())
        for inputs, states in blocks:
            x, s = np.asarray(inputs, np.float64), np.asarray(states, np.float64)
            count, inputs_sum, states_sum = count + len(x), inputs_sum + x.sum(axis=0), states_sum + s.sum(axis=0)
            gram, cross = gram + x.T @ x, cross + x.T @ s
        if not count:
            raise InputError("A regression needs at least one row.")
        mean_inputs, mean_states = inputs_sum / count, states_sum / count
        centred = gram - count * np.outer(mean_inputs, mean_inputs), cross - count * np.outer(mean_inputs, mean_states)
        return cls(mean_inputs, mean_states, *centred)

    def part(self, columns: slice | Int[np.ndarray, " part"]) -> "Moments":
        """Of some columns of the inputs alone."""
        rows = self.gram[columns]
        return Moments(self.mean_inputs[columns], self.mean_states, rows[:, columns], self.cross[columns])


@dataclass(frozen=True, eq=False)
class RidgeRegression:
    """A linear estimate of the state.

    Attributes:
        weights: W.
        offset: b.
        penalty: α.
    """

    weights: Float[np.ndarray, "inputs state"]
    offset: Float[np.ndarray, " state"]
    penalty: float

    def __call__(self, inputs: Rows) -> States:
        """b + x W of each row."""
        return np.asarray(inputs, np.float64) @ self.weights + self.offset[None]

    @property
    def num_parameters(self) -> int:
        """Numbers in W and b."""
        return self.weights.size + self.offset.size


def ridge(moments: Moments, penalty: float) -> RidgeRegression:
    """The regression with this penalty.

    Raises:
        InputError: the penalty is not positive; without one, constant columns leave W undetermined.
    """
    from scipy import linalg  # slow to import

    if not penalty > 0:
        raise InputError(f"The penalty of ridge regression must be positive, not {penalty}.")
    regular = moments.gram + penalty * np.eye(len(moments.gram))
    weights = linalg.solve(regular, moments.cross, assume_a="pos")
    return RidgeRegression(weights, moments.mean_states - moments.mean_inputs @ weights, float(penalty))


def best_ridge(moments: Moments, penalties: Sequence[float], inputs: Rows, states: States) -> RidgeRegression:
    """The regression whose penalty errs least on these rows, which are not the moments' own."""
    found = [ridge(moments, penalty) for penalty in penalties]
    return min(found, key=lambda one: float(np.mean((one(inputs) - states) ** 2)))
