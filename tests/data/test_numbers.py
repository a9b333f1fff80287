"""Numbers keep their meaning: scaled in float64, refused by name where 32 bits merge them, ranges of training alone."""

import warnings

import jax
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.data import Episodes, HistoryDataset
from composite_flow.data.precision import outlying
from composite_flow.data.ranges import history_range
from composite_flow.data.scaling import Scaling
from composite_flow.errors import InputError

STEPS = 240


def episodes(**changes):
    random = np.random.default_rng(0)
    given = {"observations": random.normal(size=(STEPS, 2, 2)), "states": random.normal(size=(STEPS, 2))}
    return Episodes.from_arrays(**({**given, "actions": None, "ends": np.arange(STEPS) % 4 == 3} | changes))


@pytest.mark.parametrize("start", [1.7e9, 1.7e12])
def test_times_stay_distinct_through_scaling_and_a_model(tmp_path, start):
    """Seconds and milliseconds since 1970, which float32 merges."""
    states = start + np.arange(STEPS)[:, None]
    found = episodes(states=states)
    assert len(np.unique(found.states)) == STEPS
    found.save(tmp_path / "a")
    for data in (found, Episodes.load(tmp_path / "a"), Episodes.load(tmp_path / "a", in_memory=False)):
        scaled = np.asarray(HistoryDataset(data).joint(np.arange(STEPS)).states)
        np.testing.assert_allclose(scaled[:, 0], np.arange(STEPS) / (STEPS - 1), atol=1e-7)
    own = found.scaling.unscale(scaled)
    np.testing.assert_allclose(own, states, atol=1e-3)
    train, validation, _ = HistoryDataset(found).split(key=jax.random.key(0))
    model = cf.fit(
        train, validation, cf.TrainingConfig(width=8, depth=1, steps=2, batch=8), key=jax.random.key(1), progress=False
    )
    sampled = np.asarray(train.sample(jax.random.key(2), 64)[1])
    assert sampled.min() < 0.1 and sampled.max() > 0.9 and len(np.unique(sampled)) > 32
    model.save(tmp_path)
    loaded = cf.load(tmp_path)
    assert np.array_equal(loaded.scaling.minimum, model.scaling.minimum) and loaded.scaling.is_double
    state = loaded.reconstruct(train.joint(train.steps[:1]).histories[0], key=jax.random.key(0), radius=1.0).named_state
    assert start - 2 * STEPS < state["state 0"] < start + 2 * STEPS


REFUSED = {
    "states that one outlier merges": {"states": np.append(np.arange(STEPS - 1) / STEPS, -1e12)[:, None]},
    "whole states beyond 2^24": {"states": np.append(np.arange(STEPS - 1), -(10**13))[:, None]},
    "observed times": {"observations": np.tile(1.7e12 + np.arange(STEPS)[:, None, None], (1, 2, 1))},
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_32_bits_merge_is_refused_by_name(case):
    with pytest.raises(InputError, match=r"Distinct values of '(state|observation) 0' become one"):
        episodes(**REFUSED[case])


def test_constants_of_any_size_are_harmless():
    found = episodes(
        states=np.stack([np.full(STEPS, 1e300), np.arange(STEPS)], axis=1), observations=np.full((STEPS, 2, 1), 1e30)
    )
    train, validation, _ = HistoryDataset(found).split(key=jax.random.key(0))
    assert np.all(np.isfinite(train.joint(train.steps).states)) and not np.any(train.joint(train.steps).states[:, 0])
    model = cf.fit(
        train, validation, cf.TrainingConfig(width=8, depth=1, steps=2, batch=8), key=jax.random.key(1), progress=False
    )
    assert np.isfinite(model.curves[-1]["validation_loss"])


def test_ranges_come_from_all_training_episodes_and_from_these_alone():
    observations, states = np.zeros((STEPS, 2, 1)), np.zeros((STEPS, 1))
    _, validation, test = HistoryDataset(episodes()).split(key=jax.random.key(0))
    outside = np.concatenate([validation.steps, test.steps])
    observations[outside], states[outside] = 1e6, 1e6
    inside = np.setdiff1d(np.arange(STEPS), outside)
    observations[inside[::2]], states[inside[::2]], states[inside[1]] = 5.0, 7.0, -1.0
    rare = inside[100]
    observations[rare] = 9.0
    train, *others = HistoryDataset(episodes(observations=observations, states=states), length=2).split(
        key=jax.random.key(0)
    )
    assert (train.scaling.minimum.tolist(), train.scaling.maximum.tolist()) == ([-1.0], [7.0])
    assert all(part.scaling.maximum.tolist() == [7.0] for part in others)
    low, high = history_range(train.windows, np.asarray(train.steps))
    assert (
        low.tolist() == [0.0] * train.layout.size
        and high[:2].tolist() == [9.0, 9.0]
        and set(high[2:].tolist()) == {1.0}
    )


def test_variances_are_scaled_as_squares_of_states_are_and_those_of_constants_stay():
    scaling = Scaling.of_limits(np.array([1.0, 2.0]), np.array([5.0, 2.0]))
    many = np.array([[[16.0, 3.0], [4.0, 3.0]]])
    np.testing.assert_array_equal(scaling.scale_variances(many), [[[1.0, 3.0], [0.25, 3.0]]])
    np.testing.assert_array_equal(scaling.scale_variances(many[0, 0]), [1.0, 3.0])


def test_a_given_scaling_stays():
    scaling = Scaling(np.zeros(2, np.float32), np.full(2, 9, np.float32))
    train, *_ = HistoryDataset(episodes(scaling=scaling)).split(key=jax.random.key(0))
    assert np.array_equal(train.scaling.maximum, [9, 9])


def test_quantiles_leave_outliers_outside():
    states = np.random.default_rng(0).random((STEPS, 1))
    states[7] = 5000.0
    train, *_ = HistoryDataset(episodes(states=states, scaling="quantiles")).split(key=jax.random.key(0))
    assert train.scaling.by == "quantiles" and float(train.scaling.maximum[0]) < 1.0
    assert np.std(np.asarray(train.joint(np.arange(6)).states)) > 0.1


def test_outliers_are_told():
    values = np.random.default_rng(0).random((10_000, 4))
    values[0, 1] = 1e4
    values[:, 2] = 0
    values[5, 2] = 1.0  # rare, but no outlier among numbers that vary
    values[300:, 3] = 0.0  # seldom in sight, mostly near, and once far
    values[:300, 3] *= 1e-4
    values[0, 3] = 1.0
    assert outlying(values).tolist() == [False, True, False, False]
    states = np.random.default_rng(0).random((STEPS, 1))
    states[np.asarray(HistoryDataset(episodes()).split(key=jax.random.key(0))[0].steps)[0]] = 5000.0
    train, *_ = HistoryDataset(episodes(states=states)).split(key=jax.random.key(0))
    settings = cf.TrainingConfig(width=8, depth=1, steps=2, batch=8)
    with pytest.warns(UserWarning, match="Outliers: the range of 'state 0' is more than a hundred times"):
        cf.fit(train, None, settings, key=jax.random.key(1), progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cf.fit(HistoryDataset(episodes()), None, settings, key=jax.random.key(1), progress=False)


def test_arrays_are_copied_where_a_later_change_would_reach_in():
    given = {
        "observations": np.ones((4, 1, 2), np.float32),
        "actions": np.zeros((4, 1), np.int32),
        "states": np.eye(4, dtype=np.float32),
        "ends": np.ones(4, bool),
        "rewards": np.zeros(4, np.float32),
        "availability": np.ones((4, 1, 2), bool),
        "alive": np.ones((4, 1), bool),
    }
    found = Episodes.from_arrays(**given)
    kept = {name: getattr(found, name).copy() for name in given}
    for array in given.values():
        array[:] = 7
    assert all(np.array_equal(getattr(found, name), kept[name]) for name in given)


def test_masked_states_are_missing():
    states = np.ma.masked_array(np.arange(8.0).reshape(4, 2), mask=np.arange(8).reshape(4, 2) // 2 == 1)
    found = Episodes.from_arrays(observations=np.zeros((4, 1, 1)), actions=None, states=states, ends=np.ones(4))
    assert found.known.tolist() == [True, False, True, True]
