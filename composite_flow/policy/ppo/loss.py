"""The losses of proximal policy optimisation (Schulman et al. 2017), as Yu et al. 2022 use them."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def policy_losses(
    log_ratio: Float[Array, "*steps"], advantages: Float[Array, "*steps"], clip: float
) -> Float[Array, "*steps"]:
    """−min(ρ A, clip(ρ, 1 − ε, 1 + ε) A), with ρ = π_new(a) / π_old(a).

    Args:
        log_ratio: log ρ.
        advantages: A.
        clip: ε.
    """
    ratio = jnp.exp(log_ratio)
    return -jnp.minimum(ratio * advantages, jnp.clip(ratio, 1.0 - clip, 1.0 + clip) * advantages)


def value_losses(
    values: Float[Array, "*steps"],
    old_values: Float[Array, "*steps"],
    targets: Float[Array, "*steps"],
    clip: float,
    huber: float,
) -> Float[Array, "*steps"]:
    """max(h(R − V), h(R − V_old − clip(V − V_old, −ε, ε))), the larger of a free and a clipped step's loss.

    Args:
        values: V, in the critic's units, as are all here.
        old_values: V_old, when the steps were taken.
        targets: R.
        clip: ε.
        huber: where h turns from square to linear.
    """
    clipped = old_values + jnp.clip(values - old_values, -clip, clip)
    return jnp.maximum(huber_losses(targets - values, huber), huber_losses(targets - clipped, huber))


def huber_losses(errors: Float[Array, "*steps"], limit: float) -> Float[Array, "*steps"]:
    """e²/2 up to |e| = limit, limit · (|e| − limit/2) beyond."""
    size = jnp.abs(errors)
    return jnp.where(size <= limit, errors**2 / 2.0, limit * (size - limit / 2.0))


def divergences(log_ratio: Float[Array, "*steps"]) -> Float[Array, "*steps"]:
    """ρ − 1 − log ρ: never negative, and in the mean over π_old's actions the divergence KL(π_old ‖ π_new)."""
    return jnp.exp(log_ratio) - 1.0 - log_ratio


def weighted_mean(numbers: Float[Array, "*steps"], weights: Float[Array, "*steps"]) -> Float[Array, ""]:
    """Mean by weight; zero where all weights are."""
    return jnp.sum(numbers * weights) / jnp.maximum(jnp.sum(weights), 1.0)
