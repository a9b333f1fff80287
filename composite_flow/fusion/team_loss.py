"""What the team denoiser is trained by: the error of its posterior mean, for a few random teams of each step.

    numbers            (s − g)²
    binary features    −s log g − (1 − s) log(1 − g)
    one of k           −Σ s log g

at y = s + σ z. Both forms are trained: σ known, drawn as samplers use it, uniform in σ^(1/3) from 0.05 to 3; and on one
of the teams, with less weight, σ unknown, uniform in [0, 1] as in Eq. (1). The cross-entropy has the same minimiser as
the squared error, the posterior mean. Beside them stands (log σ − log σ̂)² of the σ that is read from y.

Teams have ⌊(n + 1)^u⌋ agents, u ~ U[0, 1]: small teams, whose posteriors are wide, are drawn as often as large ones.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.fusion.team_denoiser import SMALLEST_SIGMA, TeamDenoiser
from composite_flow.fusion.team_network import MessageNetwork
from composite_flow.fusion.team_sampling import LARGEST_SIGMA, LAST_SIGMA

NUM_TEAMS = 8  # of each step, since answers cost more than g; for one of them σ is not known
BLIND_SHARE = 0.25  # weight of the loss where σ is not known
SIGMA_SHARE = 0.1  # weight of the loss of the σ that is read from y


def draw_small_teams(key: PRNGKeyArray, num_agents: int, num_teams: int = NUM_TEAMS) -> Bool[Array, "teams agents"]:
    """Random teams of ⌊(n + 1)^u⌋ of n agents, u ~ U[0, 1]."""
    key_size, key_rank = jax.random.split(key)
    sizes = jnp.floor((num_agents + 1.0) ** jax.random.uniform(key_size, (num_teams,)))
    ranks = jnp.argsort(jnp.argsort(jax.random.uniform(key_rank, (num_teams, num_agents)), axis=1), axis=1)
    return ranks.astype(jnp.float32) < jnp.clip(sizes, 1.0, float(num_agents))[:, None]


def team_denoiser_losses(
    team: TeamDenoiser,
    histories: Float[Array, "batch agents history"],
    states: Float[Array, "batch state"],
    key: PRNGKeyArray,
) -> Float[Array, " batch"]:
    """The loss of each step, averaged over its teams."""
    answers = jax.vmap(team.answer_each)(histories)

    def of_step(answer, state, key):
        key_teams, key_known, key_blind = jax.random.split(key, 3)
        teams = draw_small_teams(key_teams, histories.shape[1])
        totals = jax.tree.map(lambda part: teams.astype(part.dtype) @ part, answer)
        messages = jax.vmap(team.read)(totals)
        keys = jax.random.split(key_known, NUM_TEAMS - 1)
        known = jax.vmap(lambda message, key: known_loss(team, message, state, key))(messages[1:], keys)
        return jnp.mean(known) + BLIND_SHARE * blind_loss(team, messages[0], state, key_blind)

    return jax.vmap(of_step)(answers, states, jax.random.split(key, len(states)))


def known_loss(
    team: TeamDenoiser, message: Float[Array, " message"], state: Float[Array, " state"], key: PRNGKeyArray
) -> Float[Array, ""]:
    """The loss at a known noise level."""
    key_sigma, key_noise = jax.random.split(key)
    low, high = (level ** (1 / 3) for level in (LAST_SIGMA, LARGEST_SIGMA))
    sigma = jax.random.uniform(key_sigma, minval=low, maxval=high) ** 3
    y = state + sigma * jax.random.normal(key_noise, state.shape)
    return state_loss(team, team.logits(team.condition(message), y, sigma), state)


def blind_loss(
    team: TeamDenoiser, message: Float[Array, " message"], state: Float[Array, " state"], key: PRNGKeyArray
) -> Float[Array, ""]:
    """The loss at an unknown noise level, with that of the level that is read from y.

    The second one trains what reads σ, and nothing else; the first one all else.
    """
    key_sigma, key_noise = jax.random.split(key)
    sigma = jax.random.uniform(key_sigma)
    y = state + sigma * jax.random.normal(key_noise, state.shape)
    still = jax.lax.stop_gradient(team)
    reader, rest = _with_sigma_network(still, team.sigma_network), _with_sigma_network(team, still.sigma_network)
    read = reader.log_sigma(reader.condition(jax.lax.stop_gradient(message)), y)
    missed = read - jnp.log(jnp.maximum(sigma, SMALLEST_SIGMA))
    return state_loss(team, rest.logits(rest.condition(message), y), state) + SIGMA_SHARE * missed**2


def _with_sigma_network(team: TeamDenoiser, network: MessageNetwork) -> TeamDenoiser:
    return eqx.tree_at(lambda each: each.sigma_network, team, network)


def state_loss(team: TeamDenoiser, logits: Float[Array, " state"], state: Float[Array, " state"]) -> Float[Array, ""]:
    """The loss of an estimate that `TeamDenoiser.logits` gives."""
    types = team.prior.types
    binary = jax.nn.softplus(logits) - state * logits
    loss = jnp.sum(jnp.where(types.is_number, (state - logits) ** 2, jnp.where(types.is_binary, binary, 0.0)))
    for first, stop in types.groups:
        loss -= jax.nn.log_softmax(logits[first:stop]) @ state[first:stop]
    return loss
