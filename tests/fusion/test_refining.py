"""The network of the team denoiser: its formula, written again in NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.errors import InputError
from composite_flow.fusion.refining import RefiningNetwork
from composite_flow.fusion.team_denoiser import bounded_evidence


@pytest.fixture
def network(key):
    """Four features, two rounds, any weights."""
    built = RefiningNetwork(3, 4, 2, width=5, rounds=2, key=key)
    leaves, shape = jax.tree.flatten(built)
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(
        shape, [0.4 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    )


def inputs(key):
    message, alone, read, beside = (
        jax.random.normal(jax.random.fold_in(key, n), (size,)) for n, size in enumerate((3, 4, 4, 2))
    )
    return message, alone, read, beside


def test_untrained_it_changes_nothing(key):
    built = RefiningNetwork(3, 4, 2, width=5, rounds=2, key=key)
    message, alone, read, beside = inputs(key)
    np.testing.assert_array_equal(built(built.condition(message), alone, read, beside, jax.nn.sigmoid), alone)


def test_each_round_adds_what_the_formula_says(network, key):
    """In float64, feature by feature."""
    message, alone, read, beside = inputs(key)
    found = network(network.condition(message), alone, read, beside, jax.nn.sigmoid)
    w = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), network)
    m, x, r, v = (np.asarray(each, np.float64) for each in (message, alone, read, beside))
    shared = (m @ w.message_weights).reshape(2, 5) + w.biases
    for t in range(2):
        p = 1 / (1 + np.exp(-x))
        sums = [0.25 * np.log(np.exp(x).sum()), np.log(p.sum() + 1e-3)]
        h = np.maximum(np.concatenate([p, np.tanh(x / 4), r, sums, v]) @ w.shared_weights[t] + shared[t], 0)
        added = np.zeros(4)
        for k in range(4):
            u = np.concatenate([[p[k], np.tanh(x[k] / 4), r[k]], w.embeddings[k]])
            each = np.maximum(u @ w.feature_weights[t] + h @ w.feature_biases[t], 0)
            added[k] = each @ w.feature_output[t] + h @ w.shared_output[t][:, k] + w.output_biases[t][k]
        x = x + added
    np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-5)


def test_features_with_the_same_embedding_are_exchangeable(network, key):
    """Without what is added for each feature by itself, the heads treat features alike."""
    alike = eqx.tree_at(
        lambda n: (n.shared_output, n.output_biases, n.embeddings),
        network,
        (jax.tree.map(jnp.zeros_like, network.shared_output), jnp.zeros((2, 4)), jnp.ones_like(network.embeddings)),
    )
    message, _, _, beside = inputs(key)
    alone, read = jnp.array([0.5, 0.5, -1.0, 2.0]), jnp.array([0.2, 0.2, 0.1, -0.3])
    found = alike(alike.condition(message), alone, read, beside, jax.nn.sigmoid)
    np.testing.assert_array_equal(found[0], found[1])
    assert found[2] != found[3]


@pytest.mark.parametrize("sizes", [{"width": 0, "rounds": 2}, {"width": 4, "rounds": 0}])
def test_sizes_below_one_are_refused(key, sizes):
    with pytest.raises(InputError):
        RefiningNetwork(3, 4, 2, **sizes, key=key)


def test_evidence_is_in_proportion_when_small_and_reaches_certainty(key):
    said = jnp.array([1e-3, -1e-3, 0.2, 1e6, -1e6])
    found = bounded_evidence(said)
    np.testing.assert_allclose(found[:2], 16 * said[:2], rtol=1e-3)
    assert found[2] == pytest.approx(10 * np.tanh(np.sinh(3.2) / 10), rel=1e-4)
    np.testing.assert_allclose(found[3:], [10.0, -10.0], rtol=1e-5)
    gradient = jax.grad(lambda x: jnp.sum(bounded_evidence(x)))(said)
    assert np.all(np.isfinite(gradient))
