"""Rivals against closed forms: least squares, group means, divergences of Gaussians."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from composite_flow.baselines import (
    JointPairs,
    ResidualNetwork,
    VariationalAutoencoder,
    evidence_losses,
    joint_regression,
    matching_width,
    num_parameters,
    prior_samples,
    regression_losses,
    train_baseline,
)
from composite_flow.baselines.regression import concatenated_histories, regression_estimates
from composite_flow.baselines.variational import divergence
from composite_flow.data import Episodes, HistoryDataset
from composite_flow.denoiser import check_denoiser
from composite_flow.errors import InputError
from composite_flow.network import Network
from composite_flow.training.fit import TrainingConfig, fit

CONFIG = TrainingConfig(
    batch=64, steps=500, learning_rate=1e-2, warmup=50, average=0.99, record_every=250, evaluate_every=250
)


pytestmark = pytest.mark.usefixtures("permissive")


class Affine(eqx.Module):
    """The joint history to the state by a matrix and an offset."""

    matrix: Float[Array, "joint state"]
    offset: Float[Array, " state"]

    def condition(self, history):
        return history @ self.matrix + self.offset

    def denoise(self, context, y):
        return context + 0.0 * y

    @property
    def state_size(self):
        return self.offset.shape[0]


def bits(num_steps, *, linear):
    """Two agents with a number each, and a state of two features that both together tell, but for noise."""
    generator = np.random.default_rng(0)
    seen = generator.integers(0, 2, (num_steps, 2, 1)).astype(np.float32)
    first, second = seen[:, 0, 0], seen[:, 1, 0]
    told = np.stack([0.2 + 0.5 * first - 0.3 * second, second if linear else np.abs(first - second)], axis=1)
    states = told + generator.normal(0, 0.1, told.shape)
    zeros = np.zeros((num_steps, 2), np.int32)
    ends = np.arange(num_steps) % 5 == 4
    return HistoryDataset(Episodes.from_arrays(observations=seen, actions=zeros, states=states, ends=ends))


def test_joint_regression_reaches_least_squares(key):
    dataset = bits(400, linear=True)
    joint = dataset.joint(dataset.steps)
    inputs = np.asarray(concatenated_histories(joint.histories))
    size = inputs.shape[1]
    trained = train_baseline(
        lambda key: Affine(jnp.zeros((size, 2)), jnp.zeros(2)),
        JointPairs(dataset),
        CONFIG,
        key=key,
        losses=regression_losses,
    )
    ones = np.concatenate([inputs, np.ones((400, 1), np.float32)], axis=1)
    solution, *_ = np.linalg.lstsq(ones, np.asarray(joint.states), rcond=None)
    # steps are small at the cosine's end: what is left is the noise of its batches
    assert np.allclose(regression_estimates(trained.last, jnp.asarray(inputs)), ones @ solution, atol=0.01)


def test_joint_regression_learns_what_no_agent_knows_alone(key):
    """The second feature is the exclusive or of both agents' bits; the optimum is the mean of each of four groups."""
    dataset = bits(400, linear=False)
    joint = dataset.joint(dataset.steps)
    inputs, states = concatenated_histories(joint.histories), np.asarray(joint.states)
    minimum, maximum = inputs.min(axis=0), inputs.max(axis=0)
    trained = train_baseline(
        lambda key: joint_regression(minimum, maximum, 2, 32, 2, key=key),
        JointPairs(dataset),
        CONFIG,
        key=key,
        losses=regression_losses,
        validate=lambda network: float(jnp.mean((regression_estimates(network, inputs) - states) ** 2)),
    )
    answers, rows = np.asarray(regression_estimates(trained.best, inputs)), np.asarray(inputs)
    for group in np.unique(rows, axis=0):
        inside = (rows == group).all(axis=1)
        # the groups' means are known to 0.1 / √100; learned ones follow the batches
        assert np.allclose(answers[inside], states[inside].mean(axis=0), atol=0.03)
    errors = [point["validation"] for point in trained.curves]
    assert trained.best_step == trained.curves[int(np.argmin(errors))]["step"]


def test_joint_pairs_are_never_of_padding(key):
    """A share of data on disk lists its steps, then padding."""
    dataset, fields = bits(400, linear=False), lambda data: (data.listed_steps, data.count)
    padded = eqx.tree_at(fields, dataset, (jnp.array([7, 0, 0, 0]), jnp.array(1)), is_leaf=lambda leaf: leaf is None)
    histories, states = JointPairs(padded).sample(key, 16)
    joint = dataset.joint(jnp.full(16, 7))
    np.testing.assert_array_equal(states, joint.states)
    np.testing.assert_array_equal(histories, concatenated_histories(joint.histories))


def test_a_rival_with_the_denoisers_loss_is_fits_own_network(key):
    """The same network, key and settings: training rivals differs in nothing from `fit`."""
    dataset = bits(100, linear=True)
    config = dataclasses.replace(CONFIG, steps=40, record_every=20, evaluate_every=20, width=8, depth=1)
    model = fit(dataset, None, config, key=key)
    assert isinstance(model.denoiser, Network)
    minimum, maximum = model.denoiser.history_minimum, model.denoiser.history_maximum

    def build(key):
        return Network(dataset.layout, 2, 8, 1, key=key).with_history_range(minimum, maximum)

    trained = train_baseline(build, dataset, config, key=key)
    jax.tree.map(np.testing.assert_array_equal, trained.last, model.denoiser)
    assert [point["loss"] for point in trained.curves] == pytest.approx([point["loss"] for point in model.curves])


def test_the_divergence_is_that_of_gaussians():
    """KL(N(μ, ρ²) ‖ N(0, 1)) by numerical integration, summed over independent features."""
    means, deviations = np.array([0.0, 1.5, -0.3]), np.array([1.0, 0.4, 2.0])
    grid = np.linspace(-30, 30, 200_001)
    total = 0.0
    for mean, deviation in zip(means, deviations, strict=True):
        log_q = -0.5 * ((grid - mean) / deviation) ** 2 - np.log(deviation)
        total += np.trapezoid(np.exp(log_q) / np.sqrt(2 * np.pi) * (log_q + 0.5 * grid**2), grid)
    found = divergence(jnp.asarray(means, jnp.float32), jnp.asarray(2 * np.log(deviations), jnp.float32))
    assert found == pytest.approx(total, rel=1e-5)  # float32


def test_the_evidence_bound_of_a_decoder_that_ignores_z(key):
    """With g = 0 and q = p the bound is −log N(s; 0, v I), whatever z is drawn."""

    @eqx.filter_jit
    def losses_of(states):
        model = VariationalAutoencoder(jnp.zeros(3), jnp.ones(3), 2, 4, 1, key=key)
        silent = jax.tree.map(jnp.zeros_like, model)
        ranges = lambda m: (m.encoder.history_maximum, m.decoder.history_maximum, m.log_variance)  # noqa: E731
        silent = eqx.tree_at(ranges, silent, (jnp.ones(3), jnp.ones(3), jnp.log(0.25)))
        return evidence_losses(silent, jnp.ones((2, 3)), states, key)

    losses = losses_of(jnp.array([[0.0, 0.0], [1.0, 2.0]]))
    expected = [np.log(2 * np.pi * 0.25), np.log(2 * np.pi * 0.25) + 5 / (2 * 0.25)]
    assert np.allclose(losses, expected, rtol=1e-5)


def test_the_autoencoder_draws_what_one_history_allows(key):
    """A state of one feature, 0 or 1 equally often, whatever is seen: samples are near both, and as often."""
    generator = np.random.default_rng(0)
    seen, states = np.zeros((400, 1, 1), np.float32), generator.permutation(np.arange(400) % 2)[:, None].astype(float)
    zeros, ends = np.zeros((400, 1), np.int32), np.ones(400, bool)
    dataset = HistoryDataset(Episodes.from_arrays(observations=seen, actions=zeros, states=states, ends=ends))
    history = dataset.joint(dataset.steps[:1]).histories[0, 0]
    trained = train_baseline(
        lambda key: VariationalAutoencoder(history, history, 1, 16, 1, key=key),
        dataset,
        CONFIG,
        key=key,
        losses=evidence_losses,
    )
    samples = np.asarray(eqx.filter_jit(prior_samples)(trained.last, history, key=key, num_samples=500))[:, 0]
    assert np.mean(np.minimum(np.abs(samples), np.abs(samples - 1)) < 0.2) > 0.8
    # 500 fair draws are within 0.09 of a half but once in 10,000; the rest is what was learned
    assert abs(np.mean(samples > 0.5) - 0.5) < 0.2


def test_the_stronger_network_keeps_the_contract_and_starts_blind_to_the_history(key):
    network = eqx.filter_jit(ResidualNetwork)(jnp.zeros(5), jnp.ones(5), 3, 16, 2, key=key)
    check_denoiser(network, jnp.arange(5.0), key)
    # U = 0: scale and shift are those of no history
    assert not np.any(network.condition(jnp.arange(5.0)))
    x = jnp.array([0.3, -1.0, 2.0]) @ network.first
    normed = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    # B = 0: what the last layer gets is the first one's
    found = network.denoise(network.condition(jnp.ones(5)), jnp.array([0.3, -1.0, 2.0]))
    assert np.allclose(found, normed @ network.last, atol=1e-5)


def test_widths_match_parameters():
    def build(width, key):
        return {"weights": jnp.zeros((7 * width, width)), "biases": jnp.zeros(width)}

    for target in (1, 500, 5000):
        width = matching_width(build, target)
        sizes = {w: w * (7 * w + 1) for w in (width - 1, width, width + 1) if w}
        assert num_parameters(build(width, jax.random.key(0))) == sizes[width]
        assert abs(sizes[width] - target) == min(abs(size - target) for size in sizes.values())


def test_a_budget_in_minutes_is_refused(key):
    config = dataclasses.replace(CONFIG, steps=None, minutes=1)
    with pytest.raises(InputError, match="steps alone"):
        train_baseline(lambda key: jnp.zeros(1), bits(10, linear=True), config, key=key)
