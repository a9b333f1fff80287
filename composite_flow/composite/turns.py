"""The turns of a composite diffusion: who speaks when, and all noise, drawn from a key before the first hop.

Whoever has the key, the plan and the rule draws the same turns. So each member of a ring knows them beforehand, and the
message that goes round carries nothing but what the rule puts into it, once for each sample.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.composite.plan import Plan, speaking_positions, stir_scales
from composite_flow.composite.rule import CompositionRule, Message
from composite_flow.denoiser import Context, Denoiser


class Turns(eqx.Module):
    """What is fixed before the first hop.

    Attributes:
        plan: who takes part, how many samples and sweeps.
        rule: what an agent does with the message.
        order: positions among the participants, in speaking order.
        key_noise, key_stir: of the noise at the start, and of what stirs the hops.
    """

    plan: Plan
    rule: CompositionRule
    order: Int[Array, "sweeps participants"]
    key_noise: PRNGKeyArray
    key_stir: PRNGKeyArray

    @property
    def speakers(self) -> Int[Array, "sweeps participants"]:
        """The agents in speaking order."""
        return jnp.asarray(self.plan.participants, jnp.int32)[self.order]

    def start(self, state_size: int) -> Message:
        """The message of each sample before the first hop."""
        noise = self.plan.sigma * jax.random.normal(self.key_noise, (self.plan.sampling.num_samples, state_size))
        return jax.vmap(self.rule.start)(noise)

    def noise(self, sweep: int | Int[Array, ""], state_size: int) -> Float[Array, "participants samples state"] | None:
        """What stirs the hops of a sweep, in speaking order; None where flows are not stirred."""
        sampling = self.plan.sampling
        if not sampling.stir:
            return None
        shape = self.order.shape[1], sampling.num_samples, state_size
        return stir_scales(self.plan)[sweep] * jax.random.normal(jax.random.fold_in(self.key_stir, sweep), shape)


def draw_turns(plan: Plan, rule: CompositionRule, key: PRNGKeyArray) -> Turns:
    """The turns that belong to a key."""
    key_noise, key_order = jax.random.split(key)
    key_stir = jax.random.fold_in(key, 2)  # beside what `split` gives, so that flows without it stay as they were
    return Turns(plan, rule, speaking_positions(key_order, plan), key_noise, key_stir)


@eqx.filter_jit
def hop_samples(
    rule: CompositionRule,
    denoiser: Denoiser,
    context: Context,
    messages: Message,
    noise: Float[Array, "samples state"] | None = None,
) -> tuple[Message, Float[Array, "samples state"]]:
    """One agent's turn: the messages of all samples as it sends them on, and the states that it received."""

    def hop(message, added):
        return rule.hop(denoiser, context, message, added)

    return jax.vmap(hop)(messages, noise), jax.vmap(rule.state)(messages)
