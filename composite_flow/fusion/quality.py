"""How good answers are on held-out joint histories, while they are trained and after."""

import equinox as eqx
import jax
import jax.numpy as jnp

from composite_flow.fusion.answers import Answers
from composite_flow.fusion.joint_steps import JointSteps
from composite_flow.fusion.loss import fusion_losses
from composite_flow.fusion.posterior import posterior
from composite_flow.metrics import exact_states, psnr

_HELD_OUT_BYTES = 50e6  # of held-out joint histories that each point of the learning curve looks at
_MOST_HELD_OUT, _AT_ONCE = 2048, 128


def team_sizes(num_agents: int) -> tuple[int, ...]:
    """The sizes of team that are told of: one, half, all."""
    return tuple(sorted({1, -(-num_agents // 2), num_agents}))


def team_quality(network: Answers, held_out: JointSteps) -> dict[str, float]:
    """The mean loss, and for teams of one, half and all agents the PSNR in decibels, on always the same steps.

    `speaking` is the share of teams whose answers say anything: 0 once all units of the last hidden layer are dead.
    Of the whole team also how often the estimate, rounded, is the true state, where no feature is a number.
    """
    num_bytes = 4 * held_out.layout.num_agents * held_out.layout.size
    batches = max(1, int(min(_MOST_HELD_OUT, _HELD_OUT_BYTES / num_bytes)) // _AT_ONCE)
    losses, means, spoken, states = _held_out_results(network, eqx.filter(held_out, eqx.is_array), batches)
    found = {"validation_loss": float(jnp.mean(losses)), "speaking": float(jnp.mean(spoken))}
    for place, size in enumerate(team_sizes(held_out.layout.num_agents)):
        name = "psnr_fusion" if size == held_out.layout.num_agents else f"psnr_fusion_of_{size}"
        found[name] = float(psnr(means[:, place], states))
    if not network.prior.types.is_number.any():
        found["exact_rate_fusion"] = float(jnp.mean(exact_states(means[:, -1], states)))
    return found


@eqx.filter_jit
def _held_out_results(network: Answers, held_out: JointSteps, batches: int):
    """Losses, the means of teams of each size, whether they say anything, and the true states."""
    num_agents = held_out.layout.num_agents

    def of_batch(key):
        key_steps, key_teams, key_loss = jax.random.split(key, 3)
        histories, states = held_out.sample(key_steps, _AT_ONCE)
        losses = fusion_losses(network, histories, states, key_loss)
        places = jax.vmap(lambda key: jax.random.permutation(key, num_agents))(jax.random.split(key_teams, _AT_ONCE))
        teams = places[:, None, :] < jnp.asarray(team_sizes(num_agents))[None, :, None]
        totals = jax.vmap(network.team_sums)(histories, teams)
        means = jax.vmap(jax.vmap(lambda total: posterior(network.prior, total)[0]))(totals)
        spoken = jnp.any(totals.evidence != 0.0, axis=(1, 2)).astype(means.dtype)
        return losses, means, spoken, states

    found = jax.lax.map(of_batch, jax.random.split(jax.random.key(0), batches))
    return jax.tree.map(lambda part: part.reshape(-1, *part.shape[2:]), found)
