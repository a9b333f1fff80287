"""Screening finds what each entry of an observation is about, and leaves slots empty where it is about nothing."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.fusion.joint_steps import JointSteps, OwnSteps
from composite_flow.fusion.screening import prefers_sparse, screen, strongest
from composite_flow.history import HistoryLayout
from composite_flow.training.loss import arrays_of


def test_entries_find_their_features_in_the_order_of_entries(key):
    """Entry 0 is feature 3 and half of feature 1, entry 1 is constant, entry 2 is minus feature 0 with noise."""
    states = jax.random.normal(key, (4000, 5))
    noise = jax.random.normal(jax.random.fold_in(key, 1), (4000,))
    entries = jnp.stack([states[:, 3] + 0.5 * states[:, 1], jnp.ones(4000), noise - states[:, 0]], axis=1)
    slots = strongest(entries[:, None, None], states, 2)
    np.testing.assert_array_equal(slots, [[3, 1, 5, 5, 0, 5]])


def test_a_feature_that_was_seen_earlier_counts_as_well(key):
    states = jax.random.normal(key, (1000, 3))
    unrelated = jax.random.normal(jax.random.fold_in(key, 1), (1000,))
    histories = jnp.stack([states[:, 2], unrelated], axis=1)[:, None, :, None]  # two steps of one entry
    np.testing.assert_array_equal(strongest(histories, states, 1), [[2]])


def test_sensors_speak_first_of_the_areas_that_they_see(key):
    problem = cf.SensorNetwork.grid(3, 4, num_targets=2)
    train = cf.HistoryDataset(cf.collect(problem, 256, key=key))
    slots = screen(train, key=key).reshape(12, 4, 2)
    seen = np.asarray(problem.slots) < problem.num_areas
    np.testing.assert_array_equal(slots[..., 0][seen], np.asarray(problem.slots)[seen])
    assert np.all(slots[~seen] == problem.num_areas)  # unused entries are constant


def test_large_states_with_small_observations_prefer_few_features():
    def sensors(rows):
        return HistoryLayout(1, 4, 5, rows * rows), 2 * rows * (rows - 1)

    assert [prefers_sparse(*sensors(rows)) for rows in (5, 10, 32)] == [False, True, True]
    assert not prefers_sparse(HistoryLayout(1, 40, 5, 100), 180)


@pytest.mark.parametrize("length", [1, 3])
def test_own_steps_are_joint_steps_without_identities(key, length):
    dataset = cf.HistoryDataset(cf.collect(cf.SensorNetwork.grid(2, 3), 8, key=key), length=length)
    draw = eqx.filter_jit(lambda steps: steps.sample(key, 16))
    (own, states), (flat, expected) = draw(OwnSteps(arrays_of(dataset))), draw(JointSteps(arrays_of(dataset)))
    np.testing.assert_array_equal(own, flat[..., :-6])
    np.testing.assert_array_equal(states, expected)
