"""What a team infers by the gated chain, and how good that is on held-out steps."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.certificate.reliability import are_binary
from composite_flow.composite.plan import speaking_order
from composite_flow.composite.rule import message_bytes, sweep
from composite_flow.data.angles import named_values
from composite_flow.data.scaling import OwnArray, Scaling
from composite_flow.fusion.chain import ChainNetwork, chain_losses
from composite_flow.fusion.quality import team_sizes
from composite_flow.metrics import exact_states, psnr

_AT_ONCE = 64  # joint histories: contexts of all agents are in memory


class ChainEstimate(eqx.Module):
    """What the message says once it has gone round; any leading axes are batch axes. How far it errs it does not tell.

    Attributes:
        mean: the message, in the state's own units.
        participants: the agents that it went through, in this order.
        message_bytes: its size, in 32-bit numbers.
        state_names: a name for each feature.
    """

    mean: Float[OwnArray, "*batch state"]
    participants: tuple[int, ...] = eqx.field(static=True)
    message_bytes: int = eqx.field(static=True)
    state_names: tuple[str, ...] = eqx.field(static=True)

    @property
    def messages(self) -> int:
        """Hops, one by each participant."""
        return len(self.participants)

    @property
    def named_mean(self) -> dict[str, list[float] | float]:
        """The mean by the names of the features, angles under their own: a number each, or a list of them."""
        return named_values(self.state_names, self.mean)


def infer_by_chain(
    network: ChainNetwork,
    histories: Float[Array, "*joint agents history"],
    participants: Sequence[int] | None,
    scaling: Scaling,
    state_names: Sequence[str],
) -> ChainEstimate:
    """Let the message go once through the participants of each joint history.

    Args:
        network: of the chain.
        histories: one joint history, or many of them.
        participants: the agents that take part, in the order in which the message goes; all, from 0 on, where None.
        scaling, state_names: of the states.

    Raises:
        InputError: there are no participants, or one is unknown or named twice.
    """
    many = histories.reshape(-1, *histories.shape[-2:])
    order = speaking_order(many.shape[1], "fixed", participants)
    orders = jnp.broadcast_to(jnp.asarray(order, jnp.int32), (len(many), len(order)))
    mean = scaling.unscale(pass_on(network, many, orders)).reshape(*histories.shape[:-2], -1)
    return ChainEstimate(mean, order, message_bytes(network.rule, network.state_size), tuple(state_names))


@eqx.filter_jit
def pass_on(
    network: ChainNetwork, histories: Float[Array, "joint agents history"], orders: Int[Array, "joint hops"]
) -> Float[Array, "joint state"]:
    """The message of each joint history after it went through these agents, scaled; nobody else's history is read."""
    rule = network.rule

    def of_team(example):
        history, order = example
        contexts, turns = jax.vmap(network.condition)(history[order]), jnp.arange(len(order))
        return rule.state(sweep(rule, network, contexts, turns, rule.start(network.prior_mean))[0])

    return jax.lax.map(of_team, (histories, orders), batch_size=min(_AT_ONCE, len(orders)))


def random_orders(key: PRNGKeyArray, num_joint: int, num_agents: int) -> Int[Array, "{num_joint} {num_agents}"]:
    """An order of all agents for each joint history."""
    return jax.vmap(lambda key: jax.random.permutation(key, num_agents))(jax.random.split(key, num_joint))


def chain_quality(
    network: ChainNetwork, histories: Float[Array, "joint agents history"], states: Float[Array, "joint state"]
) -> dict[str, float]:
    """The mean loss on held-out steps, and for teams of one, half and all agents the PSNR in decibels.

    `speaking` is the share of teams of which a unit of some agent's last hidden layer is not 0 at the first hop: 0 once
    all units are dead. Of the whole team also how often the estimate, rounded, is the true state, where it is binary.
    """
    num_agents = histories.shape[1]
    orders = random_orders(jax.random.key(0), len(states), num_agents)
    losses, spoken = _held_out_results(network, histories, states)
    found = {"validation_loss": float(jnp.mean(losses)), "speaking": float(jnp.mean(spoken))}
    means = {size: pass_on(network, histories, orders[:, :size]) for size in team_sizes(num_agents)}
    for size, mean in means.items():
        found["psnr_chain" if size == num_agents else f"psnr_chain_of_{size}"] = float(psnr(mean, states))
    if are_binary(states):
        found["exact_rate_chain"] = float(jnp.mean(exact_states(means[num_agents], states)))
    return found


@eqx.filter_jit
def _held_out_results(network: ChainNetwork, histories, states):
    """The loss of each step, and whether its team says anything."""

    def says(history):
        return jnp.any(network.hidden(network.condition(history), network.prior_mean) != 0.0)

    def of_step(step):
        histories, state, key = step
        spoken = jnp.any(jax.vmap(says)(histories)).astype(state.dtype)
        return chain_losses(network, histories[None], state[None], key)[0], spoken

    keys = jax.random.split(jax.random.key(1), len(states))
    return jax.lax.map(of_step, (histories, states, keys), batch_size=min(_AT_ONCE, len(states)))
