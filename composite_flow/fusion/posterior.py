"""What answers that were added up come to: a mean and a variance of each feature."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from composite_flow.fusion.answers import Answer, Prior

_LEAST_SHARE = 1e-6  # of a variance's share of the prior's


def posterior(prior: Prior, total: Answer) -> tuple[Float[Array, " state"], Float[Array, " state"]]:
    """Mean and variance of each feature, given the sum of the answers."""
    is_number = jnp.asarray(prior.types.is_number)
    number = prior.mean + total.evidence / (prior.precision + total.weight)
    probability = prior.types.probabilities(prior.logits + total.evidence)
    mean = jnp.where(is_number, number, probability)
    spread = jnp.where(is_number, 1.0 / (prior.precision + total.precision), mean * (1.0 - mean))
    return mean, spread


def beside_prior(
    prior: Prior, mean: Float[Array, " state"], variance: Float[Array, " state"]
) -> tuple[Float[Array, " state"], Float[Array, " state"]]:
    """How far each mean lies from the prior's in its deviations, and the log of the variance's share of the prior's."""
    share = jnp.maximum(variance * prior.precision, _LEAST_SHARE)
    return (mean - prior.mean) * jnp.sqrt(prior.precision), jnp.log(share)
