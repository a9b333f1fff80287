"""Choosing among available actions: π(a) ∝ exp(logit_a) on those, zero on all others."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray


def masked(logits: Float[Array, " actions"], available: Bool[Array, " actions"]) -> Float[Array, " actions"]:
    """The logits, −∞ where an action is not available."""
    return jnp.where(available, logits, -jnp.inf)


def choose(key: PRNGKeyArray, logits: Float[Array, " actions"], available: Bool[Array, " actions"]) -> Int[Array, ""]:
    """Draw an action from π."""
    return jax.random.categorical(key, masked(logits, available)).astype(jnp.int32)


def choose_best(logits: Float[Array, " actions"], available: Bool[Array, " actions"]) -> Int[Array, ""]:
    """The likeliest action; the first of equals."""
    return jnp.argmax(masked(logits, available)).astype(jnp.int32)


def log_probability(
    logits: Float[Array, " actions"], available: Bool[Array, " actions"], action: Int[Array, ""]
) -> Float[Array, ""]:
    """log π(a)."""
    logarithms = jax.nn.log_softmax(masked(logits, available))
    # A sum instead of an index, whose gradient would be a slow scatter.
    return jnp.sum(jnp.where(jnp.arange(len(logits)) == action, logarithms, 0.0))


def entropy(logits: Float[Array, " actions"], available: Bool[Array, " actions"]) -> Float[Array, ""]:
    """−Σ π log π over the available actions.

    The logarithms of zero are replaced before they are multiplied, as 0 · ∞ would also spoil the gradient.
    """
    logarithms = jax.nn.log_softmax(masked(logits, available))
    return -jnp.sum(jnp.exp(logarithms) * jnp.where(available, logarithms, 0.0))


def has_choice(available: Bool[Array, "*agents actions"]) -> Bool[Array, "*agents"]:
    """Whether there is more than one action to choose from."""
    return jnp.sum(available, axis=-1) > 1
