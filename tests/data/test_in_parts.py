"""Logs that are read part by part become the same episodes as at once."""

import h5py
import numpy as np
import pytest

from composite_flow.data import Episodes
from composite_flow.data.dictionaries import arrays_of_dictionaries
from composite_flow.data.dictionary_parts import DictionaryParts
from composite_flow.data.episodes import ARRAYS
from composite_flow.data.foreign.hdf5 import Hdf5Parts, hdf5_arrays
from composite_flow.data.in_parts import write_in_parts
from composite_flow.errors import FileError, InputError

OPTIONS = dict(types={"state 1": "one of k", "state 0": "angle"}, units={"state 0": "m"})
NAMES = {name: name for name in ("observations", "actions", "states", "ends", "rewards")}


def assert_the_same(found, expected):
    for name in (*ARRAYS, "alive"):
        theirs = getattr(expected, name)
        theirs = np.ones(expected.observations.shape[:2], bool) if theirs is None else theirs
        np.testing.assert_array_equal(getattr(found, name)[:], theirs, err_msg=name)
    assert found.columns == expected.columns and found.state_names == expected.state_names
    np.testing.assert_array_equal(found.scaling.minimum, expected.scaling.minimum)
    np.testing.assert_array_equal(found.scaling.maximum, expected.scaling.maximum)
    assert found.scaling.by == expected.scaling.by


@pytest.fixture(params=["choices", "components", "none"])
def file(tmp_path, request):
    """Ten episodes of four steps; only the last ones have the largest action and the third mode."""
    random, late = np.random.default_rng(0), np.arange(40) >= 36
    with h5py.File(tmp_path / "log.h5", "w") as log:
        log["observations"] = random.normal(size=(40, 2, 3))
        log["states"] = np.stack([random.uniform(-3, 3, 40), np.where(late, 7, random.integers(0, 2, 40))], axis=1)
        log["ends"] = np.arange(40) % 4 == 3
        log["rewards"] = random.normal(size=(40, 2))
        actions = np.where(late[:, None], 4, random.integers(0, 2, (40, 2)))
        if request.param != "none":
            log["actions"] = actions if request.param == "choices" else np.stack([actions, 1 - actions // 4], axis=2)
    return tmp_path / "log.h5"


def test_a_file_part_by_part(file, tmp_path):
    with h5py.File(file) as log:
        names = {name: name for name in NAMES if name in log}
    parts = Hdf5Parts(file, names, part_bytes=400)
    assert len(list(parts)) > 3
    write_in_parts(parts, tmp_path / "data", False, ARRAYS, name="log.h5", **OPTIONS)
    expected = Episodes.from_arrays(**hdf5_arrays(file, names), **OPTIONS)
    assert len(list((tmp_path / "data").glob("*.h5"))) == len(list(parts))
    assert_the_same(Episodes.load(tmp_path / "data"), expected)
    assert expected.state_size == 5


def test_faults_leave_nothing_behind(file, tmp_path):
    for length, sentence in ((39, "observations have 39 steps, ends 40"), (None, "must be a finite|NaN or infinite")):
        with h5py.File(file, "r+") as log:
            values = log["observations"][:]
            values[-1] = np.nan
            del log["observations"]
            log["observations"] = values[:length]
        with pytest.raises((FileError, InputError), match=sentence):
            parts = Hdf5Parts(file, {name: name for name in ("observations", "states", "ends")}, part_bytes=400)
            write_in_parts(parts, tmp_path / "data", False, ARRAYS, name="log.h5")
        assert [path.name for path in tmp_path.iterdir()] == ["log.h5"]
        with h5py.File(file, "r+") as log:
            del log["observations"]
            log["observations"] = np.where(np.isnan(values), 0, values)


def episode(number):
    """The third kind of agent is met late, and what it sees is more than the others see."""
    random, length = np.random.default_rng(number), 3 + number % 2
    agents = ("a", "b") if number < 8 else ("b", "c", "a")
    sizes = {"a": 2, "b": 1, "c": 3}
    return {
        "observations": {name: random.normal(size=(length, sizes[name])) for name in agents},
        "actions": {name: random.integers(0, 2 + (number > 8), length) for name in agents},
        "states": {"x": random.normal(size=length), "mode": np.full(length, number // 5)},
        "rewards": {name: random.normal(size=length) for name in agents},
        "truncated": number == 3,
    }


def test_dictionaries_part_by_part(tmp_path):
    episodes, options = [episode(number) for number in range(12)], dict(types={"mode": "one of k"})
    parts = DictionaryParts(episodes, part_bytes=600)
    assert len(list(parts)) > 3
    write_in_parts(parts, tmp_path / "data", False, ARRAYS, name="the log", **options)
    expected = Episodes.from_arrays(**arrays_of_dictionaries(episodes), **options)
    assert expected.columns.agents == ("a", "b", "c") and expected.num_actions == 3
    assert_the_same(Episodes.load(tmp_path / "data"), expected)
    assert_the_same(Episodes.from_episodes(episodes, folder=tmp_path / "other", **options), expected)
    with pytest.raises(FileError, match="already holds episodes"):
        Episodes.from_episodes(episodes, folder=tmp_path / "other", **options)


def test_a_generator_cannot_be_read_twice(tmp_path):
    with pytest.raises(InputError, match="no generator"):
        Episodes.from_episodes((episode(number) for number in range(3)), folder=tmp_path / "data")
    assert not (tmp_path / "data").exists()
