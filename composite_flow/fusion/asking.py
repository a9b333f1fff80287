"""Asking agents one after the other, each time whose answer is expected to help most, until it is enough.

    i_1 = argmax δ_i(∅),   i_2 = argmax δ_i({i_1}),   …        (δ: `next_agent.py`)

Who has not been asked is not heard: neither the order nor the estimate depends on those agents' histories. It is enough
once the accuracy that is wanted is to be expected, or no answer is expected to lower the error by as much as it costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from composite_flow.certificate.verdict import Names
from composite_flow.data.scaling import Scaling
from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answer, Answers
from composite_flow.fusion.fuse import add_up, taking_part
from composite_flow.fusion.lacking import lacking
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.next_agent import NextAgentNetwork
from composite_flow.fusion.one_estimate import fuse_team
from composite_flow.fusion.posterior import posterior
from composite_flow.fusion.ranking import NOBODY_LEFT
from composite_flow.fusion.team_estimate import TeamEstimate
from composite_flow.validation import check_counts


class Enough(TypedDict, total=False):
    """When to stop asking, whichever comes first; without any of them everybody is asked.

    accuracy: the error ‖s − ŝ‖ of scaled states that is to be expected once enough is known, √Σ u (`expected_error`).
    price: what an answer must be expected to remove of its square, Σ u, to be worth its message.
    most: answers that are asked for at most.
    """

    accuracy: float | None
    price: float | None
    most: int | None


@dataclass(frozen=True, eq=False)
class Asked:
    """Who was asked, and what the team says then.

    Attributes:
        estimate: of all who answered.
        agents: who was asked, in this order.
        expected: by how much each answer was expected to lower the squared error of the scaled state.
        error: that is to be expected of the estimate, in the units of `accuracy`.
        reason: why nobody else was asked.
    """

    estimate: TeamEstimate
    agents: tuple[int, ...]
    expected: tuple[float, ...]
    error: float
    reason: str


class Turns(eqx.Module):
    """All agents that are there, in the order in which they would be asked.

    Attributes:
        agents: their numbers, −1 once nobody is left.
        expected: δ of each before it is heard; 0 where there is none.
        error: √Σ u before each turn, and after the last.
    """

    agents: Int[Array, " agents"]
    expected: Float[Array, " agents"]
    error: Float[Array, " agents_plus_1"]


def turns(
    network: NextAgentNetwork, each: Answer, there: Bool[Array, " agents"], heard: Bool[Array, " agents"]
) -> Turns:
    """In which order agents are asked.

    Args:
        network: names the next one.
        each: what all agents answer; an answer is read once its agent has been asked.
        there: who can be asked.
        heard: who has answered already.
    """

    def claims(team):
        mean, variance = posterior(network.prior, add_up(each, team))
        return mean, variance, jnp.sum(network.errors.of(mean, variance, team))

    def turn(team, _):
        mean, variance, squared = claims(team)
        expected, left = network.expected(mean, variance, team), there & ~team
        agent = jnp.argmax(jnp.where(left, expected, -jnp.inf))
        someone = jnp.any(left)
        found = jnp.where(someone, agent, -1), jnp.where(someone, expected[agent], 0.0), squared
        return team | (left & (jnp.arange(len(team)) == agent)), found

    team, (agents, expected, squared) = jax.lax.scan(turn, heard, length=len(there))
    return Turns(agents, expected, jnp.sqrt(jnp.append(squared, claims(team)[2])))


@eqx.filter_jit
def _turns(answers: Answers, network: NextAgentNetwork, histories, there, heard) -> Turns:
    return turns(network, answers.answer_each(histories), there & answers.there(histories), heard)


def ask(
    fusion: LearnedFusion,
    histories: Float[Array, "agents columns"] | Float[np.ndarray, "agents columns"],
    heard: Sequence[int],
    scaling: Scaling,
    names: Names,
    enough: Enough,
) -> Asked:
    """`Model.ask`.

    Args:
        fusion: with a network that names the next agent.
        histories: of all agents; of those who are not asked none is read.
        heard: who has answered already.
        scaling, names: of the states, and the agents' names.
        enough: when to stop.

    Raises:
        InputError: it was not learned whom to ask, all have answered already, or `enough` cannot be used.
    """
    if fusion.next_agent is None:
        raise lacking("way to tell whom to ask", fusion=False)
    _check(enough)
    num_agents = fusion.answers.num_agents
    team = taking_part(num_agents, heard) if len(heard) else np.zeros(num_agents, bool)
    everyone = np.ones(num_agents, bool)
    found = _turns(fusion.answers, fusion.next_agent, jnp.asarray(histories), everyone, jnp.asarray(team))
    order = np.asarray(found.agents)
    if order[0] < 0:
        raise InputError(NOBODY_LEFT)
    count, reason = _stop(found, enough)
    agents = tuple(order[:count].tolist())
    estimate = fuse_team(fusion, histories, team | np.isin(np.arange(num_agents), agents), scaling, names)
    expected = tuple(np.asarray(found.expected)[:count].tolist())
    return Asked(estimate, agents, expected, float(found.error[count]), reason)


def _stop(found: Turns, enough: Enough) -> tuple[int, str]:
    """How many agents are asked, and why no more."""
    agents, expected, error = (np.asarray(part) for part in (found.agents, found.expected, found.error))
    accuracy, price, most = (enough.get(name) for name in ("accuracy", "price", "most"))
    there = int(np.sum(agents >= 0))
    for count in range(there + 1):
        if accuracy is not None and error[count] <= accuracy:
            return count, "the estimate is as accurate as is wanted"
        if count < there and price is not None and expected[count] < price:
            return count, "no answer is expected to be worth its price"
        if count < there and most is not None and count >= most:
            return count, "no more answers are allowed"
    return there, "nobody is left to ask"


def _check(enough: Enough) -> None:
    accuracy, price, most = (enough.get(name) for name in ("accuracy", "price", "most"))
    if accuracy is not None and not accuracy > 0:
        raise InputError(f"accuracy must be positive, not {accuracy}: it is the error at which enough is known.")
    if price is not None and not price >= 0:
        raise InputError(f"price must be 0 or more, not {price}: what an answer must remove of the squared error.")
    if most is not None:
        check_counts(most=most)
