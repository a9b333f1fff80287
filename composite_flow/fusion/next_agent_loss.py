"""What `NextAgentNetwork` is trained by: how far the error that is to be expected has really fallen with each answer.

    d_ik = u_k(A) − u_k(A ∪ {i}),      loss  Σ_{i ∉ A} Σ_k (d_ik − δ_ik(A))² / (U_A + V_∅/50),    U = Σ_k u_k

for random teams A of each step, of any size, nobody included, and some agents i; beside it stands the loss of u for
these teams. Divided by U, a team that knows much counts as one that knows little. The minimum is E[d | what A says].
Errors of single states in the place of u tell little: an agent that sees a target is rare, and decides it all.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.fusion.answers import Answer, team_sums
from composite_flow.fusion.next_agent import NextAgentNetwork
from composite_flow.fusion.posterior import posterior

NUM_TEAMS = 4  # of each step
MOST_ASKED = 8  # agents that each of them could ask
_FLOOR = 0.02  # share of the prior's variance that is added to a team's: there are errors of nearly 0


class Answered(eqx.Module):
    """Answers of whole teams, in the place of their histories.

    Attributes:
        each: what each agent answers.
        there: which agents are there.
    """

    each: Answer
    there: Bool[Array, "batch agents"]


def draw_lacking_teams(key: PRNGKeyArray, num_agents: int) -> Bool[Array, "teams agents"]:
    """Random teams of 0 to n − 1 of n agents, all sizes alike."""
    key_size, key_rank = jax.random.split(key)
    sizes = jax.random.randint(key_size, (NUM_TEAMS, 1), 0, num_agents)
    ranks = jnp.argsort(jax.random.uniform(key_rank, (NUM_TEAMS, num_agents)), axis=1)
    return ranks < sizes


def next_agent_losses(
    network: NextAgentNetwork, answered: Answered, states: Float[Array, "batch state"], key: PRNGKeyArray
) -> Float[Array, " batch"]:
    """The loss of each step, averaged over its teams.

    Args:
        network: in training.
        answered, states: from `AnsweredSteps`.
        key: draws the teams, and whom they could ask.
    """

    def of_step(each: Answer, there, state, key):
        key_teams, *keys = jax.random.split(key, NUM_TEAMS + 1)
        teams = draw_lacking_teams(key_teams, len(there)) & there[None]
        return jnp.mean(
            jax.vmap(lambda team, k: team_loss(network, each, there, team, state, k))(teams, jnp.stack(keys))
        )

    return jax.vmap(of_step)(answered.each, answered.there, states, jax.random.split(key, len(states)))


def team_loss(
    network: NextAgentNetwork,
    each: Answer,
    there: Bool[Array, " agents"],
    team: Bool[Array, " agents"],
    state: Float[Array, " state"],
    key: PRNGKeyArray,
) -> Float[Array, ""]:
    """The loss of one team: of u, and of what is expected of some agents that are there and have not answered."""
    prior, left = network.prior, there & ~team
    asked = jnp.argsort(jnp.where(left, jax.random.uniform(key, left.shape), jnp.inf))[:MOST_ASKED]
    teams = jnp.concatenate([team[None], team[None] | (asked[:, None] == jnp.arange(len(team))[None])])
    means, variances = jax.vmap(lambda total: posterior(prior, total))(team_sums(each, teams))
    errors = jax.lax.stop_gradient(jax.vmap(network.errors.of)(means, variances, teams))
    wrong = errors[:1] - errors[1:] - network.decreases(means[0], variances[0], team)[asked]
    counts = left[asked].astype(wrong.dtype)
    scale = jnp.sum(errors[0]) + _FLOOR * jnp.sum(1.0 / prior.precision)
    of_falls = counts @ jnp.sum(wrong**2, axis=1) / (scale * jnp.maximum(jnp.sum(counts), 1.0))
    of_errors = jax.vmap(network.errors.loss, in_axes=(0, 0, 0, None))(means, variances, teams, state)
    return of_falls + jnp.mean(of_errors)
