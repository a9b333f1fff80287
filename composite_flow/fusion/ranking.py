"""Agents that have not answered, ranked by what is expected of their answers."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from composite_flow.data.scaling import OwnArray, Scaling
from composite_flow.errors import InputError
from composite_flow.fusion.lacking import lacking
from composite_flow.fusion.next_agent import NextAgentNetwork

NOBODY_LEFT = "All agents that can be asked have answered already."


def expected_decreases(
    network: NextAgentNetwork | None,
    scaling: Scaling,
    mean: Float[OwnArray, "*batch state"],
    variance: Float[OwnArray, "*batch state"],
    asked: Bool[Array, "*batch agents"],
) -> Float[Array, "*batch agents"]:
    """By how much each agent's answer is expected to lower the squared error of the scaled state; 0 once asked.

    Args:
        network: says so; None where it was not learned.
        scaling: of states.
        mean, variance: what the team says, in the state's own units.
        asked: who has answered.

    Raises:
        InputError: it was not learned whom to ask.
    """
    if network is None:
        raise lacking("way to tell whom to ask", fusion=False)
    scaled = jnp.asarray(scaling.scale_variances(variance), jnp.float32)
    return _expected(network, jnp.asarray(scaling.scale(mean)), scaled, asked)


@jax.jit
def _expected(network: NextAgentNetwork, mean: Any, variance: Any, asked: Any) -> Float[Array, "*batch agents"]:
    rows = [part.reshape(-1, part.shape[-1]) for part in (mean, variance, asked)]
    return jax.vmap(network.expected)(*rows).reshape(asked.shape)


def ranked_agents(
    expected: Float[np.ndarray, "*batch agents"], asked: Bool[np.ndarray, "*batch agents"], among: Sequence[int] | None
) -> list[tuple[int, float]]:
    """Who has not answered, from the most useful on, with what is expected of each.

    Raises:
        InputError: these are many estimates, or an agent is unknown.
    """
    if expected.ndim > 1:
        raise InputError("Whom to ask is said of one estimate; of many read `expected_decreases`.")
    everybody = range(len(expected))
    named = everybody if among is None else [int(agent) for agent in among]
    unknown = [agent for agent in named if agent not in everybody]
    if unknown:
        raise InputError(f"among names agent {unknown[0]}, but the agents are 0 to {len(expected) - 1}.")
    left = [agent for agent in everybody if agent in named and not asked[agent]]
    return [(agent, float(expected[agent])) for agent in sorted(left, key=lambda agent: -expected[agent])]
