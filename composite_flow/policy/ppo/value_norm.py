"""Running mean and variance of the returns, in whose units the critic predicts (ValueNorm of Yu et al. 2022).

    m ← β m + (1 − β) mean(R),    q ← β q + (1 − β) mean(R²),    c ← β c + (1 − β)
    mean = m / c,    variance = max(q / c − mean², 0.01)

All start at zero, and dividing by c takes the bias of that start away. Unlike PopArt, the critic's last layer is not
changed when the statistics move; β is so close to 1 that they move slowly.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

SMALLEST_WEIGHT = 1e-5
SMALLEST_VARIANCE = 1e-2


class ValueNorm(eqx.Module):
    """The statistics of the returns seen so far.

    Attributes:
        mean_sum: m, the decayed sum of means.
        square_sum: q, the decayed sum of mean squares.
        weight: c, the decayed sum of weights.
    """

    mean_sum: Float[Array, ""]
    square_sum: Float[Array, ""]
    weight: Float[Array, ""]

    @classmethod
    def fresh(cls) -> "ValueNorm":
        """Before any return was seen."""
        return cls(jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))

    def updated(self, returns: Float[Array, "*steps"], decay: float) -> "ValueNorm":
        """The statistics with these returns; `decay` is β."""
        gain = 1.0 - decay
        return ValueNorm(
            decay * self.mean_sum + gain * jnp.mean(returns),
            decay * self.square_sum + gain * jnp.mean(returns**2),
            decay * self.weight + gain,
        )

    def statistics(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Mean and standard deviation."""
        weight = jnp.maximum(self.weight, SMALLEST_WEIGHT)
        mean = self.mean_sum / weight
        variance = jnp.maximum(self.square_sum / weight - mean**2, SMALLEST_VARIANCE)
        return mean, jnp.sqrt(variance)

    def normalise(self, values: Float[Array, "*steps"]) -> Float[Array, "*steps"]:
        """From the rewards' units to the critic's."""
        mean, deviation = self.statistics()
        return (values - mean) / deviation

    def denormalise(self, values: Float[Array, "*steps"]) -> Float[Array, "*steps"]:
        """From the critic's units to the rewards'."""
        mean, deviation = self.statistics()
        return values * deviation + mean
