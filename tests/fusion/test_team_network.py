"""The network that reads a message beside its inputs: its formula, written again in NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.errors import InputError
from composite_flow.fusion.team_network import MessageNetwork


@pytest.mark.parametrize("depth", [1, 3])
def test_outputs_by_hand(depth, key):
    """x_1 = φ(x W + c_1), x_l = φ(x W_l + c_l), c = m V + b; the output is linear."""
    built = MessageNetwork(4, 3, 2, width=5, depth=depth, key=key)
    leaves, shape = jax.tree.flatten(built)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(each, leaf.shape) for each, leaf in zip(keys, leaves, strict=True)]
    network, message, inputs = jax.tree.unflatten(shape, drawn), np.linspace(-1.0, 1.0, 4), np.array([0.3, -0.8, 1.1])
    w = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), network)
    biases = (message @ w.message_weights).reshape(depth, 5) + w.biases
    x = np.maximum(inputs @ w.input_weights + biases[0], 0.0)
    for layer in range(depth - 1):
        x = np.maximum(x @ w.hidden_weights[layer] + biases[layer + 1], 0.0)
    found = network(network.condition(jnp.asarray(message, jnp.float32)), jnp.asarray(inputs, jnp.float32))
    np.testing.assert_allclose(found, x @ w.output_weights + w.output_bias, rtol=1e-4, atol=1e-5)
    assert (network.width, network.depth) == (5, depth)


def test_untrained_it_says_nothing_and_its_hidden_weights_are_drawn_apart(key):
    built = MessageNetwork(4, 4, 2, width=4, depth=2, key=key)
    assert not np.any(built(built.condition(jnp.ones(4)), jnp.ones(4)))
    drawn = [built.input_weights, built.hidden_weights[0], built.message_weights[:, :4]]
    for weights in (built.input_weights, built.hidden_weights[0], built.message_weights):
        assert 0.2 < float(jnp.max(jnp.abs(weights))) <= 0.5  # U[−1, 1] / √4
    assert not any(np.allclose(drawn[i], drawn[j]) for i in range(3) for j in range(i))


@pytest.mark.parametrize("sizes", [(0, 1, 1, 4, 2), (1, 0, 1, 4, 2), (1, 1, 0, 4, 2), (1, 1, 1, 0, 2), (1, 1, 1, 4, 0)])
def test_sizes_below_one_are_refused(sizes, key):
    with pytest.raises(InputError, match="at least 1"):
        eqx.filter_eval_shape(lambda key: MessageNetwork(*sizes, key=key), key)
