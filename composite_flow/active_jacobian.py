"""State Jacobians of many points of a ReLU network, by its active units alone.

    J_f(y | τ)ᵀ = W_1 D_1 W_2 D_2 ⋯ D_L W,     D_l = diag(x_l > 0)                                   (Eq. 9)

A unit that is active at no point of a group takes no part in any of its Jacobians; left out with its rows and columns,
the products shrink to the share of weights that remain, and stay exact. Trained networks are far sparser than
untrained ones: at the fixed points of one of width 256 on a 5×5 sensor network, 3% to 47% of a layer's units were
active, 21% on average; the 25 agents of one state shared so many that 8% of the products' operations were left, 43%
for 200 points of eight states. So give points that belong together, such as one state's, next to each other.

Pairs with the same active units have the same Jacobian, whatever their histories and points; it is computed once.
Samples of a composite flow that have settled at one state are such pairs, agent by agent.

Sizes depend on the data, so this cannot be compiled as a whole; each product is, for the few sizes that occur. Where
no unit can be left out it costs what `state_jacobian` does.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from composite_flow.denoiser import Denoiser
from composite_flow.errors import InputError
from composite_flow.network import Network
from composite_flow.validation import check_counts, check_histories

_PAIRS_AT_ONCE = 1024  # whose active units are found together: 6 MiB at width 1024
_LEAST_WIDTH = 256  # narrower networks are through before the units are chosen
_SIZES = 16  # sizes that a layer can shrink to: finer steps save little and compile more


def can_use_active_units(denoiser: Denoiser) -> bool:
    """Whether `active_jacobians` is the fast way: for ReLU networks wide enough to pay for it, on the processor.

    An accelerator has made all products before the host has found out which to leave out.
    """
    suits = isinstance(denoiser, Network) and denoiser.activation == "relu" and denoiser.width >= _LEAST_WIDTH
    return suits and jax.default_backend() == "cpu"


def active_jacobians(
    network: Network,
    histories: Float[Array, "pairs history"],
    points: Float[Array, "points state"],
    *,
    group_size: int = 25,
) -> Float[np.ndarray, "pairs state state"]:
    """The Jacobians ∂f/∂y of many pairs, the same as `state_jacobian` up to the rounding of float32.

    Args:
        network: f; its activation must be "relu".
        histories: τ of each pair, encoded.
        points: y of each pair, scaled.
        group_size: pairs that share their products; larger groups are faster products with fewer units left out.
            Memory: 2 · group_size · state · width numbers besides the result.

    Returns:
        Row: output feature, column: input feature.

    Raises:
        InputError: another activation, or the points do not fit to the histories.
    """
    if network.activation != "relu":
        raise InputError(f"Units of {network.activation!r} are never inactive; use `state_jacobian` for this network.")
    histories = check_histories(network, histories, axes=2)
    check_counts(group_size=group_size)
    if points.shape != (histories.shape[0], network.state_size):
        raise InputError(f"Points must have shape {(histories.shape[0], network.state_size)}, not {points.shape}.")
    patterns = _patterns(network, histories, points)
    rows, place = _distinct(patterns)
    jacobians = np.empty((len(rows), network.state_size, network.state_size), np.float32)
    for first in range(0, len(rows), group_size):
        # the last group is filled up with the last pattern, so that all have one size
        group = rows[np.minimum(np.arange(first, first + group_size), len(rows) - 1)]
        active = np.unpackbits(patterns[group], axis=-1, count=network.width).astype(bool)
        found = _group_jacobians(network, np.swapaxes(active, 0, 1))
        jacobians[first : first + group_size] = found[: len(rows) - first]
    return jacobians[place]


def _patterns(network, histories, points) -> UInt8[np.ndarray, "pairs layers bytes"]:
    """Each pair's active units, eight to a byte."""
    parts = []
    for first in range(0, len(points), _PAIRS_AT_ONCE):
        rows = np.minimum(np.arange(first, first + min(_PAIRS_AT_ONCE, len(points))), len(points) - 1)
        active = np.asarray(active_units(network, histories[rows], points[rows]))
        parts.append(np.packbits(np.swapaxes(active, 0, 1), axis=-1)[: len(points) - first])
    return np.concatenate(parts)


def _distinct(patterns: UInt8[np.ndarray, "pairs layers bytes"]) -> tuple[np.ndarray, np.ndarray]:
    """The rows that hold a pattern first, and for every row which of those it repeats; neighbours stay neighbours."""
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
    network: Network, active: Bool[np.ndarray, "layers pairs width"]
) -> Float[np.ndarray, "pairs state state"]:
    """All tangents of a group, through the units that any of its pairs needs."""
    used = _used_units(active, step=max(1, network.width // _SIZES))
    weights = network.state_weights
    tangents = _first(weights[0], used[0], active[0])
    for matrix, rows, columns, units in zip(weights[1:-1], used[:-1], used[1:], active[1:], strict=True):
        tangents = _through(tangents, matrix, rows, columns, units)
    return np.asarray(_last(tangents, weights[-1], used[-1]))


def _used_units(active: Bool[np.ndarray, "layers pairs width"], step: int) -> list[np.ndarray]:
    """Each layer's units that are active somewhere, filled up with inactive ones to a multiple of `step`.

    The few sizes are compiled once each; what fills them up is masked like any inactive unit.
    """
    somewhere = active.any(axis=1)
    counts = -(-np.maximum(somewhere.sum(axis=1), 1) // step) * step
    ranked = np.argsort(~somewhere, axis=1, kind="stable")
    return [np.sort(units[:count]) for units, count in zip(ranked, counts, strict=True)]


@jax.jit
def _first(weights, columns, active):
    """Tangents (pairs, input features, units) after the first layer."""
    return jnp.where(active[:, None, columns], weights[None, :, columns], 0.0)


@jax.jit
def _through(tangents, weights, rows, columns, active):
    """The same after the next layer; whole rows of weights are taken first, they are contiguous."""
    pairs, features, _ = tangents.shape
    images = tangents.reshape(pairs * features, -1) @ weights[rows][:, columns]
    return jnp.where(active[:, None, columns], images.reshape(pairs, features, -1), 0.0)


@jax.jit
def _last(tangents, weights, rows):
    """The Jacobians (pairs, output features, input features)."""
    pairs, features, _ = tangents.shape
    images = tangents.reshape(pairs * features, -1) @ weights[rows]
    return jnp.swapaxes(images.reshape(pairs, features, -1), 1, 2)
