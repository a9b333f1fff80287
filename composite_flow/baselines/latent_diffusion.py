"""A conditional diffusion model of the state given all histories, with a latent mode.

    e = e(τ_1, …, τ_n),   z ~ p(z | e) = N(μ, diag ρ²),   s ~ p(s | e, z) by diffusion
    q(z | e, s) = N(μ + δ, diag (ρ κ)²),  δ and κ of e and s,   in training alone

    loss = E_σ,ζ w(σ) ‖s − D(e, z, s + σ ζ, σ)‖² + KL(q ‖ p) / log(σ_max/σ_min),   z ~ q

As GlobeDiff (Yang et al. 2026, arXiv 2602.15776) describes, a latent variable chooses among the states that are
possible: in training it is inferred from the state as well, for an estimate from what is seen alone, and a divergence
keeps the two together. The denoiser is conditioned on both. That much is taken from the description. What it leaves
open or what differs here:

- e reads the histories of all agents (GlobeDiff: an agent's observations, or what it gets from others).
- D is fully connected, in the place of a U-Net, and has Karras's form (Karras et al. 2022) about a mean m and a
  variance v of each feature, linear and log-linear in (e, z), which start at the states' own:
  D = m + c (y − m) + √v σ F/√(σ² + v), c = v/(σ² + v). About the states' own mean and variance throughout samples
  are five decibels worse in battles: F has to take out again the noise that c lets through.
  log σ is uniform in [log 0.05, log 3]; GlobeDiff's noise levels are discrete.
- In the continuous limit ½ ∫ d(1/σ²) ‖s − D‖² is the diffusion's part of the variational bound, which for log σ uniform
  is log(σ_max/σ_min) E_σ ‖s − D‖²/σ². With the weight of the divergence above the loss is that bound, in other units,
  but for w(σ) = 1/σ² + 1/ς², which counts large noise more; ς is the states' standard deviation. GlobeDiff's own weight
  is not known to us.
- Samples are drawn by 30 ancestral steps (`fusion/team_sampling.py`).
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.fusion.team_network import MessageNetwork
from composite_flow.fusion.team_sampling import LARGEST_SIGMA, LAST_SIGMA, sample_conditional
from composite_flow.network import check_sizes, scaling_range, uniform_weights

_LOG_RANGE = (math.log(LAST_SIGMA), math.log(LARGEST_SIGMA))
_LARGEST_LOG = 5.0  # of the latent's standard deviations; no fit needs more
_VARIANCES = (-8.0, 4.0)  # of log v/ς²

Gaussian = tuple[Float[Array, " latent"], Float[Array, " latent"]]
"""A mean and the logarithm of a standard deviation, of each of the latent's numbers."""
Conditioned = tuple[Float[Array, "depth width"], Float[Array, " state"], Float[Array, " state"]]
"""The denoiser's biases, m and v."""


class LatentDiffusion(eqx.Module):
    """The encoder of histories, prior and posterior of the latent, and the denoiser.

    Attributes:
        encoder: its two layers' weights.
        encoder_biases: its two layers' biases.
        prior: weights of μ and log ρ, linear in e.
        posterior: e and s to δ and log κ.
        denoiser: (e, z) and (y, log σ) to F.
        moments, variance_bias: weights of (m − s̄)/ς and of log v/ς², side by side, and the bias of the latter.
        mean, scale: s̄ and ς of the training states; not trained.
        history_minimum, history_maximum: range of each column of all histories side by side; not trained.
    """

    encoder: tuple[Float[Array, "joint width"], Float[Array, "width width"]]
    encoder_biases: Float[Array, "two width"]
    prior: Float[Array, "width latent_twice"]
    posterior: MessageNetwork
    denoiser: MessageNetwork
    moments: Float[Array, "message two_state"]
    variance_bias: Float[Array, " state"]
    mean: Float[Array, " state"]
    scale: Float[Array, ""]
    history_minimum: Float[Array, " joint"]
    history_maximum: Float[Array, " joint"]

    def __init__(
        self,
        history_range: tuple[Float[Array, " joint"], Float[Array, " joint"]],
        mean: Float[Array, " state"],
        scale: Float[Array, ""],
        width: int,
        depth: int = 6,
        latent_size: int = 16,
        *,
        key: PRNGKeyArray,
    ):
        """Draw the weights from U[−1, 1] / √fan_in; the prior starts at N(0, I), the posterior at the prior, F at 0,
        m and v at s̄ and ς².

        Args:
            history_range: smallest and largest value of each column of all histories side by side.
            mean, scale: s̄, and the root of the states' mean variance.
            width: units of a hidden layer in all networks.
            depth: number of hidden layers of the denoiser; the posterior has two.
            latent_size: numbers in z.
            key: random key.

        Raises:
            InputError: a size below one.
        """
        joint_size, state_size = len(history_range[0]), len(mean)
        check_sizes(history=joint_size, state=state_size, width=width, depth=depth, latent=latent_size)
        key_first, key_second, key_posterior, key_denoiser = jax.random.split(key, 4)
        self.encoder = uniform_weights(key_first, (joint_size, width)), uniform_weights(key_second, (width, width))
        self.encoder_biases, self.prior = jnp.zeros((2, width)), jnp.zeros((width, 2 * latent_size))
        self.posterior = MessageNetwork(width, state_size, 2 * latent_size, width, 2, key=key_posterior)
        self.denoiser = MessageNetwork(width + latent_size, state_size + 1, state_size, width, depth, key=key_denoiser)
        self.moments, self.variance_bias = jnp.zeros((width + latent_size, 2 * state_size)), jnp.zeros(state_size)
        self.mean, self.scale = mean, scale
        self.history_minimum, self.history_maximum = scaling_range(*history_range)

    @property
    def state_size(self) -> int:
        """Number of features of the state."""
        return len(self.mean)

    def encode(self, history: Float[Array, " joint"]) -> Float[Array, " width"]:
        """e, of all histories side by side."""
        low, high = jax.lax.stop_gradient((self.history_minimum, self.history_maximum))
        hidden = jax.nn.relu((history - low) / (high - low) @ self.encoder[0] + self.encoder_biases[0])
        encoded = jax.nn.relu(hidden @ self.encoder[1] + self.encoder_biases[1])
        # of unit scale: what it says would be drowned by y in the denoiser, which would not learn to read it for long
        centred = encoded - jnp.mean(encoded)
        return centred * jax.lax.rsqrt(jnp.mean(centred**2) + 1e-5)

    def latent_prior(self, encoded: Float[Array, " width"]) -> Gaussian:
        """p(z | e)."""
        mean, log_scale = jnp.split(encoded @ self.prior, 2)
        return mean, jnp.clip(log_scale, -_LARGEST_LOG, _LARGEST_LOG)

    def latent_posterior(self, encoded: Float[Array, " width"], state: Float[Array, " state"]) -> Gaussian:
        """q(z | e, s)."""
        mean, log_scale = self.latent_prior(encoded)
        moved, narrowed = jnp.split(self.posterior(self.posterior.condition(encoded), self._centred(state)), 2)
        return mean + moved, jnp.clip(log_scale + narrowed, -_LARGEST_LOG, _LARGEST_LOG)

    def condition(self, history: Float[Array, " message"]) -> Conditioned:
        """What depends on (e, z), which stand in the place of the history."""
        moved, log_ratio = jnp.split(history @ self.moments, 2)
        log_ratio = jnp.clip(log_ratio + self.variance_bias, *_VARIANCES)
        mean, scale = jax.lax.stop_gradient((self.mean, self.scale))
        return self.denoiser.condition(history), mean + scale * moved, scale**2 * jnp.exp(log_ratio)

    def at(self, sigma: float | Float[Array, ""]) -> "LatentDenoiser":
        """D(e, z, ·, σ)."""
        return LatentDenoiser(self, sigma)

    def denoised(
        self, context: Conditioned, y: Float[Array, " state"], sigma: float | Float[Array, ""]
    ) -> Float[Array, " state"]:
        """D(e, z, y, σ)."""
        biases, mean, variance = context
        spread = jnp.sqrt(1.0 + (sigma / jax.lax.stop_gradient(self.scale)) ** 2)
        inputs = jnp.append(self._centred(y) / spread, jnp.log(sigma))
        total = sigma**2 + variance
        kept = variance / total * (y - mean)
        return mean + kept + sigma * jnp.sqrt(variance / total) * self.denoiser(biases, inputs)

    def _centred(self, state: Float[Array, " state"]) -> Float[Array, " state"]:
        return (state - jax.lax.stop_gradient(self.mean)) / jax.lax.stop_gradient(self.scale)


class LatentDenoiser(eqx.Module):
    """The denoiser at one noise level.

    Attributes:
        model: whose.
        sigma: σ.
    """

    model: LatentDiffusion
    sigma: float | Float[Array, ""]

    @property
    def state_size(self) -> int:
        """Number of features of the state."""
        return self.model.state_size

    def condition(self, history: Float[Array, " message"]) -> Conditioned:
        """What depends on (e, z)."""
        return self.model.condition(history)

    def denoise(self, context: Conditioned, y: Float[Array, " state"]) -> Float[Array, " state"]:
        """E[s | y, e, z, σ]."""
        return self.model.denoised(context, y, self.sigma)


def latent_divergence(posterior: Gaussian, prior: Gaussian) -> Float[Array, ""]:
    """KL(q ‖ p) = Σ log(ρ_p/ρ_q) + (ρ_q² + (μ_q − μ_p)²)/(2 ρ_p²) − ½."""
    (mean, log_scale), (prior_mean, prior_log_scale) = posterior, prior
    ratio = 2.0 * (log_scale - prior_log_scale)
    moved = (mean - prior_mean) * jnp.exp(-prior_log_scale)
    return 0.5 * jnp.sum(jnp.exp(ratio) - ratio - 1.0 + moved**2)


def diffusion_losses(
    model: LatentDiffusion,
    histories: Float[Array, "batch joint"],
    states: Float[Array, "batch state"],
    key: PRNGKeyArray,
) -> Float[Array, " batch"]:
    """The loss of each step, with one z ~ q, one σ and one noise."""

    def one(history, state, key):
        key_latent, key_sigma, key_noise = jax.random.split(key, 3)
        encoded = model.encode(history)
        posterior = mean, log_scale = model.latent_posterior(encoded, state)
        z = mean + jnp.exp(log_scale) * jax.random.normal(key_latent, mean.shape)
        sigma = jnp.exp(jax.random.uniform(key_sigma, minval=_LOG_RANGE[0], maxval=_LOG_RANGE[1]))
        y = state + sigma * jax.random.normal(key_noise, state.shape)
        error = model.at(sigma).denoise(model.condition(jnp.concatenate([encoded, z])), y) - state
        weight = 1.0 / sigma**2 + 1.0 / jax.lax.stop_gradient(model.scale) ** 2
        divergence = latent_divergence(posterior, model.latent_prior(encoded))
        return weight * jnp.sum(error**2) + divergence / (_LOG_RANGE[1] - _LOG_RANGE[0])

    return jax.vmap(one)(histories, states, jax.random.split(key, len(states)))


def diffusion_samples(
    model: LatentDiffusion, history: Float[Array, " joint"], *, key: PRNGKeyArray, num_samples: int, num_steps: int = 30
) -> Float[Array, "{num_samples} state"]:
    """States that the histories allow: z from the prior, then s by `num_steps` calls of the denoiser, for each sample.

    Args:
        model: the trained model.
        history: all histories side by side.
        key: random key.
        num_samples: how many.
        num_steps: calls of the denoiser for each sample.

    Raises:
        InputError: fewer than two steps.
    """
    encoded = model.encode(history)
    mean, log_scale = model.latent_prior(encoded)

    def one(key):
        key_latent, key_state = jax.random.split(key)
        z = mean + jnp.exp(log_scale) * jax.random.normal(key_latent, mean.shape)
        return sample_conditional(model, jnp.concatenate([encoded, z]), 1, num_steps=num_steps, key=key_state)[0]

    return jax.vmap(one)(jax.random.split(key, num_samples))
