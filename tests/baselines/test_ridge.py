"""Ridge regression is the closed form, reads what it says it reads, and is refused where it would take too long."""

import numpy as np
import pytest

import composite_flow as cf
from composite_flow.baselines import ridge
from composite_flow.baselines.ridge import PENALTIES, fit_ridge
from composite_flow.errors import TooLargeError

STEPS, AGENTS, SIZE = 300, 2, 3


@pytest.fixture
def seen():
    """Agent 0 sees two numbers, agent 1 one more and a constant."""
    numbers = np.random.default_rng(0).normal(size=(STEPS, AGENTS, 2)).astype(np.float32)
    numbers[:, 1, 1] = 7.0
    return numbers


def dataset_of(seen, states):
    episodes = cf.Episodes.from_arrays(
        observations=seen,
        actions=np.zeros((len(seen), AGENTS), np.int32),
        states=np.asarray(states, np.float32),
        ends=np.arange(len(seen)) % 10 == 9,
    )
    return cf.HistoryDataset(episodes)


def halves(dataset):
    ids = dataset.episode_ids
    return dataset.part(ids[::2]), dataset.part(ids[1::2])


def test_a_state_that_is_linear_in_all_histories_is_found_by_these_alone(seen):
    """Half of it by each agent's own."""
    states = seen.reshape(STEPS, -1) @ np.array([[1.0, 0.0, 2.0], [0.5, 0.0, 0.0], [0.0, -3.0, 1.0], [0.0, 0.0, 0.0]])
    train, test = halves(dataset_of(seen, states))
    joint = test.joint(test.steps)
    found = fit_ridge(train, test, together=True)
    assert found.penalty == PENALTIES[0]
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
    assert fit_ridge(train, validation, together=True).penalty == PENALTIES[-1]


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
