"""Neighbourhoods of fixed points: pairs whose Jacobians lie within ε of an anchor's (Definition 5).

    M_ε = {(τ', s') : ‖J_f(τ, y*) − J_f(τ', y*')‖_F ≤ ε}

Distances are computed on the host in float64.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Array, Bool, Float

from composite_flow.errors import InputError

QUANTILES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of the pairs that lie within ε of an anchor."""

_SLACK = 1e-6  # float32 Jacobians differ by about this much where they should be equal; ties belong to M_ε
_CHUNK_NUMBERS = 2**23  # distances held at a time: 64 MiB


def jacobian_distances(
    jacobians: Float[Array | np.ndarray, "pairs state state"], anchor: Float[Array | np.ndarray, "state state"]
) -> Float[np.ndarray, " pairs"]:
    """How far each pair's Jacobian lies from the anchor's, ‖J − J'‖_F.

    Args:
        jacobians: J_f at each pair's fixed point.
        anchor: J_f at the anchor's fixed point.

    Returns:
        The distances; infinite where a Jacobian is not finite.

    Source: Definition 5.
    """
    both = np.concatenate([np.asarray(anchor)[None], np.asarray(jacobians)])
    return _Distances(both).to(np.array([0]))[0, 1:]


def neighbours(distances: Float[np.ndarray, "*batch"], epsilon: float) -> Bool[np.ndarray, "*batch"]:
    """Which pairs belong to M_ε, ties included up to the rounding of float32 Jacobians.

    Source: Definition 5.
    """
    return distances <= epsilon_with_ties(epsilon)


def smallest_epsilon(distances: Float[np.ndarray, "*batch pairs"], rank_tau: int) -> Float[np.ndarray, "*batch"]:
    """The smallest ε that leaves at least 2 rank(Σ_τ) neighbours, or all pairs where there are fewer."""
    return epsilons_at_quantiles(distances, rank_tau, (0.0,))[..., 0]


def epsilons_at_quantiles(
    distances: Float[np.ndarray, "*batch pairs"], rank_tau: int, quantiles: Sequence[float] = QUANTILES
) -> Float[np.ndarray, "*batch epsilons"]:
    """For each share, the ε for which M_ε holds that share of the pairs, but never fewer than 2 rank(Σ_τ) pairs.

    Args:
        distances: the pairs' distances to each anchor, from `jacobian_distances`; infinite ones are never reached.
        rank_tau: rank of Σ_τ over all pairs, which no M_ε exceeds (`surrogate.history_rank`).
        quantiles: shares between 0 and 1.

    Returns:
        Values of ε that are distances of pairs, hence finite; the smallest is the anchor's distance to itself, 0.

    Raises:
        InputError: a share lies outside [0, 1], or there is none.
    """
    shares = np.asarray(quantiles, np.float64)
    if shares.ndim != 1 or not shares.size or not np.all((shares >= 0) & (shares <= 1)):
        raise InputError(f"Quantiles must be one or more shares between 0 and 1, not {tuple(quantiles)}.")
    counts = np.maximum(np.ceil(shares * distances.shape[-1]).astype(int), max(1, 2 * rank_tau))
    reachable = np.maximum(np.sum(np.isfinite(distances), axis=-1, keepdims=True), 1)
    return np.take_along_axis(np.sort(distances, axis=-1), np.minimum(counts, reachable) - 1, axis=-1)


def distances_in_chunks(jacobians, anchors: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """A few anchors at a time, each time with the distances of all pairs to them."""
    distances, step = _Distances(jacobians), max(1, _CHUNK_NUMBERS // len(jacobians))
    for first in range(0, len(anchors), step):
        yield slice(first, first + step), distances.to(anchors[first : first + step])


def epsilon_with_ties(epsilon):
    """ε, a little enlarged to allow for the rounding of float32 Jacobians."""
    return epsilon * (1.0 + _SLACK) + _SLACK


class _Distances:
    """Frobenius distances between many Jacobians as one matrix product, in float64.

    ‖a − b‖² = ‖a‖² + ‖b‖² − 2⟨a, b⟩ loses about 1e-16 ‖a‖², so a distance is good to 1e-8 ‖a‖: float32's own
    rounding. Taking the mean Jacobian off first makes ‖a‖ small.
    """

    def __init__(self, jacobians):
        flat = np.asarray(jacobians, np.float64).reshape(len(jacobians), -1)
        self.finite: np.ndarray = np.all(np.isfinite(flat), axis=1)
        flat = np.where(self.finite[:, None], flat, 0.0)
        self.flat = flat - flat.sum(axis=0)[None] / max(1, self.finite.sum())
        self.squares = np.einsum("pk,pk->p", self.flat, self.flat)

    def to(self, anchors: np.ndarray) -> np.ndarray:
        """The distances (anchors, pairs) of all pairs to these rows."""
        products = self.flat[anchors] @ self.flat.T
        distances = np.sqrt(np.maximum(self.squares[anchors][:, None] + self.squares[None] - 2.0 * products, 0.0))
        distances[:, ~self.finite] = np.inf
        distances[~self.finite[anchors]] = np.inf
        distances[np.arange(len(anchors)), anchors] = 0.0
        return distances
