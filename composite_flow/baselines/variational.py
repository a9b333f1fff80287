"""A conditional variational autoencoder for the states that one history allows (Sohn et al. 2015).

    p(z) = N(0, I),    p(s | τ, z) = N(g(τ, z), v I),    q(z | s, τ) = N(μ(s, τ), diag ρ(s, τ)²)

trained on the negative evidence lower bound of log p(s | τ), with a learned variance v (Rybkin et al. 2021):

    ‖s − g(τ, z)‖² / 2v + (d/2) log 2πv + KL(q ‖ p),   z ~ q,    KL = ½ Σ (ρ² + μ² − 1 − log ρ²)

An agent alone draws z ~ N(0, I) and answers g(τ, z), or the mean of many of these. Decoder and encoder are networks as
the denoiser's, with the history at every layer. In the decoder z, which is as long as a state, takes the place of y; in
the encoder (s, 0) does.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.network import Network

_LOG_LIMIT = 10.0  # bound on the logarithms of variances; it keeps the first steps finite, and no fit needs more


class VariationalAutoencoder(eqx.Module):
    """The encoder, the decoder and the variance of the decoded state.

    Attributes:
        encoder: (s, 0) and τ to (μ, log ρ²).
        decoder: z and τ to g(τ, z).
        log_variance: log v.
    """

    encoder: Network
    decoder: Network
    log_variance: Float[Array, ""]

    def __init__(
        self,
        minimum: Float[Array, " history"],
        maximum: Float[Array, " history"],
        state_size: int,
        width: int,
        depth: int = 6,
        *,
        key: PRNGKeyArray,
    ):
        """Draw the weights.

        Args:
            minimum, maximum: range of each history column in the training data.
            state_size: number of features of the state, and of z.
            width: units of a hidden layer in both networks.
            depth: number of hidden layers in each network.
            key: random key.
        """
        key_encoder, key_decoder = jax.random.split(key)
        encoder = Network(minimum.shape[0], 2 * state_size, width, depth, key=key_encoder)
        decoder = Network(minimum.shape[0], state_size, width, depth, key=key_decoder)
        self.encoder = encoder.with_history_range(minimum, maximum)
        self.decoder = decoder.with_history_range(minimum, maximum)
        # Small, because otherwise z would be ignored before the decoder has learned to use it.
        self.log_variance = jnp.array(-4.0)

    def encode(
        self, history: Float[Array, " history"], state: Float[Array, " state"]
    ) -> tuple[Float[Array, " state"], Float[Array, " state"]]:
        """μ and log ρ² of q(z | s, τ)."""
        inputs = jnp.concatenate([state, jnp.zeros_like(state)])
        mean, log_variance = jnp.split(self.encoder.denoise(self.encoder.condition(history), inputs), 2)
        return mean, jnp.clip(log_variance, -_LOG_LIMIT, _LOG_LIMIT)


def divergence(mean: Float[Array, " latent"], log_variance: Float[Array, " latent"]) -> Float[Array, ""]:
    """KL(N(μ, diag ρ²) ‖ N(0, I)) = ½ Σ (ρ² + μ² − 1 − log ρ²)."""
    return 0.5 * jnp.sum(jnp.exp(log_variance) + mean**2 - 1.0 - log_variance)


def evidence_losses(
    model: VariationalAutoencoder,
    histories: Float[Array, "batch history"],
    states: Float[Array, "batch state"],
    key: PRNGKeyArray,
) -> Float[Array, " batch"]:
    """The negative evidence lower bound of each pair, with one z ~ q."""

    def one(history, state, noise):
        mean, log_variance = model.encode(history, state)
        z = mean + jnp.exp(0.5 * log_variance) * noise
        decoded = model.decoder.denoise(model.decoder.condition(history), z)
        log_v = jnp.clip(model.log_variance, -_LOG_LIMIT, _LOG_LIMIT)
        constant = 0.5 * state.shape[0] * (jnp.log(2.0 * jnp.pi) + log_v)
        return jnp.sum((state - decoded) ** 2) / (2.0 * jnp.exp(log_v)) + constant + divergence(mean, log_variance)

    return jax.vmap(one)(histories, states, jax.random.normal(key, states.shape))


def prior_samples(
    model: VariationalAutoencoder, history: Float[Array, " history"], *, key: PRNGKeyArray, num_samples: int
) -> Float[Array, "{num_samples} state"]:
    """States that one agent draws by itself: g(τ, z) with z ~ N(0, I)."""
    context = model.decoder.condition(history)
    noise = jax.random.normal(key, (num_samples, model.decoder.state_size))
    return jax.vmap(model.decoder.denoise, in_axes=(None, 0))(context, noise)
