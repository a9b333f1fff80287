"""Ridge regression is the closed form, reads what it says it reads, and is refused where it would take too long."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.baselines import ridge
from composite_flow.baselines.ridge import PENALTIES, Ridge, best_of_each, fit_ridge, fit_ridge_by_age, known_steps
from composite_flow.errors import TooLargeError

STEPS, AGENTS, SIZE = 300, 2, 3


@pytest.fixture
def seen():
    """Agent 0 sees two numbers, agent 1 one more and a constant."""
    numbers = np.random.default_rng(0).normal(size=(STEPS, AGENTS, 2)).astype(np.float32)
    numbers[:, 1, 1] = 7.0
    return numbers


def dataset_of(seen, states, length=1):
    episodes = cf.Episodes.from_arrays(
        observations=seen,
        actions=np.zeros((len(seen), AGENTS), np.int32),
        states=np.asarray(states, np.float32),
        ends=np.arange(len(seen)) % 10 == 9,
    )
    return cf.HistoryDataset(episodes, length)


def halves(dataset):
    ids = dataset.episode_ids
    return dataset.part(ids[::2]), dataset.part(ids[1::2])


def test_a_state_that_is_linear_in_all_histories_is_found_by_these_alone(seen):
    """Half of it by each agent's own."""
    states = seen.reshape(STEPS, -1) @ np.array([[1.0, 0.0, 2.0], [0.5, 0.0, 0.0], [0.0, -3.0, 1.0], [0.0, 0.0, 0.0]])
    train, test = halves(dataset_of(seen, states))
    joint = test.joint(test.steps)
    found = fit_ridge(train, test, together=True)
    assert np.all(found.penalties == PENALTIES[0])
    np.testing.assert_allclose(found.estimates(test, np.asarray(test.steps))[:, 0], joint.states, atol=1e-4)
    own = fit_ridge(train, test, together=False).estimates(test, np.asarray(test.steps))
    assert own.shape == (test.num_steps, AGENTS, SIZE)
    np.testing.assert_allclose(own[:, 0, 0], joint.states[:, 0], atol=1e-4)
    np.testing.assert_allclose(own[:, 1, 1], joint.states[:, 1], atol=1e-4)
    assert np.std(own[:, 0, 1] - np.asarray(joint.states)[:, 1]) > 0.1


@pytest.mark.parametrize("together", [True, False])
def test_it_is_the_closed_form_with_columns_scaled(seen, together, monkeypatch):
    monkeypatch.setattr(ridge, "PENALTIES", (0.3,))
    monkeypatch.setattr(ridge, "_AT_ONCE", 64)  # several blocks
    states = np.random.default_rng(1).random((STEPS, SIZE))
    train, test = halves(dataset_of(100.0 + 20.0 * seen, states))
    steps = np.asarray(train.steps)
    found = fit_ridge(train, test, together=together).estimates(train, steps)
    joint = train.joint(steps)
    own, truth = np.asarray(joint.structured.observations[:, :, 0], np.float64), np.asarray(joint.states, np.float64)
    groups = [own.reshape(len(own), -1)[:, :3]] if together else [own[:, 0], own[:, 1, :1]]  # without the constant
    for group, x in enumerate(groups):
        x = (x - x.mean(axis=0)) / x.std(axis=0)
        weights = np.linalg.solve(
            x.T @ x / len(x) + 0.3 * np.eye(x.shape[1]), x.T @ (truth - truth.mean(axis=0)) / len(x)
        )
        np.testing.assert_allclose(found[:, group], truth.mean(axis=0) + x @ weights, atol=1e-6)


def test_the_penalty_is_the_best_on_validation_data(seen):
    """States that have nothing to do with histories want the largest."""
    states = np.random.default_rng(1).random((STEPS, SIZE))
    train, validation = halves(dataset_of(seen, states))
    assert np.all(fit_ridge(train, validation, together=True).penalties == PENALTIES[-1])


@pytest.mark.parametrize("together", [True, False])
def test_a_feature_that_nobody_knows_chooses_no_penalty_for_others(seen, together):
    """Large noise wants the largest penalty, beside it what is linear in histories the smallest; each is as alone."""
    noise = np.random.default_rng(1).random(STEPS)
    train, validation = halves(dataset_of(seen, np.stack([noise, seen[:, 0, 0]], axis=1)))
    found, steps = fit_ridge(train, validation, together=together), np.asarray(validation.steps)
    np.testing.assert_array_equal(found.penalties[0], [PENALTIES[-1], PENALTIES[0]])
    alone = halves(dataset_of(seen, seen[:, 0, :1]))
    expected = fit_ridge(*alone, together=together).estimates(alone[1], steps)[:, 0, 0]
    np.testing.assert_allclose(found.estimates(validation, steps)[:, 0, 1], expected, atol=1e-5)


def test_too_many_columns_are_refused(seen, monkeypatch):
    train, validation = halves(dataset_of(seen, seen[:, 0]))
    monkeypatch.setattr(ridge, "MOST_COLUMNS", 5)
    with pytest.raises(TooLargeError, match="5 columns at most, not to 6"):
        fit_ridge(train, validation, together=True)
    fit_ridge(train, validation, together=False)


def test_fewer_steps_are_read_where_columns_are_many(seen, monkeypatch):
    train, validation = halves(dataset_of(seen, seen[:, 0]))
    monkeypatch.setattr(ridge, "_MOST_PRODUCTS", 36 * 20.0)
    some = fit_ridge(train, validation, together=True)
    monkeypatch.setattr(ridge, "_MOST_PRODUCTS", 1e12)
    assert not np.allclose(some.mean, fit_ridge(train, validation, together=True).mean)


@pytest.mark.parametrize("together", [True, False])
def test_early_steps_have_maps_of_their_own(seen, together):
    """Of a state that changes are part of: with whole histories it is exact, as one map for all steps is not; where an
    episode begins it is what was fitted to beginnings alone."""
    changes = np.diff(seen[:, :, 0], axis=0, prepend=seen[:1, :, 0])
    states = np.stack([changes.sum(axis=1), seen[:, 0, 0], changes[:, 0]], axis=1)
    states[::10] = seen[::10, 0, :1] * 3.0 + 1.0  # nothing is known of a change
    train, test = halves(dataset_of(seen, states, length=2))
    steps = np.asarray(test.steps)
    truth, known = np.asarray(test.joint(steps).states), known_steps(test, steps)
    np.testing.assert_array_equal(known, np.where(steps % 10 == 0, 1, 2))
    found = fit_ridge_by_age(train, test, together=together)
    own, common = (ridge.estimates(test, steps)[:, 0] for ridge in (found, fit_ridge(train, test, together=together)))
    exact = [0, 1, 2] if together else [1, 2]
    whole = known == 2
    np.testing.assert_allclose(own[whole][:, exact], truth[whole][:, exact], atol=2e-4)
    assert np.abs(common - truth)[whole][:, exact].max() > 0.01
    np.testing.assert_allclose(own[~whole][:, 1], truth[~whole][:, 1], atol=2e-4)


def test_where_too_little_is_seen_of_beginnings_the_common_map_stays(seen):
    """Validation steps none of which begins an episode judge no map of beginnings; histories of one step need none."""
    states = seen[:, :, 0] @ np.ones((2, SIZE))
    train, validation = halves(dataset_of(seen, states, length=2))
    steps = np.asarray(validation.steps)
    later = eqx.tree_at(lambda part: part.listed_steps, validation, jnp.asarray(steps[steps % 10 > 0]))
    found, common = fit_ridge_by_age(train, later, together=True), fit_ridge(train, later, together=True)
    np.testing.assert_array_equal(found.maps[0].weights, common.weights)
    assert len(fit_ridge_by_age(*halves(dataset_of(seen, states)), together=True).maps) == 1


def test_each_feature_is_of_the_better_of_two_maps():
    """ŝ of each feature by its own map, whatever centre the maps have."""
    random = np.random.default_rng(0)
    one, other = (
        Ridge(random.normal(size=(2, 4)), random.normal(size=(2, 4, 3)), random.normal(size=(1, 3)), np.full((2, 3), p))
        for p in (0.1, 0.2)
    )
    better = random.random((2, 3)) < 0.5
    columns = random.normal(size=(5, 2, 4))
    found = best_of_each(one, other, better)
    np.testing.assert_allclose(found(columns), np.where(better, one(columns), other(columns)), atol=1e-12)
    np.testing.assert_array_equal(found.penalties, np.where(better, 0.1, 0.2))
