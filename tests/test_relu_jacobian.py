"""Jacobians by active units against differentiation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.errors import InputError
from composite_flow.jacobian import joint_jacobian, state_jacobian
from composite_flow.network import Network
from composite_flow.relu_jacobian import active_jacobians, active_joint_jacobians, active_units


@pytest.fixture(scope="module", params=["every_layer", "input"])
def pairs(request):
    """A network whose second layer is mostly inactive, and twelve pairs."""
    keys = jax.random.split(jax.random.key(1), 3)
    network = Network(3, 4, width=16, depth=3, history_at=request.param, key=keys[0])
    biases = network.biases.at[1].add(-0.2)
    network = eqx.tree_at(lambda n: n.biases, network, biases)
    return network, jax.random.uniform(keys[1], (12, 3)), jax.random.normal(keys[2], (12, 4))


@pytest.mark.parametrize("group_size", [1, 5, 100])
def test_jacobians_by_active_units_are_those_of_differentiation(pairs, group_size):
    network, histories, points = pairs
    expected = jax.vmap(lambda history, y: state_jacobian(network, network.condition(history), y))(histories, points)
    found = active_jacobians(network, histories, points, group_size=group_size)
    assert np.allclose(found, expected, atol=1e-6) and np.abs(found).max() > 1e-3
    shares = np.asarray(active_units(network, histories, points)).mean(axis=(1, 2))
    assert shares[1] < 0.5  # units were left out


def test_both_jacobians_by_active_units_are_those_of_differentiation(pairs):
    """With history columns that are scaled, each by another range."""
    network, histories, points = pairs
    network = network.with_history_range(jnp.array([-1.0, 0.5, 0.0]), jnp.array([3.0, 1.0, 2.0]))
    in_history, in_state = active_joint_jacobians(network, histories, points, group_size=5)
    expected = jax.vmap(lambda history, y: joint_jacobian(network, history, y))(histories, points)
    assert np.allclose(in_history, expected[0], atol=1e-6) and np.abs(in_history).max() > 1e-3
    assert np.allclose(in_state, expected[1], atol=1e-6)


def test_pairs_with_the_same_active_units_share_one_jacobian(pairs):
    """Among nearby points most units agree; the products are then made once, whatever the order of the pairs."""
    network, histories, points = pairs
    near = points[:1] + 1e-4 * points
    repeated = jnp.tile(histories[:1], (12, 1))
    found = active_jacobians(network, repeated, near)
    assert np.array_equal(found, np.broadcast_to(found[:1], found.shape))
    mixed = jnp.concatenate([near[:3], points[1:], near[3:]])
    owners = jnp.concatenate([repeated[:3], histories[1:], repeated[3:]])
    expected = jax.vmap(lambda history, y: state_jacobian(network, network.condition(history), y))(owners, mixed)
    assert np.allclose(active_jacobians(network, owners, mixed, group_size=4), expected, atol=1e-6)


def test_a_group_in_which_a_layer_is_dead_has_zero_jacobians(pairs):
    network, histories, points = pairs
    dead = eqx.tree_at(lambda n: n.biases, network, network.biases.at[1].set(-1e3))
    assert not active_jacobians(dead, histories, points).any()


def test_smooth_networks_and_points_that_do_not_fit_are_refused(pairs):
    network, histories, points = pairs
    with pytest.raises(InputError, match="Points must have the shape"):
        active_jacobians(network, histories, points[1:])
    smooth = Network(3, 4, width=16, depth=3, activation="tanh", key=jax.random.key(0))
    with pytest.raises(InputError, match="never inactive"):
        active_jacobians(smooth, histories, jnp.zeros((12, 4)))
