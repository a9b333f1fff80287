"""Jacobians of a ReLU network at many points, computed from its active units alone.

    J_f(y | τ)ᵀ = W_1 D_1 W_2 D_2 ⋯ D_L W,     D_l = diag(x_l > 0)                                   (Eq. 9)
    (∂f/∂τ)ᵀ = Σ_l V_l D_l W_{l+1} D_{l+1} ⋯ D_L W      over the layers l that see the history

A unit that is active at no point of a group takes no part in any of its Jacobians; left out with its rows and columns,
the products shrink to the share of weights that remain, and stay exact. Trained networks are far sparser than
untrained ones: at the fixed points of one of width 256 on a 5×5 sensor network, 3% to 47% of a layer's units were
active, 21% on average. The 25 agents of one state had so many active units in common that 8% of the products'
operations were left; for 200 points of eight states it was 43%. So points that belong together, such as those of one
state, should stand next to each other.

Pairs with the same active units have the same Jacobian, whatever their histories and points; it is computed once.
Samples of a composite flow that have settled at one state are such pairs, agent by agent.

Sizes depend on the data, so NumPy multiplies on the host, and only the search for active units is compiled. Where no
unit can be left out, the cost is that of `state_jacobian`.
"""

import functools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from composite_flow.denoiser import Denoiser
from composite_flow.errors import InputError
from composite_flow.network import Network
from composite_flow.numerics.batches import in_batches
from composite_flow.validation import check_counts, check_histories, check_one_per_history

_PAIRS_AT_ONCE = 1024  # pairs whose active units are found in one call: 6 MiB at width 1024
_LEAST_WIDTH = 256  # for narrower networks, choosing the units takes longer than all products


def can_use_active_units(denoiser: Denoiser) -> bool:
    """Whether `active_jacobians` is the faster method: for wide ReLU networks on the processor.

    On an accelerator all products take less time than the host needs to find the units that can be left out.
    """
    suits = isinstance(denoiser, Network) and denoiser.activation == "relu" and denoiser.width >= _LEAST_WIDTH
    return suits and jax.default_backend() == "cpu"


def active_jacobians(
    network: Network,
    histories: Float[Array, "pairs history"],
    points: Float[Array, "points state"],
    *,
    group_size: int = 10,
) -> Float[np.ndarray, "pairs state state"]:
    """The Jacobians ∂f/∂y of many pairs, the same as `state_jacobian` up to the rounding of float32.

    Args:
        network: f; its activation must be "relu".
        histories: τ of each pair, encoded.
        points: y of each pair, scaled.
        group_size: pairs whose products are computed together. In a larger group each operation is faster, but fewer
            units can be left out.

    Returns:
        Matrices with a row for each output feature and a column for each input feature.

    Raises:
        InputError: the activation is another one, or the points do not fit to the histories.

    Source: Eq. 9.
    """
    return _jacobians(network, histories, points, group_size, with_history=False)[1]


def active_joint_jacobians(
    network: Network,
    histories: Float[Array, "pairs history"],
    points: Float[Array, "points state"],
    *,
    group_size: int = 10,
) -> tuple[Float[np.ndarray, "pairs state history"], Float[np.ndarray, "pairs state state"]]:
    """∂f/∂τ and ∂f/∂y of many pairs, the same as `joint_jacobian`; arguments and errors as in `active_jacobians`."""
    return _jacobians(network, histories, points, group_size, with_history=True)


def _jacobians(network: Network, histories, points, group_size: int, with_history: bool):
    """Both Jacobians; without `with_history` the first one has no columns."""
    if network.activation != "relu":
        raise InputError(f"Units of {network.activation!r} are never inactive; differentiate this one (`jacobian`).")
    histories = check_histories(network, histories, axes=2)
    check_counts(group_size=group_size)
    check_one_per_history(network, histories, points, "Points")
    patterns = _patterns(network, histories, points)
    rows, place = _distinct(patterns)
    weights = [np.asarray(matrix) for matrix in network.state_weights]
    from_history = _history_weights(network) if with_history else []

    def jacobians(first: int) -> tuple[np.ndarray, np.ndarray]:
        group = patterns[rows[first : first + group_size]]
        active = np.unpackbits(group, axis=-1, count=network.width).astype(bool)
        return _group_jacobians(weights, from_history, np.swapaxes(active, 0, 1))

    # the products are too small to be divided among cores, so each core computes groups of its own
    with _blas().limit(limits=1), ThreadPoolExecutor(os.cpu_count()) as pool:
        groups = list(pool.map(jacobians, range(0, len(rows), group_size)))
    in_history, in_state = (np.concatenate(parts)[place] for parts in zip(*groups, strict=True))
    return in_history, in_state


def _history_weights(network: Network) -> list[np.ndarray]:
    """∂c_l/∂τ of each layer that sees the history (history, width), the scaling of its columns included."""
    span = np.asarray(network.history_maximum - network.history_minimum)
    return np.split(np.asarray(network.history_weights) / span[:, None], network.num_conditioned, axis=1)


@functools.cache
def _blas():
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def _patterns(network, histories, points) -> UInt8[np.ndarray, "pairs layers bytes"]:
    """Each pair's active units, eight to a byte."""

    def packed(histories, points):
        return np.packbits(np.swapaxes(active_units(network, histories, points), 0, 1), axis=-1)

    return in_batches(packed, (histories, points), _PAIRS_AT_ONCE)


def _distinct(patterns: UInt8[np.ndarray, "pairs layers bytes"]) -> tuple[np.ndarray, np.ndarray]:
    """The first row of each distinct pattern, in order of appearance, and the place of every row's pattern."""
    _, first, inverse = np.unique(patterns.reshape(len(patterns), -1), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[inverse.ravel()]


@eqx.filter_jit
def active_units(
    network: Network, histories: Float[Array, "pairs history"], points: Float[Array, "pairs state"]
) -> Bool[Array, "layers pairs width"]:
    """Which hidden units let their input pass, x_l > 0; the derivative at 0 counts as 0, as JAX has it."""
    contexts, y, active = jax.vmap(network.condition)(histories), points, []
    for layer, weights in enumerate(network.state_weights[:-1]):
        bias = contexts[:, layer] if layer < network.num_conditioned else network.biases[layer][None]
        y = jax.nn.relu(y @ weights + bias)
        active.append(y > 0)
    return jnp.stack(active)


def _group_jacobians(
    weights: Sequence[np.ndarray], from_history: Sequence[np.ndarray], active: Bool[np.ndarray, "layers pairs width"]
) -> tuple[np.ndarray, np.ndarray]:
    """Carry all cotangents of a group back, last layer first, through the units that any of its pairs needs."""
    used = [np.flatnonzero(units.any(axis=0)) for units in active]
    pairs, features = active.shape[1], weights[-1].shape[1]
    cotangents = np.broadcast_to(weights[-1][used[-1]].T[None], (pairs, features, len(used[-1])))
    in_history = np.zeros((pairs * features, from_history[0].shape[0] if from_history else 0), np.float32)
    for layer in reversed(range(len(active))):
        units = used[layer]
        rows = (cotangents * active[layer][:, None, units]).reshape(pairs * features, -1)
        if layer < len(from_history):
            in_history += rows @ from_history[layer][:, units].T
        # whole rows of weights are taken first, since they are contiguous
        below = weights[layer][used[layer - 1]] if layer else weights[0]
        cotangents = (rows @ below.take(units, axis=1).T).reshape(pairs, features, -1)
    return in_history.reshape(pairs, features, -1), cotangents
