"""The diffusion model with a latent mode: divergences and losses by closed forms, and two modes that it finds."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.baselines.latent_diffusion import (
    LatentDiffusion,
    diffusion_losses,
    diffusion_samples,
    latent_divergence,
)
from composite_flow.baselines.regression import JointPairs
from composite_flow.baselines.training import train_baseline
from composite_flow.data import Episodes, HistoryDataset
from composite_flow.denoiser import check_denoiser
from composite_flow.training.config import TrainingConfig

MEAN, SCALE = jnp.array([0.4, 0.7]), jnp.array(0.3)
LIMITS = jnp.zeros(3), jnp.ones(3)
HISTORY = jnp.array([0.2, 0.9, 0.5])


@pytest.fixture
def model(key):
    """A model whose posterior is not its prior, and whose prior is not N(0, I)."""
    built = LatentDiffusion(LIMITS, MEAN, SCALE, 8, 2, 4, key=key)
    keys = jax.random.split(key, 3)
    fields = lambda m: (m.prior, m.posterior.output_weights, m.denoiser.output_weights)  # noqa: E731
    drawn = [jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, fields(built), strict=True)]
    return eqx.tree_at(fields, built, tuple(drawn))


def test_the_divergence_is_that_of_gaussians_and_zero_where_they_are_equal():
    """KL(N(μ_q, ρ_q²) ‖ N(μ_p, ρ_p²)) by numerical integration, summed over independent numbers."""
    q, p = (np.array([0.3, -1.0]), np.array([-0.5, 0.4])), (np.array([0.0, 0.5]), np.array([0.2, -0.1]))
    grid = np.linspace(-30, 30, 200_001)

    def log_density(mean, log_scale):
        return -0.5 * ((grid - mean) / np.exp(log_scale)) ** 2 - log_scale - 0.5 * np.log(2 * np.pi)

    total = 0.0
    for place in range(2):
        log_q, log_p = (log_density(one[0][place], one[1][place]) for one in (q, p))
        total += np.trapezoid(np.exp(log_q) * (log_q - log_p), grid)
    posterior, prior = (tuple(jnp.asarray(part, jnp.float32) for part in one) for one in (q, p))
    assert float(latent_divergence(posterior, prior)) == pytest.approx(total, rel=1e-4)
    assert float(latent_divergence(prior, prior)) == 0.0


def test_it_starts_with_the_posterior_at_the_prior_and_the_prior_at_the_standard_normal(key):
    built = LatentDiffusion(LIMITS, MEAN, SCALE, 8, 2, 4, key=key)
    encoded = built.encode(HISTORY)
    assert not np.any(built.latent_prior(encoded)) and np.any(encoded)
    assert float(latent_divergence(built.latent_posterior(encoded, MEAN), built.latent_prior(encoded))) == 0.0


def test_the_posterior_sees_the_state_and_the_prior_does_not(model):
    encoded = model.encode(HISTORY)
    here, there = (model.latent_posterior(encoded, state) for state in (jnp.zeros(2), jnp.ones(2)))
    assert not np.allclose(here[0], there[0], atol=0.01)
    assert float(latent_divergence(here, model.latent_prior(encoded))) > 0.01


def test_a_silent_denoiser_is_the_gaussian_one(key):
    """With F = 0, E[s | y] of states N(s̄, ς²) and noise σ: s̄ + ς²/(σ² + ς²) (y − s̄)."""
    built = LatentDiffusion(LIMITS, MEAN, SCALE, 8, 2, 4, key=key)
    y = jnp.array([1.0, -0.5])
    context = built.condition(jnp.ones(12))
    for sigma in (0.05, 0.3, 3.0):
        expected = np.asarray(MEAN) + 0.09 / (sigma**2 + 0.09) * (np.asarray(y) - np.asarray(MEAN))
        np.testing.assert_allclose(built.at(sigma).denoise(context, y), expected, rtol=1e-5)


def test_a_silent_denoiser_is_the_gaussian_one_about_what_histories_and_latent_say(key):
    """With F = 0: E[s | y] of states N(m, v), (m − s̄)/ς and log v/ς² linear in (e, z)."""
    built = LatentDiffusion(LIMITS, MEAN, SCALE, 8, 2, 4, key=key)
    moments, bias = 0.1 * jax.random.normal(key, (12, 4)), jnp.array([-1.0, 0.5])
    built = eqx.tree_at(lambda m: (m.moments, m.variance_bias), built, (moments, bias))
    message, y = jnp.linspace(-1.0, 1.0, 12), np.array([1.0, -0.5])
    said = np.asarray(message @ moments, np.float64)
    m, v = np.asarray(MEAN) + 0.3 * said[:2], 0.09 * np.exp(said[2:] + np.asarray(bias))
    for sigma in (0.05, 0.3, 3.0):
        expected = (m / v + y / sigma**2) / (1 / v + 1 / sigma**2)
        np.testing.assert_allclose(built.at(sigma).denoise(built.condition(message), y), expected, rtol=1e-4)


def test_every_noise_level_counts_alike_in_the_loss(key):
    """With F = 0 and q = p: w(σ) ‖s − D‖² = ‖target of F‖², of mean 2 where states are N(s̄, ς²), whatever σ is."""
    built = LatentDiffusion(LIMITS, MEAN, SCALE, 8, 2, 4, key=key)
    states = MEAN[None] + SCALE * jax.random.normal(key, (4096, 2))
    losses = eqx.filter_jit(diffusion_losses)(built, jnp.broadcast_to(HISTORY, (4096, 3)), states, jax.random.key(1))
    # of each feature one squared standard normal: mean 2, standard error √(2 · 2 / 4096)
    assert float(jnp.mean(losses)) == pytest.approx(2.0, abs=5 * (4 / 4096) ** 0.5)


def test_the_loss_holds_the_divergence_over_the_range_of_noise(model, key):
    """One step, the same draws with a posterior moved away from the prior: what is added is KL / log(3/0.05)."""
    silent = eqx.tree_at(lambda m: m.denoiser.output_weights, model, jnp.zeros_like(model.denoiser.output_weights))
    equal = eqx.tree_at(lambda m: m.posterior.output_weights, silent, jnp.zeros_like(model.posterior.output_weights))
    losses_of, state = eqx.filter_jit(diffusion_losses), jnp.array([0.1, 0.8])
    losses = [losses_of(one, HISTORY[None], state[None], key)[0] for one in (silent, equal)]
    encoded = silent.encode(HISTORY)
    kl = latent_divergence(silent.latent_posterior(encoded, state), silent.latent_prior(encoded))
    assert float(losses[0] - losses[1]) == pytest.approx(float(kl) / np.log(60), rel=1e-3)


def test_a_level_keeps_the_contract_of_denoisers(model, key):
    check_denoiser(model.at(0.5), jnp.arange(12.0), key)


@pytest.mark.slow
@pytest.mark.usefixtures("permissive")
def test_samples_are_in_both_modes_and_nowhere_else(key):
    """The state is (0, 0) or (1, 1), equally often, whatever is seen."""
    which = np.random.default_rng(0).permutation(np.arange(400) % 2)
    seen, states = np.zeros((400, 1, 1), np.float32), np.stack([which, which], axis=1).astype(float)
    zeros, ends = np.zeros((400, 1), np.int32), np.ones(400, bool)
    dataset = HistoryDataset(Episodes.from_arrays(observations=seen, actions=zeros, states=states, ends=ends))
    history = dataset.joint(dataset.steps[:1]).histories[0, 0]
    trained = train_baseline(
        lambda key: LatentDiffusion((history, history), jnp.full(2, 0.5), jnp.array(0.5), 32, 2, 2, key=key),
        JointPairs(dataset),
        TrainingConfig(batch=128, steps=2000, learning_rate=4e-3, warmup=50, average=0.99),
        key=key,
        losses=diffusion_losses,
    )
    draw = eqx.filter_jit(lambda model: diffusion_samples(model, history, key=key, num_samples=512))
    samples = np.asarray(draw(trained.last))
    inside = np.abs(samples - np.round(np.clip(samples, 0, 1))).max(axis=1) < 0.2
    assert inside.mean() > 0.95
    ones = samples[inside] > 0.5
    assert np.mean(ones[:, 0] == ones[:, 1]) > 0.98
    # 512 fair draws are within 0.09 of a half but once in 10,000; the rest is what was learned
    assert abs(ones[:, 0].mean() - 0.5) < 0.15
