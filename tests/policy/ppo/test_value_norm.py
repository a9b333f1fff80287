"""Running statistics of returns against numpy."""

import jax.numpy as jnp
import numpy as np

from composite_flow.policy.ppo.value_norm import SMALLEST_VARIANCE, ValueNorm

DECAY = 0.9


def norm_of(batches, decay=DECAY):
    norm = ValueNorm.fresh()
    for batch in batches:
        norm = norm.updated(jnp.asarray(batch, jnp.float32), decay)
    return norm


def test_statistics_are_debiased_weighted_means():
    rng = np.random.default_rng(0)
    batches = [rng.normal(5.0 * k, 1.0 + k, size=(4, 7)) for k in range(6)]
    ages = np.arange(6)[::-1]
    weights = DECAY**ages / np.sum(DECAY**ages)
    mean = np.sum(weights * [batch.mean() for batch in batches])
    variance = np.sum(weights * [(batch**2).mean() for batch in batches]) - mean**2
    # float32 with a difference of squares: a relative error of 1e-6 grows by mean² / variance, about 3
    np.testing.assert_allclose(norm_of(batches).statistics(), (mean, np.sqrt(variance)), rtol=2e-5)


def test_the_first_batch_alone_gives_its_own_statistics():
    # At the default decay a batch weighs 1e-5, which float32 holds to a part in a thousand; debiasing divides by the
    # same number, so that it does not matter.
    batch = np.array([1.0, 2.0, 6.0, 7.0])
    np.testing.assert_allclose(norm_of([batch], 0.99999).statistics(), (batch.mean(), batch.std()), rtol=1e-5)


def test_denormalise_inverts_normalise():
    values = jnp.linspace(-50.0, 80.0, 9)
    for norm in (ValueNorm.fresh(), norm_of([values]), norm_of([jnp.full(3, 4.0)])):
        # float32 rounds at the size of the largest value
        np.testing.assert_allclose(norm.denormalise(norm.normalise(values)), values, atol=1e-4)


def test_constant_returns_keep_the_smallest_variance():
    mean, deviation = norm_of([jnp.full(5, 3.0)] * 4).statistics()
    np.testing.assert_allclose((mean, deviation), (3.0, SMALLEST_VARIANCE**0.5), rtol=1e-5)
