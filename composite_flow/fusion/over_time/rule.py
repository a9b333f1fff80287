"""A chain that filters, on the contract of composition rules: one sweep is a step of the filter.

What a denoiser is to composite diffusion the chain is here. The message says whether anybody has spoken in this step:
who speaks first knows that the world has moved since.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from composite_flow.composite.rule import CompositionRule
from composite_flow.denoiser import Context, Denoiser
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.over_time.chains import ChainFilter


class FilterDenoiser(eqx.Module):
    """What fusion learned, read as the denoiser of a chain's hops; its own `denoise` is a later speaker's hop.

    Attributes:
        fusion: with a chain over time.
    """

    fusion: LearnedFusion

    @property
    def chain(self) -> ChainFilter:
        """The chain."""
        assert isinstance(self.fusion.over_time, ChainFilter), "`filter_rule` is of no other"
        return self.fusion.over_time

    @property
    def state_size(self) -> int:
        """Number of features of the state."""
        return len(self.chain.prior.mean)

    def condition(self, history: Float[Array, " history"]) -> Float[Array, "depth width"]:
        """All that depends on the history."""
        return self.chain.reader.condition(history)

    def denoise(self, context: Float[Array, "depth width"], y: Float[Array, " state"]) -> Float[Array, " state"]:
        """The message of an agent that is not a step's first speaker."""
        return self.chain.hop(context, y, jnp.float32(0.0))


class Belief(NamedTuple):
    """The message: the mean of the state, and whether anybody has spoken in this step."""

    mean: Float[Array, "*batch state"]
    spoken: Bool[Array, "*batch"]


class FilterRule(CompositionRule):
    """A hop of the chain; one sweep is a step of the filter.

    Attributes:
        prior_mean: of the training states, with which an episode begins.
    """

    prior_mean: Float[Array, " state"]

    def start(self, noise: Float[Array, " state"]) -> Belief:
        """The prior's mean, whatever the noise."""
        return self.again(self.prior_mean.astype(noise.dtype))

    def again(self, y: Float[Array, " state"]) -> Belief:
        """What an agent knows, of the step before."""
        return Belief(y, jnp.asarray(False))

    def hop(
        self,
        denoiser: Denoiser,
        context: Context,
        message: Belief,
        noise: Float[Array, " state"] | None,
    ) -> Belief:
        """The chain's hop."""
        assert isinstance(denoiser, FilterDenoiser), "this rule is of its chain alone"
        first = jnp.where(message.spoken, 0.0, 1.0)
        return Belief(denoiser.chain.hop(context, message.mean, first), jnp.asarray(True))

    def end_sweep(self, message: Belief) -> Belief:
        """The same mean, which the next step's first speaker knows to be old."""
        return self.again(message.mean)

    def state(self, message: Belief) -> Float[Array, " state"]:
        """The mean."""
        return message.mean


def filter_rule(fusion: LearnedFusion) -> tuple[FilterDenoiser, FilterRule]:
    """The chain over time that fusion learned, as a denoiser and the rule of its hops; there must be one."""
    denoiser = FilterDenoiser(fusion)
    return denoiser, FilterRule(denoiser.chain.prior.mean)
