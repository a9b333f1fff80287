"""Samples of marginals: what answers alone say of each feature, without what features have to do with each other."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.fusion.features import FeatureTypes


def draw_marginals(
    mean: Float[Array, "joint state"],
    variance: Float[Array, "joint state"],
    types: FeatureTypes,
    num_samples: int,
    *,
    key: PRNGKeyArray,
) -> Float[Array, "joint {num_samples} state"]:
    """Every feature drawn by itself: numbers from Gaussians, binary features from coins, groups as one of k.

    Args:
        mean: fused means; probabilities where features are binary or of a group.
        variance: of numbers; not read elsewhere.
        types: of the features.
        num_samples: of each mean.
        key: random key.
    """
    shape = len(mean), num_samples
    key_coin, *keys = jax.random.split(key, 1 + len(types.groups))
    normal = jax.random.normal(jax.random.fold_in(key_coin, 0), (*shape, types.size), mean.dtype)
    coins = jax.random.bernoulli(key_coin, jnp.clip(mean, 0, 1)[:, None], (*shape, types.size))
    numbers = mean[:, None] + jnp.sqrt(variance)[:, None] * normal
    drawn = jnp.where(types.is_number, numbers, coins.astype(mean.dtype))
    for key_group, (first, stop) in zip(keys, types.groups, strict=True):
        logits = jnp.log(jnp.clip(mean[:, None, first:stop], 0))
        chosen = jax.random.categorical(key_group, logits, axis=-1, shape=shape)
        drawn = drawn.at[..., first:stop].set(jax.nn.one_hot(chosen, stop - first, dtype=mean.dtype))
    return drawn
