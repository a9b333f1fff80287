"""The plan of a composite diffusion: what of its `Sampling` depends on the number of agents, checked once.

Who takes part, who speaks when in each sweep, and how much each sweep is stirred.
"""

from collections.abc import Sequence
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.composite.sampling import Sampling
from composite_flow.errors import InputError


class Plan(eqx.Module):
    """Everything about a reconstruction that does not depend on the histories' values.

    Attributes:
        participants: the agents that take part; in speaking order where that is given.
        sampling: how they sample; static.
        sigma: scale of the initial noise, traced. `sampling` holds 1 in its place, so that another scale compiles
            nothing anew.
    """

    participants: tuple[int, ...] = eqx.field(static=True)
    sampling: Sampling = eqx.field(static=True)
    sigma: Float[Array, ""]


def make_plan(num_agents: int, sampling: Sampling) -> Plan:
    """Who speaks in a team of this size.

    Raises:
        InputError: an agent is named that the team does not have.
    """
    return Plan(
        participants=speaking_order(num_agents, sampling.order, sampling.participants),
        sampling=replace(sampling, sigma=1.0),
        sigma=jnp.asarray(sampling.sigma, jnp.float32),
    )


def speaking_positions(key: PRNGKeyArray, plan: Plan) -> Int[Array, "sweeps participants"]:
    """Positions among the participants: fresh permutations, or the listed order in every sweep."""
    num_participants = len(plan.participants)
    listed = jnp.broadcast_to(
        jnp.arange(num_participants, dtype=jnp.int32)[None], (plan.sampling.num_sweeps, num_participants)
    )
    random = plan.sampling.order == "random"
    return jax.random.permutation(key, listed, axis=1, independent=True) if random else listed


def stir_scales(plan: Plan) -> Float[Array, " sweeps"]:
    """ς_k, the scale of the noise before each hop of a sweep: from ς in the first along a line to 0 in the last."""
    last = plan.sampling.num_sweeps - 1
    return plan.sampling.stir * jnp.arange(last, -1, -1, jnp.float32) / max(last, 1)


def speaking_order(
    num_agents: int, order: str | Sequence[int], participants: Sequence[int] | None = None
) -> tuple[int, ...]:
    """The participants, in the speaking order where one is given.

    Raises:
        InputError: if an agent is unknown or named twice, none is named, or the two arguments name different agents.
    """
    sampling = Sampling(order=order, participants=participants)
    for name in ("order", "participants"):
        agents = getattr(sampling, name)
        unknown = [] if isinstance(agents, str | None) else [agent for agent in agents if not 0 <= agent < num_agents]
        if unknown:
            raise InputError(f"{name} names agent {unknown[0]}, but the agents are 0 to {num_agents - 1}.")
    if not isinstance(sampling.order, str):
        return tuple(sampling.order)
    return tuple(range(num_agents) if sampling.participants is None else sampling.participants)
