"""Teams whose answers are known, and joint histories of sensor networks."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from composite_flow.denoiser import IdealDenoiser, Uniform
from composite_flow.history import History, HistoryLayout
from composite_flow.problems.base import EnumerableProblem


class OneStepBelief(eqx.Module):
    """p(s | o) ∝ P(o | s): all states equally likely before a history of one step."""

    problem: EnumerableProblem
    layout: HistoryLayout
    states: Float[Array, "states state"]

    def __call__(self, history):
        return self.problem.log_likelihood(history.agent, history.observations[-1])


class KnownSets(eqx.Module):
    """Equally likely over the states that the history itself lists, as zeros and ones."""

    states: Float[Array, "states state"]
    layout: HistoryLayout

    def __call__(self, history):
        return jnp.log(history.observations[-1])


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


def ideal_sensors(problem, noise=None):
    """The ideal denoiser of a sensor network with histories of one step; σ ~ U[0, 1] by default."""
    layout = HistoryLayout(1, problem.observation_size, problem.num_actions, problem.num_agents)
    return IdealDenoiser(OneStepBelief(problem, layout, problem.states()), noise or Uniform())


def ideal_sets(states, num_agents):
    """The ideal denoiser of agents who are told which states they may believe in."""
    return IdealDenoiser(KnownSets(states, HistoryLayout(1, states.shape[0], 1, num_agents)))


def encode_observations(denoiser, observations):
    """Joint histories of one step: (batch, agents, observation) -> (batch, agents, history)."""
    count = observations.shape[:2]
    history = History(
        observations=observations[:, :, None],
        actions=jnp.zeros((*count, 0), jnp.int32),
        mask=jnp.ones((*count, 1), bool),
        agent=jnp.broadcast_to(jnp.arange(count[1])[None], count),
    )
    return denoiser.belief.layout.encode(history)


def joint_histories(denoiser, states):
    """What the sensors of a deterministic network see in each of these states, encoded."""
    padded = jnp.pad(states, ((0, 0), (0, 1)))
    return encode_observations(denoiser, padded[:, denoiser.belief.problem.slots])


def consistent_sets(coverage, states, truth):
    """Which states each agent allows when it sees its areas of the true one without error: (agents, states)."""
    differs = np.asarray(states) != np.asarray(truth)[None]
    return ~(np.asarray(coverage)[:, None, :] & differs[None]).any(axis=-1)
