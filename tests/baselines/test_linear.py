"""Linear estimates of a linear world are exact, and come back as they were kept."""

import equinox as eqx
import jax
import numpy as np
import pytest

from composite_flow.baselines.linear import LINEAR_FILE, fit_linear, load_linear, takes_long
from composite_flow.baselines.ridge import Ridge, RidgeByAge
from composite_flow.data import Episodes, HistoryDataset
from composite_flow.errors import FileError
from composite_flow.files.checkpoint import save_checkpoint


def linear_world(key, num_agents=2, size=3):
    """Two agents see a pair of three numbers each, which are the state but for their units."""
    states = np.asarray(jax.random.normal(key, (120, size))) * np.array([1.0, 10.0, 100.0])
    observations = np.stack([states[:, agent : agent + 2] for agent in range(num_agents)], axis=1)
    return HistoryDataset(
        Episodes.from_arrays(
            observations=observations.astype(np.float32),
            actions=np.zeros((120, num_agents), np.int32),
            states=states.astype(np.float32),
            ends=np.arange(120) % 4 == 3,
        )
    )


@pytest.fixture(scope="module")
def fitted():
    train, validation, test = linear_world(jax.random.key(0)).split(key=jax.random.key(1))
    return fit_linear(train, validation), train, test


def test_the_team_is_exact_and_an_agent_is_of_what_it_sees(fitted):
    linear, train, test = fitted
    steps = np.asarray(test.steps)
    found, states = linear.estimates(test, steps), np.asarray(test.joint(steps).states)
    assert {name: each.shape[1] for name, each in found.items()} == {
        "ridge_of_all_histories": 1,
        "ridge_of_own_history": 2,
        "constant": 1,
    }
    np.testing.assert_allclose(found["ridge_of_all_histories"][:, 0], states, atol=1e-3)  # the smallest penalty
    own = np.abs(np.asarray(found["ridge_of_own_history"]) - states[:, None]).max(axis=0)
    np.testing.assert_array_less(own[[0, 0, 1, 1], [0, 1, 1, 2]], 1e-3)
    assert own[0, 2] > 0.1 and own[1, 0] > 0.1
    expected = np.asarray(train.joint(np.asarray(train.steps)).states).mean(axis=0)
    np.testing.assert_allclose(found["constant"], np.broadcast_to(expected, (len(steps), 1, 3)), atol=1e-6)


def test_what_is_kept_comes_back_for_the_same_training_data_alone(fitted, tmp_path):
    linear, _, test = fitted
    assert load_linear(tmp_path, {"data": "a"}) is None
    linear.save(tmp_path, {"data": "a"})
    again = load_linear(tmp_path, {"data": "a"})
    steps = np.asarray(test.steps)
    for name, estimates in linear.estimates(test, steps).items():
        np.testing.assert_array_equal(again.estimates(test, steps)[name], estimates)
    assert load_linear(tmp_path, {"data": "b"}) is None
    save_checkpoint(tmp_path / LINEAR_FILE, {}, {"kind": "other"}, overwrite=True)
    with pytest.raises(FileError, match="no linear estimates"):
        load_linear(tmp_path, {"data": "a"})


def test_one_map_for_all_steps_is_read_as_earlier_versions_kept_it(fitted, tmp_path):
    linear, _, test = fitted
    steps = np.asarray(test.steps)
    before = eqx.tree_at(lambda one: one.of_all_histories, linear, linear.of_all_histories.maps[0])
    before.save(tmp_path, {"data": "a"})
    again = load_linear(tmp_path, {"data": "a"})
    assert isinstance(again.of_all_histories, Ridge) and isinstance(again.of_own_history, RidgeByAge)
    for name, estimates in before.estimates(test, steps).items():
        np.testing.assert_array_equal(again.estimates(test, steps)[name], estimates)


def test_what_takes_long_is_known_before(fitted, monkeypatch):
    _, train, _ = fitted  # of two agents with a history of two numbers, a mask and who they are
    columns = train.num_agents * train.layout.size
    assert not takes_long(train)
    monkeypatch.setattr("composite_flow.baselines.linear.LARGE", columns - 1)
    assert takes_long(train)


def test_too_many_columns_are_said(fitted, monkeypatch):
    monkeypatch.setattr("composite_flow.baselines.ridge.MOST_COLUMNS", 5)  # each history has three, both six
    _, train, test = fitted
    linear = fit_linear(train, train)
    assert linear.of_all_histories is None and linear.of_own_history is not None
    assert "5 columns at most, not to 6" in linear.left_out
    assert set(linear.estimates(test, np.asarray(test.steps))) == {"ridge_of_own_history", "constant"}
