"""The plan of a composite diffusion: who speaks, in which order, how often, and from which noise.

Everything about a reconstruction that does not depend on the histories' values, checked once.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.errors import InputError
from composite_flow.validation import check_counts, check_scales


class Plan(eqx.Module):
    """Everything about a reconstruction that does not depend on the histories' values; static but for sigma."""

    participants: tuple[int, ...] = eqx.field(static=True)
    random: bool = eqx.field(static=True)
    num_samples: int = eqx.field(static=True)
    num_sweeps: int = eqx.field(static=True)
    max_candidates: int = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)
    merge_radius: float = eqx.field(static=True)
    stir: float = eqx.field(static=True)
    sigma: Float[Array, ""]


def make_plan(
    num_agents: int, order, participants, num_samples, num_sweeps, sigma, merge_radius, max_candidates, tolerance, stir
) -> Plan:
    """Validate what can be validated without the histories' values, and settle who speaks and in which order."""
    check_counts(num_samples=num_samples, num_sweeps=num_sweeps, max_candidates=max_candidates)
    check_scales(sigma=sigma, merge_radius=merge_radius, tolerance=tolerance, stir=stir)
    if stir and tolerance:
        raise InputError("Flows that are stirred do not rest: leave out `tolerance`, or `stir`.")
    return Plan(
        participants=speaking_order(num_agents, order, participants),
        random=isinstance(order, str) and order == "random",
        num_samples=num_samples,
        num_sweeps=num_sweeps,
        max_candidates=max_candidates,
        tolerance=float(tolerance),
        merge_radius=float(merge_radius),
        stir=float(stir),
        sigma=jnp.asarray(sigma, jnp.float32),
    )


def speaking_positions(key: PRNGKeyArray, plan: Plan) -> Int[Array, "sweeps participants"]:
    """Positions among the participants: fresh permutations, or the listed order in every sweep."""
    listed = jnp.broadcast_to(
        jnp.arange(len(plan.participants), dtype=jnp.int32)[None], (plan.num_sweeps, len(plan.participants))
    )
    return jax.random.permutation(key, listed, axis=1, independent=True) if plan.random else listed


def stir_scales(plan: Plan) -> Float[Array, " sweeps"]:
    """ς_k, the scale of the noise before each hop of a sweep: from ς in the first along a line to 0 in the last."""
    return plan.stir * jnp.arange(plan.num_sweeps - 1, -1, -1, jnp.float32) / max(plan.num_sweeps - 1, 1)


def speaking_order(
    num_agents: int, order: str | Sequence[int], participants: Sequence[int] | None = None
) -> tuple[int, ...]:
    """The participants, in the speaking order where one is given.

    Raises:
        InputError: if an agent is unknown or named twice, none is named, or the two arguments name different agents.
    """
    chosen = range(num_agents) if participants is None else _agents(participants, num_agents, "participants")
    if isinstance(order, str):
        if order not in ("random", "fixed"):
            raise InputError(f'order must be "random", "fixed" or a sequence of agents, not "{order}".')
        return tuple(chosen)
    speakers = _agents(order, num_agents, "order")
    if participants is not None and set(speakers) != set(chosen):
        raise InputError(f"order names the agents {sorted(speakers)} but participants are {sorted(chosen)}.")
    return speakers


def _agents(agents, num_agents: int, name: str) -> tuple[int, ...]:
    agents = tuple(int(agent) for agent in np.asarray(agents).reshape(-1))
    if not agents:
        raise InputError(f"{name} is empty; name at least one agent.")
    unknown = [agent for agent in agents if not 0 <= agent < num_agents]
    if unknown:
        raise InputError(f"{name} names agent {unknown[0]}, but the agents are 0 to {num_agents - 1}.")
    if len(set(agents)) < len(agents):
        raise InputError(f"{name} names an agent twice; each agent speaks once per sweep.")
    return agents
