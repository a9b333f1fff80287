"""What fusion is trained by: the error of what random teams say together, and of what they claim of that error.

    numbers            ‖s − ŝ_A‖² + 0.02 · ½ Σ_k (e_k² P_A,k − log P_A,k),  e = s − ŝ_A without its gradient
    binary features    −s log ŝ_A − (1 − s) log(1 − ŝ_A)
    one of k           −Σ s log ŝ_A

Where a state holds numbers beside binary features or groups, those have the squared error (Brier's score) as well, so
that an error counts alike in every feature. Both have the posterior mean as their minimum.

The losses are averaged over a few teams A of each step: all prefixes of a random order of the agents where they are
few, else the whole team and teams of random sizes. So every size of team is trained, and a lost answer costs what it
must.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.fusion.answers import Answer, Answers, Prior

MOST_PREFIXES = 8  # up to so many agents every size of team is trained in each step
NUM_TEAMS = 4  # teams of a step, where agents are more
CLAIM_SHARE = 0.02  # weight of the claim's likelihood beside the squared error


def draw_teams(key: PRNGKeyArray, num_agents: int) -> Bool[Array, "teams agents"]:
    """The teams that learn from one step."""
    key_order, key_size = jax.random.split(key)
    if num_agents <= MOST_PREFIXES:
        place = jax.random.permutation(key_order, num_agents)
        return place[None, :] <= jnp.arange(num_agents)[:, None]
    kept = jax.random.uniform(key_size, (NUM_TEAMS,)).at[0].set(1.0)
    drawn = jax.random.uniform(key_order, (NUM_TEAMS, num_agents)) < kept[:, None]
    someone = jax.nn.one_hot(jax.random.randint(key_order, (NUM_TEAMS,), 0, num_agents), num_agents, dtype=bool)
    return jnp.where(jnp.any(drawn, axis=1, keepdims=True), drawn, someone)


def fusion_losses(
    answers: Answers,
    histories: Float[Array, "batch agents columns"],
    states: Float[Array, "batch state"],
    key: PRNGKeyArray,
) -> Float[Array, " batch"]:
    """The loss of each step, averaged over its teams; of any answers that training fits."""
    keys = jax.random.split(key, len(states))
    teams = jax.vmap(lambda k: draw_teams(k, histories.shape[1]))(keys)
    return losses_of_teams(answers, histories, states, teams)


def losses_of_teams(
    answers: Answers,
    histories: Float[Array, "batch agents columns"],
    states: Float[Array, "batch state"],
    teams: Bool[Array, "batch teams agents"],
) -> Float[Array, " batch"]:
    """The loss of each step, averaged over these teams."""
    sums = answers.batch_sums(histories, teams)
    return jax.vmap(lambda total, s: jnp.mean(team_losses(answers.prior, total, s)))(sums, states)


def team_losses(prior: Prior, total: Answer, state: Float[Array, " state"]) -> Float[Array, " teams"]:
    """The loss of each team's sum."""
    prior, types = jax.lax.stop_gradient(prior), prior.types
    error = state[None] - (prior.mean[None] + total.evidence / (prior.precision[None] + total.weight))
    precision = prior.precision[None] + total.precision
    claim = 0.5 * (jax.lax.stop_gradient(error**2) * precision - jnp.log(precision))
    logits = prior.logits[None] + total.evidence
    if types.is_number.any():
        errors = jnp.where(types.is_number, error, state[None] - types.probabilities(logits)) ** 2
        return jnp.sum(errors + jnp.where(types.is_number, CLAIM_SHARE * claim, 0.0), axis=1)
    binary = jax.nn.softplus(logits) - state[None] * logits
    loss = jnp.sum(jnp.where(types.is_binary, binary, 0.0), axis=1)
    for first, stop in types.groups:
        loss -= jax.nn.log_softmax(logits[:, first:stop], axis=1) @ state[first:stop]
    return loss
