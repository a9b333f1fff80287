"""What `NextAgentNetwork` is trained by: how far the claimed variance has really fallen with each answer.

    d_ik = v_k(A) − v_k(A ∪ {i}),      loss  Σ_{i ∉ A} Σ_k (d_ik − δ_ik(A))² / (V_A + V_∅/50),    V = Σ_k v_k

for random teams A of each step, of any size, nobody included. Divided by V, a team that knows much counts as one that
knows little. The minimum is E[d | what A says]; where claims are right, that is what an answer removes of the squared
error on average, of which a single state tells little: an agent that sees a target is rare, and decides it all.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.fusion.answers import Answer, Prior, team_sums
from composite_flow.fusion.next_agent import NextAgentNetwork
from composite_flow.fusion.posterior import posterior

NUM_TEAMS = 4  # of each step
_FLOOR = 0.02  # share of the prior's variance that is added to a team's: it has claims of nearly 0


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
    network: NextAgentNetwork,
    answered: Answered,
    states: Float[Array, "batch state"],
    key: PRNGKeyArray,
) -> Float[Array, " batch"]:
    """The loss of each step, averaged over its teams and the agents that have not answered.

    Args:
        network: in training.
        answered: from `AnsweredSteps`.
        states: of these steps; not read.
        key: draws the teams.
    """

    def of_step(each: Answer, there, key):
        teams = draw_lacking_teams(key, len(there)) & there[None]
        return jnp.mean(jax.vmap(lambda team: team_loss(network, each, there, team))(teams))

    return jax.vmap(of_step)(answered.each, answered.there, jax.random.split(key, len(states)))


def team_loss(
    network: NextAgentNetwork, each: Answer, there: Bool[Array, " agents"], team: Bool[Array, " agents"]
) -> Float[Array, ""]:
    """The loss of one team, averaged over the agents that are there and have not answered."""
    prior = jax.lax.stop_gradient(network.prior)
    mean, variance, fall = fall_by_each(prior, each, team)
    wrong = fall - network.decreases(mean, variance, team)
    asked = (there & ~team).astype(wrong.dtype)
    scale = jnp.sum(variance) + _FLOOR * jnp.sum(1.0 / prior.precision)
    return asked @ jnp.sum(wrong**2, axis=1) / (scale * jnp.maximum(jnp.sum(asked), 1.0))


def fall_by_each(
    prior: Prior, each: Answer, team: Bool[Array, " agents"]
) -> tuple[Float[Array, " state"], Float[Array, " state"], Float[Array, "agents state"]]:
    """Mean and variance that a team says, and d: by how much each agent's answer then lowers the variance."""
    total = jax.tree.map(lambda part: part[0], team_sums(each, team[None]))
    mean, variance = posterior(prior, total)
    longer = jax.tree.map(lambda one, part: one[None] + part, total, each)
    _, variances = jax.vmap(lambda answer: posterior(prior, answer))(longer)
    return mean, variance, variance[None] - variances
