"""Types of features are found in training states."""

import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.errors import InputError
from composite_flow.fusion.features import FeatureTypes, find_types


def test_numbers_binary_features_and_groups_are_found():
    generator = np.random.default_rng(0)
    numbers, binary = generator.random((64, 2)), generator.integers(0, 2, (64, 2))
    one_of_three = np.eye(3)[generator.integers(0, 3, 64)]
    types = find_types(np.concatenate([numbers[:, :1], one_of_three, binary, numbers[:, 1:]], axis=1))
    assert types.groups == ((1, 4),) and types.binary == (4, 5)
    np.testing.assert_array_equal(np.flatnonzero(types.is_number), [0, 6])
    assert types.values_sent == 3 * 2 + 5
    assert types.in_words() == "2 numbers, 2 binary, one of 3"


def test_features_with_two_ones_at_once_are_no_group():
    pairs = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]], np.float64)
    assert find_types(pairs) == FeatureTypes((0, 1, 2), (), 3)


def test_two_groups_side_by_side_are_two():
    both = np.concatenate([np.eye(2)[[0, 1, 0, 1]], np.eye(2)[[0, 0, 1, 1]]], axis=1)
    assert find_types(both).groups == ((0, 2), (2, 4))


def test_types_are_found_in_more_states_than_features_and_in_fewer():
    """Runs end with the features, not with the states: two binary ones that are no group, and a group in one state."""
    assert find_types(np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])) == FeatureTypes((0, 1), (), 2)
    assert find_types(np.array([[0.5, 1.0, 0.0]])) == FeatureTypes((), ((1, 3),), 3)


def test_logits_become_probabilities_by_type():
    types = FeatureTypes((0,), ((1, 3),), 4)
    found = types.probabilities(jnp.log(jnp.array([3.0, 2.0, 6.0, jnp.e])))
    np.testing.assert_allclose(found, [0.75, 0.25, 0.75, 1.0], rtol=1e-6)


@pytest.mark.parametrize("wrong", [((0, 0), ()), ((4,), ()), ((1,), ((0, 2),))])
def test_a_feature_has_one_type(wrong):
    with pytest.raises(InputError, match="has one type"):
        FeatureTypes(*wrong, 4)
    with pytest.raises(InputError, match="at least one"):
        find_types(np.zeros((0, 4)))
