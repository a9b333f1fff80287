"""How well an agent's history goes with what the others say: a ratio of probabilities that is learned.

    T(τ_i, m_−i) = log p(τ_i | m_−i) − log q(τ_i | m_−i)

q is where mismatched histories come from: another moment of the same episode, another episode, another agent. A network
that tells these from the agent's own has T as its logit (noise-contrastive estimation: Gutmann and Hyvärinen, 2010). An
agent surprises by −log σ(T) nats. Discrepancies of single features miss what such a network sees: a history that no
feature contradicts much and that all of them together do.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.fusion.answers import Answer, Prior
from composite_flow.fusion.familiar import Familiar
from composite_flow.fusion.posterior import beside_prior, posterior
from composite_flow.network import uniform_weights

WIDTH, DEPTH = 256, 3
_MOST = 2.0  # of columns, in widths of their range


class Consistency(eqx.Module):
    """The network that judges; everything is one agent's.

    Attributes:
        weights, biases: of each layer.
        low, width: of each column of a history, which is mapped to [0, 1]; not trained.
        prior: of the answers that it reads; not trained.
    """

    weights: tuple[Float[Array, "inputs outputs"], ...]
    biases: tuple[Float[Array, " outputs"], ...]
    low: Float[Array, " own"]
    width: Float[Array, " own"]
    prior: Prior

    def __init__(self, familiar: Familiar, prior: Prior, num_agents: int, *, key: PRNGKeyArray):
        """Draw the weights; `familiar` tells the range of histories."""
        inputs = len(familiar.low) + num_agents + 5 * len(prior.mean)
        sizes = [inputs, *[WIDTH] * DEPTH, 1]
        keys = jax.random.split(key, DEPTH + 1)
        pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
        self.weights = tuple(uniform_weights(k, pair) for k, pair in zip(keys, pairs, strict=True))
        self.biases = tuple(jnp.zeros(outputs) for _, outputs in pairs)
        self.low, self.width, self.prior = familiar.low, familiar.width, prior

    def logit(self, history: Float[Array, " history"], mine: Answer, others: Answer) -> Float[Array, ""]:
        """T of an agent's history.

        Args:
            history: with the agent's identity.
            mine: what the agent answers.
            others: the sum of what all others answer.
        """
        low, width, prior = jax.lax.stop_gradient((self.low, self.width, self.prior))
        own = jnp.clip((history[: len(low)] - low) / width, 1.0 - _MOST, _MOST) - 0.5
        (mean, sureness), (told, told_sureness) = (_relative(prior, answer) for answer in (mine, others))
        x = jnp.concatenate([own, history[len(low) :], mean, sureness, told, told_sureness, mean - told])
        for weights, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = jax.nn.relu(x @ weights + bias)
        return (x @ self.weights[-1] + self.biases[-1])[0]

    def surprise(
        self, histories: Float[Array, "agents history"], mine: Answer, others: Answer
    ) -> Float[Array, " agents"]:
        """−log σ(T) of every agent, agents along the leading axis of all."""
        return jax.nn.softplus(-jax.vmap(self.logit)(histories, mine, others))

    @property
    def settings(self) -> dict[str, Any]:
        """What `empty` needs; JSON-able."""
        own, state = len(self.low), len(self.prior.mean)
        return {"own": own, "num_agents": len(self.weights[0]) - own - 5 * state}

    @classmethod
    def empty(cls, own: int, num_agents: int, prior: Prior) -> "Consistency":
        """The same structure without its numbers."""
        familiar = Familiar.empty(own, 1)
        return eqx.filter_eval_shape(lambda key: cls(familiar, prior, num_agents, key=key), jax.random.key(0))


def _relative(prior: Prior, answer: Answer) -> tuple[Array, Array]:
    """The mean, beside that of the prior in its deviations, and the log of the variance's share, of like size."""
    off, log_share = beside_prior(prior, *posterior(prior, answer))
    return off, 0.3 * log_share


def others_of(each: Answer, participants: Array) -> Answer:
    """For each agent the sum of the answers of all other participants."""
    counted = jax.tree.map(lambda part: jnp.where(participants[:, None], part, 0.0), each)
    return jax.tree.map(lambda part: jnp.sum(part, axis=0)[None] - part, counted)
