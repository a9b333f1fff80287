"""Random teams among many agents, what they know together exactly, and in which states points lie."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.fusion.ideal import fuse_beliefs


def draw_teams(key: PRNGKeyArray, count: int, num_agents: int, size: int) -> Int[Array, "count size"]:
    """Random participants for each of so many joint histories."""
    return jax.vmap(lambda key: jax.random.permutation(key, num_agents)[:size])(jax.random.split(key, count))


def team_states(
    consistent: Bool[Array, "batch agents states"], teams: Int[Array, "batch size"]
) -> Bool[Array, "batch states"]:
    """The states that every member of a team allows."""
    return jnp.all(jnp.take_along_axis(consistent, teams[:, :, None], axis=1), axis=1)


def taking_part(teams: Int[Array, "batch size"], num_agents: int) -> Bool[Array, "batch agents"]:
    """Whether each agent is a member."""
    return jnp.any(teams[:, :, None] == jnp.arange(num_agents)[None, None, :], axis=1)


def team_posteriors(
    log_beliefs: Float[Array, "batch agents states"],
    log_prior: Float[Array, " states"],
    participants: Bool[Array, "batch agents"],
) -> Float[Array, "batch states"]:
    """p(s | τ_A) of each joint history's participants.

    Exact where histories are independent given the current state, as with one observation each (H = 1).

    Args:
        log_beliefs: log p(s | τ_i), of `exact_belief`.
        log_prior: log p(s), of the same states.
        participants: A.
    """
    return jnp.exp(jax.vmap(fuse_beliefs, in_axes=(0, None, 0))(log_beliefs, log_prior, participants))


def which_state(
    points: Float[Array, "batch samples state"], states: Float[Array, "states state"]
) -> Int[Array, "batch samples"]:
    """The index of the state that each point is, thresholded at 0.5; −1 where it is none."""

    def one(point):
        same = jnp.all((point > 0.5)[None] == (states > 0.5), axis=1)
        return jnp.where(jnp.any(same), jnp.argmax(same), -1)

    return jax.lax.map(jax.vmap(one), points)
