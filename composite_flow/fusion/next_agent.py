"""Whom to ask next: by how much each agent's answer is expected to lower the error, before it is heard.

    δ_ik(A) = u_k σ(B_ik + C_ik log(v_k P_0k) + D_ik m_k + h_ik(m, v, A)),     δ_i(A) = Σ_k δ_ik(A),
    m_k = (ŝ_A,k − s̄_k) √P_0k,    v_k the variance that the team A claims,    h a network's

u_k is the squared error that is to be expected of what A says (`expected_error.py`): v_k, where claims are right. The
share that agent i removes of it lies between 0 and 1. Of numbers in a linear-Gaussian team with diagonal information
B = log(ρ_i/P_0), C = 1, D = h = 0 is exact:

    v − 1/(1/v + ρ_i) = v · v ρ_i/(1 + v ρ_i) = v σ(log(ρ_i/P_0) + log(v P_0))
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.fusion.answers import Prior
from composite_flow.fusion.expected_error import ExpectedError, Layers, what_is_told
from composite_flow.fusion.posterior import beside_prior

WIDTH = 128  # units of each hidden layer


class NextAgentNetwork(eqx.Module):
    """What each agent's answer is expected to remove.

    Attributes:
        errors: u.
        offsets: B.
        variance_weights: C.
        mean_weights: D.
        layers: of h.
    """

    errors: ExpectedError
    offsets: Float[Array, "agents state"]
    variance_weights: Float[Array, "agents state"]
    mean_weights: Float[Array, "agents state"]
    layers: Layers

    def __init__(self, prior: Prior, num_agents: int, width: int = WIDTH, *, key: PRNGKeyArray):
        """Every agent starts as one that halves every feature's variance in the prior.

        Args:
            prior: of the answers.
            num_agents: of the team.
            width: units of a hidden layer.
            key: random key.
        """
        key_errors, key_layers = jax.random.split(key)
        table = (num_agents, len(prior.mean))
        self.errors = ExpectedError(prior, num_agents, width, key=key_errors)
        self.offsets, self.variance_weights, self.mean_weights = jnp.zeros(table), jnp.ones(table), jnp.zeros(table)
        self.layers = Layers(2 * table[1] + table[0], width, table[0] * table[1], key=key_layers)

    @property
    def prior(self) -> Prior:
        """Of the answers."""
        return jax.lax.stop_gradient(self.errors.prior)

    @property
    def num_agents(self) -> int:
        """Number of agents."""
        return len(self.offsets)

    def decreases(
        self, mean: Float[Array, " state"], variance: Float[Array, " state"], heard: Bool[Array, " agents"]
    ) -> Float[Array, "agents state"]:
        """δ_ik: what each agent is expected to remove of each feature's squared error, whether or not it was heard.

        Args:
            mean, variance: what the team says, scaled.
            heard: who has answered.
        """
        off, log_share = beside_prior(self.prior, mean, variance)
        joint = self.layers(what_is_told(self.prior, mean, variance, heard)).reshape(self.offsets.shape)
        alone = self.offsets + self.variance_weights * log_share[None] + self.mean_weights * off[None]
        left = jax.lax.stop_gradient(self.errors.of(mean, variance, heard))
        return left[None] * jax.nn.sigmoid(alone + joint)

    def expected(
        self, mean: Float[Array, " state"], variance: Float[Array, " state"], heard: Bool[Array, " agents"]
    ) -> Float[Array, " agents"]:
        """δ_i: summed over features; 0 of who was heard, whose answer counts once."""
        return jnp.where(heard, 0.0, jnp.sum(self.decreases(mean, variance, heard), axis=1))

    @property
    def settings(self) -> dict[str, Any]:
        """What `empty` needs; JSON-able."""
        return {"num_agents": self.num_agents, "width": len(self.layers.biases[0])}

    @classmethod
    def empty(cls, num_agents: int, width: int, prior: Prior) -> "NextAgentNetwork":
        """The same structure without its numbers; the prior is that of the answers."""
        return eqx.filter_eval_shape(lambda key: cls(prior, num_agents, width, key=key), jax.random.key(0))
