"""Worlds that no agent's history tells anything about, and what any team's observations tell, exactly.

    xor       two agents' bits; the state is whether they differ                     (`TabularProblem.xor`)
    parity    three agents' bits; the state is the parity of their sum
    sum       two agents' numbers from 0 to 3; the state is their sum modulo 4
    partly    two agents' pairs of bits (b_i, c_i); the state is (a, w), a one of two, w one of four, h = [w ≥ 2]:
              b_1 + b_2 = a + h  (mod 2),    P(c_1 + c_2 = h  (mod 2)) = 0.8

In the last one the joint history leaves four of eight states: w's half is told right in 0.8, a follows from it, and
which of the half's two states it is stays open.

Otherwise observations are equally likely, so that those of all agents but one say nothing of the state: their posterior
is the prior, which is uniform.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from composite_flow.problems.tabular import TabularProblem

PROBLEMS = ("xor", "parity", "sum", "partly")
RELIABILITY = 0.8  # of what c_1 + c_2 says of w's half


def build_problem(name: str) -> TabularProblem:
    """The world of one of the names of `PROBLEMS`."""
    return {"xor": TabularProblem.xor, "parity": _parity, "sum": _sum, "partly": _partly}[name]()


def team_posterior(
    problem: TabularProblem, observations: Float[Array, "agents observation"], participants: Bool[Array, " agents"]
) -> Float[Array, " states"]:
    """p(s | o_A) ∝ p(s) Σ_o P(o | s) [o_i as seen by all i in A], for one observation each.

    Args:
        problem: with states that are drawn anew at every step, or stay uniform.
        observations: one-hot, of all agents; those of others than participants are not read.
        participants: A.
    """
    size, count = problem.num_observations, problem.num_agents
    digits = jnp.asarray(np.indices((size,) * count).reshape(count, -1))  # the last agent's changes fastest
    seen = jnp.take_along_axis(observations, digits, axis=1) == 1.0
    fits = jnp.all(seen | ~participants[:, None], axis=0)
    weights = problem.initial_probabilities() * jnp.sum(jnp.where(fits[None], problem.observation, 0.0), axis=1)
    return weights / jnp.sum(weights)


team_posterior_each = jax.vmap(team_posterior, in_axes=(None, 0, 0))


def _parity() -> TabularProblem:
    state, *bits = np.indices((2, 2, 2, 2))
    told = (sum(bits) % 2 == state) / 4
    return _world(3, told.reshape(2, 8), np.eye(2), ("even", "odd"))


def _sum() -> TabularProblem:
    state, first, second = np.indices((4, 4, 4))
    told = ((first + second) % 4 == state) / 4
    return _world(2, told.reshape(4, 16), np.eye(4), [f"sum {k}" for k in range(4)])


def _partly() -> TabularProblem:
    a, w, b_1, c_1, b_2, c_2 = np.indices((2, 4, 2, 2, 2, 2))
    half = w // 2
    certain = (b_1 ^ b_2) == (a ^ half)
    guessed = np.where((c_1 ^ c_2) == half, RELIABILITY, 1.0 - RELIABILITY)
    features = np.concatenate([np.repeat(np.eye(2), 4, axis=0), np.tile(np.eye(4), (2, 1))], axis=1)
    names = ("a is 0", "a is 1", *(f"w is {k}" for k in range(4)))
    return _world(2, (certain * guessed / 4).reshape(8, 16), features, names)


def _world(num_agents: int, observation: np.ndarray, features: np.ndarray, names) -> TabularProblem:
    """A world of these observations, without anything to do: its states are drawn anew at every step."""
    count = len(features)
    return TabularProblem(
        num_agents,
        initial=np.full(count, 1 / count),
        transition=np.full((count, 1, count), 1 / count),
        observation=observation,
        rewards=np.zeros((count, 1)),
        features=features,
        state_names=names,
    )
