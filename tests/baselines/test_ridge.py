"""Ridge regression against the normal equations, and against linear relations that it must find."""

import numpy as np
import pytest

from composite_flow.baselines.ridge import Moments, best_ridge, ridge
from composite_flow.errors import InputError


@pytest.fixture
def rows():
    generator = np.random.default_rng(0)
    inputs = generator.normal(3.0, 1.0, (60, 4)) * [1.0, 10.0, 0.1, 1.0]
    states = np.stack([inputs[:, 0] - inputs[:, 2], 2.0 + inputs[:, 1]], axis=1) + generator.normal(0, 0.1, (60, 2))
    return inputs, states


def in_blocks(inputs, states, size=7):
    return [(inputs[first : first + size], states[first : first + size]) for first in range(0, len(inputs), size)]


def test_it_solves_the_normal_equations_with_a_free_offset(rows):
    """Rows √α e_k with target 0 under the centred data: least squares of these is ridge regression."""
    inputs, states = rows
    found = ridge(Moments.of(in_blocks(*rows)), 5.0)
    centred = np.concatenate([inputs - inputs.mean(axis=0), np.sqrt(5.0) * np.eye(4)])
    targets = np.concatenate([states - states.mean(axis=0), np.zeros((4, 2))])
    expected, *_ = np.linalg.lstsq(centred, targets, rcond=None)
    np.testing.assert_allclose(found.weights, expected, rtol=1e-9)
    np.testing.assert_allclose(found(inputs).mean(axis=0), states.mean(axis=0), rtol=1e-12)  # the offset is not shrunk
    assert found.num_parameters == 4 * 2 + 2


def test_a_part_of_the_columns_is_the_regression_on_them_alone(rows):
    inputs, states = rows
    part = ridge(Moments.of(in_blocks(*rows)).part(slice(1, 3)), 2.0)
    alone = ridge(Moments.of([(inputs[:, 1:3], states)]), 2.0)
    np.testing.assert_allclose(part.weights, alone.weights, rtol=1e-9)
    np.testing.assert_allclose(part.offset, alone.offset, rtol=1e-9)


def test_the_penalty_is_that_of_the_smallest_error_on_other_rows(rows):
    inputs, states = rows
    moments = Moments.of([(inputs, states)])
    assert best_ridge(moments, (1e-3, 1e3, 1e6), inputs, states).penalty == 1e-3  # on its own rows the smallest
    mean = np.broadcast_to(states.mean(axis=0), states.shape)
    assert best_ridge(moments, (1e-3, 1e3, 1e6), inputs, mean).penalty == 1e6


def test_constant_columns_get_no_weight_and_no_penalty_is_refused(rows):
    inputs, states = rows
    constant = np.concatenate([inputs, np.full((60, 1), 7.0)], axis=1)
    moments = Moments.of([(constant, states)])
    assert np.abs(ridge(moments, 1.0).weights[-1]).max() < 1e-9
    with pytest.raises(InputError, match="must be positive"):
        ridge(moments, 0.0)
    with pytest.raises(InputError, match="at least one row"):
        Moments.of([])
