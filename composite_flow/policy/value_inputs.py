"""Inputs that weigh several states by what they are worth: V(s) of each, or Q(s, a) of each and each action."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from composite_flow.policy.input import PolicyInput


class SafeState(PolicyInput):
    """Of K states drawn from p̂ the one with the smallest V(s)."""

    infers = weighs_samples = needs_state_values = True

    def columns(self, problem):
        return problem.state_size

    def shown(self, known):
        return jax.vmap(known.networks.least_valued)(known.samples)


class MeanValues(PolicyInput):
    """Σ_k Q(s_k, a) / K for each action."""

    infers = weighs_samples = needs_action_values = True

    def columns(self, problem):
        return problem.num_actions

    def shown(self, known):
        return jax.vmap(lambda own: jnp.mean(own, axis=0))(known.action_values)


class QuantileValues(PolicyInput):
    """The `level`-quantile of Q(s_k, a) over k for each action, linear between the values."""

    infers = weighs_samples = needs_action_values = True

    def columns(self, problem):
        return problem.num_actions

    def shown(self, known):
        return jax.vmap(lambda own: jnp.quantile(own, self.level, axis=0))(known.action_values)


class CvarValues(PolicyInput):
    """Mean of the ⌈level · K⌉ smallest Q(s_k, a) for each action."""

    infers = weighs_samples = needs_action_values = True

    def columns(self, problem):
        return problem.num_actions

    def shown(self, known):
        return jax.vmap(lambda own: worst_mean(own, self.level))(known.action_values)


def worst_mean(own_values: Float[Array, "samples actions"], level: float) -> Float[Array, " actions"]:
    """CVaR: the mean of the ⌈level · K⌉ smallest of K values, for each action."""
    worst = math.ceil(level * len(own_values) - 1e-9)  # less what the product is rounded by
    return jnp.mean(jnp.sort(own_values, axis=0)[:worst], axis=0)
