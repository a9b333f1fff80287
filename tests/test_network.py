"""The network is the function that its docstring writes, and maps batches with one matrix product per layer."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.denoiser import Denoiser
from composite_flow.errors import InputError
from composite_flow.history import HistoryLayout
from composite_flow.network import Network

LAYOUT = HistoryLayout(length=1, observation_size=3, num_actions=2, num_agents=2)  # six columns
FUNCTIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "silu": lambda x: x / (1 + np.exp(-x)),
}


@pytest.fixture
def network(key):
    return Network(LAYOUT, 4, width=8, depth=3, key=key)


def by_hand(network, history, y):
    """The equations of the module's docstring, in float64."""
    low, high = np.float64(network.history_minimum), np.float64(network.history_maximum)
    scaled = (np.float64(history) - low) / (high - low)
    terms = np.split(scaled @ np.float64(network.history_weights), network.num_conditioned)
    x = np.float64(y)
    for layer in range(network.depth):
        bias = np.float64(network.biases[layer]) + (terms[layer] if layer < len(terms) else 0.0)
        x = FUNCTIONS[network.activation](x @ np.float64(network.state_weights[layer]) + bias)
    return x @ np.float64(network.state_weights[-1]) + np.float64(network.output_bias)


@pytest.mark.parametrize("history_at", ["every_layer", "input"])
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_the_network_is_its_equations(key, history_at, activation):
    network = Network(LAYOUT, 4, 8, 3, history_at, activation, key=key)
    network = network.with_history_range(-jnp.ones(6), jnp.arange(6.0))
    leaves, structure = jax.tree.flatten(network)  # random biases too
    keys = jax.random.split(key, len(leaves))
    shifted = [leaf + 0.1 * jax.random.uniform(k, leaf.shape) for leaf, k in zip(leaves, keys, strict=True)]
    network = jax.tree.unflatten(structure, shifted)
    history, y = jnp.linspace(-1, 5, 6), jnp.linspace(0, 1, 4)
    result = network.denoise(network.condition(history), y)
    np.testing.assert_allclose(result, by_hand(network, history, y), rtol=1e-5, atol=1e-6)  # float32


def test_the_network_keeps_the_contract(network):
    assert isinstance(network, Denoiser) and network.state_size == 4 and network.history_size == 6
    context = network.condition(jnp.ones(6))
    assert context.shape == (3, 8)  # no weights in it
    assert Network(LAYOUT, 4, 8, 3, "input", key=jax.random.key(0)).condition(jnp.ones(6)).shape == (1, 8)


def test_initial_weights_are_uniform_with_each_path_its_own_fan_in(key):
    network = Network(100, 30, width=200, depth=2, key=key)
    for weights, fan_in in (*zip(network.state_weights, (30, 200, 200), strict=True), (network.history_weights, 100)):
        assert weights.shape[0] == fan_in
        assert np.abs(weights).max() <= fan_in**-0.5
        # Variance 1/(3 fan_in); 6,000 draws or more, 5% is more than four standard errors.
        assert float(weights.var()) == pytest.approx(1 / (3 * fan_in), rel=0.05)
    assert not network.biases.any() and not network.output_bias.any()


def test_histories_are_scaled_by_their_range_but_zeros_and_ones_stay(network):
    minimum = jnp.array([-2.0, 0.0, 0.0, 1.0, 7.0, 0.25])
    maximum = jnp.array([6.0, 1.0, 0.0, 1.0, 7.0, 0.75])
    scaled = network.with_history_range(minimum, maximum).scale_history
    np.testing.assert_allclose(scaled(minimum), [0, 0, 0, 1, 0, 0])
    np.testing.assert_allclose(scaled(maximum), [1, 1, 0, 1, 0, 1])
    np.testing.assert_allclose(scaled(jnp.ones(6))[1:4], 1)  # a column that was constant in training may change


def test_the_range_of_the_histories_has_no_gradient(network):
    gradient = jax.grad(lambda n: n.denoise(n.condition(jnp.full(6, 0.3)), jnp.ones(4)).sum())(network)
    assert not gradient.history_minimum.any() and not gradient.history_maximum.any()
    assert gradient.history_weights.any()


def test_any_batch_is_one_matrix_product_per_layer(network):
    """Whatever is mapped over, the compiled program multiplies matrices, one for each layer, without transposing."""
    one = lambda context, y: network.denoise(context, y)  # noqa: E731
    cases = (
        (jax.vmap(one, (None, 0)), (jnp.ones((3, 8)), jnp.ones((16, 4))), 16),
        (jax.vmap(one), (jnp.ones((16, 3, 8)), jnp.ones((16, 4))), 16),
        (jax.vmap(jax.vmap(one, (None, 0))), (jnp.ones((5, 3, 8)), jnp.ones((5, 16, 4))), 80),
    )
    for function, arguments, rows in cases:
        program = jax.jit(function).lower(*arguments).compile().as_text()
        assert len(re.findall(rf"f32\[{rows},(?:8|4)\]\S* dot\(", program)) == 4
        assert len(re.findall(r" dot\(", program)) == 4 and " transpose(" not in program


def test_unusable_settings_are_refused(key):
    for settings in ({"width": 0}, {"depth": 0}):
        with pytest.raises(InputError, match="at least 1"):
            Network(6, 4, **settings, key=key)
    with pytest.raises(InputError, match="at least 1"):
        Network(0, 4, key=key)


@pytest.mark.parametrize("width", [7, 12, 4])
def test_identity_start_carries_each_feature_with_both_signs(width):
    """Without the drawn half, a layer passes max(0, ±y): units come in copies of y and −y, as far as they fit."""
    state_size = 4
    drawn = Network(3, state_size, width, key=jax.random.key(0))
    network = Network(3, state_size, width, initial="identity", key=jax.random.key(0))
    copies = width // state_size
    for index, (half, whole) in enumerate(zip(drawn.state_weights[:-1], network.state_weights[:-1], strict=True)):
        carried = whole - 0.5 * half
        if index == 0:
            expected = np.concatenate([(-1) ** copy * np.eye(state_size) for copy in range(copies)], axis=1)
            np.testing.assert_allclose(carried[:, : copies * state_size], expected, atol=1e-6)
            np.testing.assert_allclose(carried[:, copies * state_size :], 0.0, atol=1e-6)
        else:
            np.testing.assert_allclose(carried, np.eye(width), atol=1e-6)
    np.testing.assert_array_equal(network.state_weights[-1], 0.0)
