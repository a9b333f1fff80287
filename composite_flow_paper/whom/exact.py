"""The exact greedy choice, and exact errors, where states and observations of one step can be listed.

    p(s | τ_A)  ∝  p(s) Π_{i ∈ A} P(o_i | s),
    i* = argmin_i Σ_o p(o | τ_A) Σ_k Var(s_k | τ_A, o_i = o)

that is, whose observation is expected to leave the least variance, before it is heard.
"""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from composite_flow.problems.sensor import SensorNetwork


class Tables(eqx.Module):
    """A world of one step.

    Attributes:
        states: all of them.
        prior: how likely each is.
        likelihoods: P(o_i | s) of everything that an agent can see.
    """

    states: Float[Array, "states state"]
    prior: Float[Array, " states"]
    likelihoods: Float[Array, "agents outcomes states"]

    def told(self, outcomes: Int[Array, " agents"]) -> Float[Array, "agents states"]:
        """P(o_i | s) of what each agent saw."""
        return self.likelihoods[jnp.arange(len(outcomes)), outcomes]

    def belief(self, told: Float[Array, "agents states"], heard: Bool[Array, " agents"]) -> Float[Array, " states"]:
        """p(s | what was heard)."""
        belief = self.prior * jnp.prod(jnp.where(heard[:, None], told, 1.0), axis=0)
        return belief / jnp.sum(belief)

    def moments(self, belief: Float[Array, " states"]) -> tuple[Float[Array, " state"], Float[Array, ""]]:
        """The mean of the state, and its summed variance."""
        mean = belief @ self.states
        return mean, jnp.sum(belief @ (self.states - mean[None]) ** 2)

    def left_by_each(self, belief: Float[Array, " states"]) -> Float[Array, " agents"]:
        """The summed variance that is expected after each agent's observation."""
        chances = self.likelihoods @ belief
        sums = jnp.einsum("ios,sk->iok", self.likelihoods * belief[None, None], self.states)
        squares = jnp.sum(sums**2, axis=2) / jnp.where(chances > 0, chances, 1.0)
        return jnp.sum(belief @ self.states**2) - jnp.sum(squares, axis=1)


def tables_of(problem: SensorNetwork) -> tuple[Tables, Float[Array, "outcomes slots"]]:
    """The tables of a sensor network, and what an agent can see, in their order."""
    seen = jnp.asarray(list(itertools.product((0.0, 1.0), repeat=problem.observation_size)))
    each = jax.vmap(lambda agent: jax.vmap(lambda one: problem.log_likelihood(agent, one))(seen))
    likelihoods = jnp.exp(each(jnp.arange(problem.num_agents)))
    return Tables(problem.states(), problem.initial_probabilities(), likelihoods), seen


def outcomes_of(
    observations: Float[Array, "*batch slots"], seen: Float[Array, "outcomes slots"]
) -> Int[Array, "*batch"]:
    """The number of each observation in the list."""
    weights = 2 ** jnp.arange(seen.shape[1])[::-1]
    return jnp.sum(observations.astype(jnp.int32) * weights[(None,) * (observations.ndim - 1)], axis=-1)


def greedy_order(tables: Tables, told: Float[Array, "agents states"]) -> Int[Array, " agents"]:
    """In which order the exact greedy choice asks all agents."""

    def turn(heard, _):
        left = tables.left_by_each(tables.belief(told, heard))
        agent = jnp.argmin(jnp.where(heard, jnp.inf, left))
        return heard.at[agent].set(True), agent

    return jax.lax.scan(turn, jnp.zeros(len(told), bool), length=len(told))[1]


def first_of(order: Int[Array, " agents"]) -> Bool[Array, "agents_plus_1 agents"]:
    """Who is heard after each number of messages, from nobody to all."""
    place = jnp.argsort(order)
    return place[None, :] < jnp.arange(len(order) + 1)[:, None]


def expected_errors(
    tables: Tables,
    told: Float[Array, "agents states"],
    teams: Bool[Array, "teams agents"],
    means: Float[Array, "teams state"],
) -> tuple[Float[Array, " teams"], Float[Array, " teams"]]:
    """The squared error that is expected of what teams say, and the least, that of the exact mean.

    E ‖s − ŝ_A‖² given what A has seen is ‖ŝ_A − E s‖² + Σ_k Var s_k, also where who was asked depends on the answers.

    Args:
        tables: of the world.
        told: of what each agent saw.
        teams: who is heard.
        means: what each team says.
    """
    exact, variances = jax.vmap(lambda team: tables.moments(tables.belief(told, team)))(teams)
    return jnp.sum((means - exact) ** 2, axis=1) + variances, variances
