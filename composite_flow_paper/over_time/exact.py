"""The exact filter of a team whose answers may be lost, where motion does not depend on actions.

p_t(s')  ∝  Σ_s p_{t−1}(s) P(s' | s)  Π_{i heard at t} P(o_{t,i} | s')
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from composite_flow.problems.base import EnumerableProblem


@eqx.filter_jit
def exact_means(
    problem: EnumerableProblem,
    observations: Float[Array, "episodes steps agents observation"],
    heard: Bool[Array, "episodes steps agents"],
) -> Float[Array, "episodes steps state"]:
    """The mean of the state at each step, given what was heard up to it, from the episodes' first steps on.

    Args:
        problem: whose transitions are the same under all actions, as those of sensor networks are.
        observations: of all agents.
        heard: whose observations arrive.
    """
    moves = problem.transition_probabilities(jnp.zeros(problem.num_agents, jnp.int32))
    agents, start, features = jnp.arange(problem.num_agents), problem.initial_probabilities(), problem.states()

    def step(predicted, inputs):
        seen, arrives = inputs
        told = jax.vmap(problem.log_likelihood)(agents, seen)
        log_belief = jnp.log(predicted) + jnp.sum(jnp.where(arrives[:, None], told, 0.0), axis=0)
        belief = jax.nn.softmax(log_belief)
        return moves.T @ belief, belief @ features

    def of_episode(inputs):
        return jax.lax.scan(step, start, inputs)[1]

    return jax.lax.map(of_episode, (observations, heard))
