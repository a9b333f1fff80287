"""A sparse answer as it is sent: of few features, and one number for all."""

import equinox as eqx
from jaxtyping import Array, Float


class SlotAnswer(eqx.Module):
    """An answer as it is sent: evidence, weight and precision of a few features, and one number for all.

    Attributes:
        evidence, weight, precision: of the agent's slots.
        everywhere: what is added to the evidence of every feature.
    """

    evidence: Float[Array, "*batch slots"]
    weight: Float[Array, "*batch slots"]
    precision: Float[Array, "*batch slots"]
    everywhere: Float[Array, "*batch"]
