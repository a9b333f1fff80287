"""Deviations of linear denoisers, whose fixed points are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from teams import Linear

from composite_flow.deviation import deviation, deviations, measured_radius
from composite_flow.errors import InputError

TEAM = Linear(jnp.array([[0.0, 0.1], [0.3, 0.4]]), jnp.broadcast_to(0.5 * jnp.eye(2)[None], (2, 2, 2)))


def test_deviation_is_the_state_minus_the_fixed_point_it_flows_to():
    """Definition 4, sign included: the fixed point of agent 1 is (0.3, 0.4)."""
    context = TEAM.condition(jnp.array([0.0, 1.0]))
    assert jnp.allclose(deviation(TEAM, context, jnp.array([1.0, 0.0])), jnp.array([0.7, -0.4]), atol=1e-4)


def test_deviations_are_the_same_in_any_batches_and_the_radius_is_the_largest_norm(key):
    histories = jnp.eye(2)[jnp.array([0, 1, 1, 0, 1])]
    states = jax.random.uniform(key, (5, 2))
    expected = states - histories @ TEAM.points
    assert np.allclose(deviations(TEAM, histories, states, batch_size=2), expected, atol=1e-4)
    norms = np.linalg.norm(expected, axis=1)
    assert measured_radius(TEAM, histories, states) == pytest.approx(norms.max(), abs=1e-4)
    assert measured_radius(TEAM, histories, states, quantile=0.5) == pytest.approx(np.median(norms), abs=1e-4)


def test_a_state_at_the_fixed_point_has_no_deviation():
    assert jnp.allclose(deviations(TEAM, jnp.eye(2), TEAM.points), 0.0, atol=1e-6)


@pytest.mark.parametrize(
    ("histories", "states"),
    [(jnp.eye(2), jnp.zeros((3, 2))), (jnp.eye(2), jnp.zeros((2, 1))), (jnp.eye(3), jnp.eye(3))],
)
def test_pairs_that_do_not_fit_are_refused(histories, states):
    with pytest.raises(InputError):
        deviations(TEAM, histories, states)


def test_a_quantile_outside_the_unit_interval_is_refused():
    with pytest.raises(InputError):
        measured_radius(TEAM, jnp.eye(2), TEAM.points, quantile=1.5)
