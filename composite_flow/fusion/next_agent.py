"""Whom to ask next: by how much each agent's answer is expected to lower the variance, before it is heard.

    δ_ik(A) = v_k σ(B_ik + C_ik log(v_k P_0k) + D_ik m_k + h_ik(m, v, A)),    v_k the variance that the team A claims,
    m_k = (ŝ_A,k − s̄_k) √P_0k,    h a network's,    δ_i(A) = Σ_k δ_ik(A)

The share of a feature's variance that agent i removes lies between 0 and 1. Of numbers in a linear-Gaussian team with
diagonal information B = log(ρ_i/P_0), C = 1, D = h = 0 is exact:

    v − 1/(1/v + ρ_i) = v · v ρ_i/(1 + v ρ_i) = v σ(log(ρ_i/P_0) + log(v P_0))

It is learned by how far the claimed variance has really fallen with each answer (`next_agent_loss.py`).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.fusion.answers import Prior
from composite_flow.fusion.posterior import beside_prior
from composite_flow.network import uniform_weights

WIDTH = 128  # units of both hidden layers of h


class NextAgentNetwork(eqx.Module):
    """What each agent's answer is expected to remove.

    Attributes:
        offsets: B.
        variance_weights: C.
        mean_weights: D.
        weights, biases: of the layers of h.
        prior: of the answers; not trained.
    """

    offsets: Float[Array, "agents state"]
    variance_weights: Float[Array, "agents state"]
    mean_weights: Float[Array, "agents state"]
    weights: tuple[Float[Array, "inputs outputs"], ...]
    biases: tuple[Float[Array, " outputs"], ...]
    prior: Prior

    def __init__(self, prior: Prior, num_agents: int, width: int = WIDTH, *, key: PRNGKeyArray):
        """Every agent starts as one that halves every feature's variance in the prior.

        Args:
            prior: of the answers.
            num_agents: of the team.
            width: units of a hidden layer.
            key: random key.
        """
        size = len(prior.mean)
        table, sizes = (num_agents, size), (2 * size + num_agents, width, width, num_agents * size)
        hidden = (uniform_weights(k, sizes[layer : layer + 2]) for layer, k in enumerate(jax.random.split(key)))
        self.offsets, self.variance_weights, self.mean_weights = jnp.zeros(table), jnp.ones(table), jnp.zeros(table)
        self.weights = (*hidden, jnp.zeros(sizes[2:]))
        self.biases = tuple(jnp.zeros(outputs) for outputs in sizes[1:])
        self.prior = prior

    @property
    def num_agents(self) -> int:
        """Number of agents."""
        return len(self.offsets)

    def decreases(
        self, mean: Float[Array, " state"], variance: Float[Array, " state"], heard: Bool[Array, " agents"]
    ) -> Float[Array, "agents state"]:
        """δ_ik: what each agent is expected to remove of each feature's variance, whether or not it was heard.

        Args:
            mean, variance: what the team says, scaled.
            heard: who has answered.
        """
        prior = jax.lax.stop_gradient(self.prior)
        off, log_share = beside_prior(prior, mean, variance)
        x = jnp.concatenate([off, log_share, heard.astype(off.dtype)])
        for weights, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = jax.nn.relu(x @ weights + bias)
        joint = (x @ self.weights[-1] + self.biases[-1]).reshape(self.offsets.shape)
        alone = self.offsets + self.variance_weights * log_share[None] + self.mean_weights * off[None]
        return variance[None] * jax.nn.sigmoid(alone + joint)

    def expected(
        self, mean: Float[Array, " state"], variance: Float[Array, " state"], heard: Bool[Array, " agents"]
    ) -> Float[Array, " agents"]:
        """δ_i: summed over features; 0 of who was heard, whose answer counts once."""
        return jnp.where(heard, 0.0, jnp.sum(self.decreases(mean, variance, heard), axis=1))

    @property
    def settings(self) -> dict[str, Any]:
        """What `empty` needs; JSON-able."""
        return {"num_agents": self.num_agents, "width": len(self.biases[0])}

    @classmethod
    def empty(cls, num_agents: int, width: int, prior: Prior) -> "NextAgentNetwork":
        """The same structure without its numbers; the prior is that of the answers."""
        return eqx.filter_eval_shape(lambda key: cls(prior, num_agents, width, key=key), jax.random.key(0))
