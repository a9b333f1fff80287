"""Histories unlike those of training: closed forms of range, T² and Q."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.fusion.familiar import Familiar, familiar_with

RANDOM = np.random.default_rng(0)
# two directions of five columns, and a constant one
PLANE = RANDOM.normal(size=(4000, 2)) * [2.0, 0.5]
TRAINED = np.concatenate([PLANE @ RANDOM.normal(size=(2, 5)), np.full((4000, 1), 7.0)], axis=1).astype(np.float32)


def told_of(familiar, history):
    return familiar.unlikeness(jnp.asarray(history, jnp.float32))


@pytest.fixture(scope="module")
def familiar():
    return familiar_with(TRAINED)


def test_training_histories_are_inside_near_and_on_the_plane(familiar):
    found = np.asarray(jax.vmap(familiar.unlikeness)(jnp.asarray(TRAINED)))
    assert familiar.components.shape == (6, 2)
    np.testing.assert_allclose(found[:, 0], 0.0, atol=1e-6)
    assert found[:, 1].mean() == pytest.approx(1.0, rel=1e-3)  # of T² over its degrees of freedom
    assert found[:, 2].mean() < 2.0


def test_each_check_sees_its_own_kind(familiar):
    middle = TRAINED.mean(axis=0)
    outside = middle.copy()
    outside[0] = TRAINED[:, 0].max() + 0.25 * np.ptp(TRAINED[:, 0])
    assert told_of(familiar, outside)[0] == pytest.approx(0.25, rel=1e-4)
    constant = middle.copy()
    constant[5] = 7.1
    widest = np.ptp(TRAINED, axis=0).max()  # a thousandth of it is the width of a constant column
    assert told_of(familiar, constant)[0] == pytest.approx((constant[5] - 7.0) / (1e-3 * widest) - 1.0, rel=1e-4)
    # so many deviations along both directions: T²/2 is their square
    scaled = (middle - np.asarray(familiar.low)) / np.asarray(familiar.width)
    along = scaled + 3.0 * np.asarray(familiar.components @ familiar.deviations)
    far = along * np.asarray(familiar.width) + np.asarray(familiar.low)
    told = told_of(familiar, far)
    assert told[1] == pytest.approx(9.0, rel=0.02) and told[2] < 2.0
    # across them: nothing for T², all for Q
    normal = np.linalg.svd(np.asarray(familiar.components).T)[2][-1]
    normal -= np.asarray(familiar.components @ (familiar.components.T @ normal))
    across = (scaled + 0.1 * normal) * np.asarray(familiar.width) + np.asarray(familiar.low)
    told = told_of(familiar, across)
    assert told[1] < 0.1
    assert told[2] == pytest.approx(0.01 / float(familiar.left), rel=0.05)


def test_components_hold_most_of_the_variance_and_settings_rebuild_the_structure():
    noisy = RANDOM.normal(size=(3000, 40)).astype(np.float32)
    assert familiar_with(noisy).components.shape[1] >= 38  # all directions alike: 99% needs nearly all
    found = familiar_with(noisy[:10])
    assert found.components.shape[1] <= 10
    empty = Familiar.empty(**found.settings)
    assert [leaf.shape for leaf in jax.tree.leaves(empty)] == [leaf.shape for leaf in jax.tree.leaves(found)]
    same = familiar_with(np.full((50, 3), 2.0, np.float32))  # constants alone
    np.testing.assert_allclose(told_of(same, np.full(3, 2.0)), 0.0, atol=1e-6)
