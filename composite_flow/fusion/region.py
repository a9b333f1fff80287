"""Regions: a box that holds the whole state, numbers and all other features at once.

    numbers            ŝ_k ± r_k √variance_k
    binary features    every value with −log p ≤ r_k
    one of k           every one of them with −log p ≤ r

with r the reach of a calibration. What is likeliest is always in, so that no feature is left without a value. A
feature that is no number is decided where both bounds agree.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from composite_flow.data.scaling import Scaling
from composite_flow.fusion.answers import SMALLEST_FREQUENCY
from composite_flow.fusion.features import FeatureTypes

_ROUNDING = 1e-5  # of float32, where bounds are compared in the state's own units


class Region(eqx.Module):
    """Bounds of every feature, in the units of the estimate.

    Attributes:
        low, high: smallest and largest value; of a group's features 0 and 1 where they may and may not be the one.
    """

    low: Float[Array, "*batch state"]
    high: Float[Array, "*batch state"]

    def contains(self, states: Float[Array, "*batch state"]) -> Bool[Array, "*batch"]:
        """Whether whole states lie inside."""
        slack = _ROUNDING * jnp.maximum(jnp.abs(self.low), jnp.abs(self.high))
        return jnp.all((states >= self.low - slack) & (states <= self.high + slack), axis=-1)


def box(
    mean: Float[Array, "*batch state"],
    variance: Float[Array, "*batch state"],
    reach: Float[Array, "*batch state"],
    types: FeatureTypes,
    scaling: Scaling | None,
) -> Region:
    """The region of an estimate.

    Args:
        mean, variance: of a `TeamEstimate`.
        reach: r, of `Calibration.region_reach`.
        types: of the features.
        scaling: of the states; None where mean and variance are scaled.
    """
    spread = reach * jnp.sqrt(variance)
    scaling = Scaling.identity(mean.shape[-1]) if scaling is None else scaling
    low, high = _choices(scaling.scale(mean), reach, types)
    is_number = jnp.broadcast_to(jnp.asarray(types.is_number), mean.shape)
    return Region(
        low=jnp.where(is_number, mean - spread, scaling.unscale(low)),
        high=jnp.where(is_number, mean + spread, scaling.unscale(high)),
    )


def _choices(probability: Array, reach: Array, types: FeatureTypes) -> tuple[Array, Array]:
    """Scaled bounds of features that are no numbers."""
    probability = jnp.clip(probability, SMALLEST_FREQUENCY, 1.0 - SMALLEST_FREQUENCY)
    likely = probability > 0.5
    one, zero = (-jnp.log(probability) <= reach) | likely, (-jnp.log1p(-probability) <= reach) | ~likely
    low, high = 1.0 - zero.astype(probability.dtype), one.astype(probability.dtype)
    for first, stop in types.groups:
        chances = probability[..., first:stop]
        likeliest = jax.nn.one_hot(jnp.argmax(chances, axis=-1), stop - first, dtype=bool)
        allowed = (-jnp.log(chances) <= reach[..., first:stop]) | likeliest
        alone = allowed & (jnp.sum(allowed, axis=-1, keepdims=True) == 1)
        low = low.at[..., first:stop].set(alone.astype(low.dtype))
        high = high.at[..., first:stop].set(allowed.astype(high.dtype))
    return low, high
