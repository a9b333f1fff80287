"""The squared error that is really to be expected of what a team says, given all of it.

    numbers                    u_k = v_k exp(g_k)
    binary features, one of k  r = sigmoid(logit ŝ + g), or softmax(log ŝ + g);   u_k = r_k (1 − r_k) + (r_k − ŝ_k)²

g is a network's, of mean, claimed variance and who was heard. A sum of answers claims of each feature by itself; g also
knows what features have to do with each other: once both of two targets are found, all other areas are empty, however
often nobody has looked there. It is trained by the likelihood of the true state, ½ (log u + e²/u) or the cross-entropy
of r, and starts at 0, where u is the claimed variance.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.fusion.answers import Prior, logits_of
from composite_flow.fusion.posterior import beside_prior
from composite_flow.network import uniform_weights

LARGEST_CORRECTION = 12.0


class Layers(eqx.Module):
    """Layers of a network, the last of which starts at 0.

    Attributes:
        weights, biases: of each.
    """

    weights: tuple[Float[Array, "inputs outputs"], ...]
    biases: tuple[Float[Array, " outputs"], ...]

    def __init__(self, inputs: int, width: int, outputs: int, *, key: PRNGKeyArray):
        """Two hidden layers of this width."""
        sizes = (inputs, width, width, outputs)
        hidden = (uniform_weights(k, sizes[layer : layer + 2]) for layer, k in enumerate(jax.random.split(key)))
        self.weights = (*hidden, jnp.zeros(sizes[2:]))
        self.biases = tuple(jnp.zeros(size) for size in sizes[1:])

    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        """The outputs."""
        for weights, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = jax.nn.relu(x @ weights + bias)
        return x @ self.weights[-1] + self.biases[-1]


def what_is_told(
    prior: Prior, mean: Float[Array, " state"], variance: Float[Array, " state"], heard: Bool[Array, " agents"]
) -> Float[Array, " inputs"]:
    """What networks read of a team: means and variances beside the prior's, of like size, and who was heard."""
    off, log_share = beside_prior(prior, mean, variance)
    return jnp.concatenate([off, 0.3 * log_share, heard.astype(off.dtype)])


class ExpectedError(eqx.Module):
    """u.

    Attributes:
        layers: of g.
        prior: of the answers; not trained.
    """

    layers: Layers
    prior: Prior

    def __init__(self, prior: Prior, num_agents: int, width: int, *, key: PRNGKeyArray):
        """Draw the weights."""
        size = len(prior.mean)
        self.layers, self.prior = Layers(2 * size + num_agents, width, size, key=key), prior

    def of(
        self, mean: Float[Array, " state"], variance: Float[Array, " state"], heard: Bool[Array, " agents"]
    ) -> Float[Array, " state"]:
        """u of what a team says, scaled, once these were heard."""
        correction, logits = self._refined(mean, variance, heard)
        types = self.prior.types
        likely = types.probabilities(logits)
        spread = likely * (1.0 - likely) + (likely - mean) ** 2
        return jnp.where(jnp.asarray(types.is_number), variance * jnp.exp(correction), spread)

    def loss(
        self,
        mean: Float[Array, " state"],
        variance: Float[Array, " state"],
        heard: Bool[Array, " agents"],
        state: Float[Array, " state"],
    ) -> Float[Array, ""]:
        """−log p of the true state, up to a constant, averaged over features."""
        correction, logits = self._refined(mean, variance, heard)
        types = self.prior.types
        relative = (state - mean) ** 2 / jnp.where(types.is_number, variance, 1.0)  # others may be certain
        number = 0.5 * (correction + relative * jnp.exp(-correction))
        binary = jax.nn.softplus(logits) - state * logits
        total = jnp.sum(jnp.where(types.is_number, number, jnp.where(types.is_binary, binary, 0.0)))
        for first, stop in types.groups:
            total -= jax.nn.log_softmax(logits[first:stop]) @ state[first:stop]
        return total / len(state)

    def _refined(self, mean, variance, heard) -> tuple[Float[Array, " state"], Float[Array, " state"]]:
        """g, and the logits of r."""
        prior = jax.lax.stop_gradient(self.prior)
        said = self.layers(what_is_told(prior, mean, variance, heard))
        correction = LARGEST_CORRECTION * jnp.tanh(said / LARGEST_CORRECTION)
        return correction, logits_of(mean, prior.types) + correction
