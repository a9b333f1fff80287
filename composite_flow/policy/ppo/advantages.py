"""Advantages and returns of a stretch of steps (generalised advantage estimation, Schulman et al. 2016).

    δ_t = r_t + γ (1 − e_t) V(s_{t+1}) − V(s_t),    A_t = δ_t + γ λ (1 − e_t) A_{t+1},    R_t = A_t + V(s_t)

e_t is 1 where step t ended its episode. What follows an end counts nothing, whether the world was won, lost or ran out
of time: a problem's time limit is part of the problem. Where the stretch itself stops in the middle of an episode,
nothing has ended: the value of the state that would come next stands for the rest.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def advantages_and_returns(
    rewards: Float[Array, " steps"],
    values: Float[Array, " steps"],
    ends: Bool[Array, " steps"],
    next_value: Float[Array, ""],
    discount: float,
    trace: float,
) -> tuple[Float[Array, " steps"], Float[Array, " steps"]]:
    """A_t and R_t of one world.

    Args:
        rewards: r_t.
        values: V(s_t), in the rewards' units.
        ends: e_t, whether the episode was over after step t.
        next_value: V of the state after the last step; counts only where that step ended no episode.
        discount: γ.
        trace: λ.

    Returns:
        Advantages and returns, in the rewards' units.
    """
    goes_on = 1.0 - ends.astype(jnp.float32)
    next_values = jnp.append(values[1:], next_value)
    errors = rewards + discount * goes_on * next_values - values

    def back(later, step):
        error, decay = step
        advantage = error + decay * later
        return advantage, advantage

    _, advantages = jax.lax.scan(back, jnp.float32(0.0), (errors, discount * trace * goes_on), reverse=True)
    return advantages, advantages + values


def standardised(
    advantages: Float[Array, "*steps"], weights: Float[Array, "*steps"], smallest: float = 1e-5
) -> Float[Array, "*steps"]:
    """(A − mean) / (deviation + smallest), both over all steps by weight."""
    total = jnp.maximum(jnp.sum(weights), 1.0)
    mean = jnp.sum(weights * advantages) / total
    deviation = jnp.sqrt(jnp.sum(weights * (advantages - mean) ** 2) / total)
    return (advantages - mean) / (deviation + smallest)
