"""Corollary 5.1 and Eq. 68: exact for a first layer no wider than the state, an approximation for a wider one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.analysis.first_layer import first_layer_sensitivity
from composite_flow.errors import InputError
from composite_flow.network import Network
from composite_flow.sensitivity import sensitivity

HISTORY, Y = jnp.linspace(0.0, 1.0, 6), jnp.linspace(0.2, 0.9, 8)


def network(key, width, depth=2):
    return Network(6, 8, width, depth, "input", "tanh", key=key)


compare = eqx.filter_jit(first_layer_sensitivity)


@pytest.mark.parametrize("width", [3, 8])
def test_a_narrow_first_layer_has_the_exact_sensitivity(key, width):
    """Eq. 65 does not need a fixed point, nor a symmetric Jacobian; scaled histories are scaled back."""
    built = network(key, width).with_history_range(jnp.full(6, -1.0), jnp.full(6, 3.0))
    found = compare(built, HISTORY, Y)
    np.testing.assert_allclose(found.exact, sensitivity(built, HISTORY, Y), atol=1e-6)
    # A random 8 × 8 weight matrix may have the condition number 1e2 or so, times float32's rounding.
    assert found.relative_error < 1e-3
    assert found.asymmetry > 0.1 and found.symmetric_relative_error > 0.1


def test_a_wide_first_layer_is_approximated_badly_at_random_initialisation(key):
    errors = jnp.stack([compare(network(k, 256), HISTORY, Y).relative_error for k in jax.random.split(key, 5)])
    assert float(errors.min()) > 0.5


def test_tied_weights_satisfy_the_whole_corollary(key):
    """f = W_yᵀ tanh(W_y y + W_τ τ) has a symmetric Jacobian: Eq. 67 is exact and Eq. 68 gives the shift's norm."""
    built = network(key, 5, depth=1)
    built = eqx.tree_at(lambda n: n.state_weights, built, (built.state_weights[0], built.state_weights[0].T))
    found, direction = compare(built, HISTORY, Y), jnp.linspace(-1.0, 2.0, 6)
    assert found.asymmetry < 1e-6 and found.symmetric_relative_error < 1e-4
    np.testing.assert_allclose(found.squared_shift(direction), jnp.sum((found.exact @ direction) ** 2), rtol=1e-4)


def test_a_history_at_every_layer_is_refused(key):
    with pytest.raises(InputError, match="input"):
        first_layer_sensitivity(Network(6, 8, 4, 2, key=key), HISTORY, Y)
