"""Teams whose answers are known, and joint histories of sensor networks."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from composite_flow.history import History, HistoryLayout
from composite_flow.kernel import log_uniform_kernel


class KnownSets(eqx.Module):
    """The ideal denoiser for σ ~ U[0, 1] whose history is the list of states that it allows, as zeros and ones."""

    states: Float[Array, "states state"]

    @property
    def state_size(self):
        return self.states.shape[1]

    def condition(self, history):
        return jnp.where(history[: self.states.shape[0]] > 0.5, 0.0, -jnp.inf) + 0.0 * history @ self.states[:, 0]

    def denoise(self, context, y):
        squared = jnp.sum((y[None] - self.states) ** 2, axis=-1)
        return jax.nn.softmax(context + log_uniform_kernel(squared, self.state_size, 0.0)) @ self.states


class Linear(eqx.Module):
    """f(τ_i, y) = p_i + J_i (y − p_i), its history the agent's one-hot identity."""

    points: Float[Array, "agents state"]
    jacobians: Float[Array, "agents state state"]

    @property
    def state_size(self):
        return self.points.shape[1]

    def condition(self, history):
        return history @ self.points, jnp.einsum("i,ijk->jk", history, self.jacobians)

    def denoise(self, context, y):
        point, jacobian = context
        return point + jacobian @ (y - point)


def everyone(num_agents):
    """The joint history of a `Linear` team."""
    return jnp.eye(num_agents)


def layout_of(problem):
    return HistoryLayout(1, problem.observation_size, problem.num_actions, problem.num_agents)


def encode_observations(problem, observations):
    """Joint histories of one step: (batch, agents, observation) -> (batch, agents, history)."""
    count = observations.shape[:2]
    return layout_of(problem).encode(
        History(
            observations=observations[:, :, None],
            actions=jnp.zeros((*count, 0), jnp.int32),
            mask=jnp.ones((*count, 1), bool),
            agent=jnp.broadcast_to(jnp.arange(problem.num_agents)[None], count),
        )
    )


def joint_histories(problem, states):
    """What the sensors of a deterministic network see in each of these states, encoded."""
    padded = jnp.pad(states, ((0, 0), (0, 1)))
    return encode_observations(problem, padded[:, problem.slots])
