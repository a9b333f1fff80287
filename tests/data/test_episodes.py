"""Episodes come back from disk bit for bit, whole or read lazily, and every fault has its sentence."""

import errno
import gc
import os

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from unseal import unseal

from composite_flow.data import Episodes, Scaling
from composite_flow.data.episodes import ARRAYS
from composite_flow.data.shards import shard_image
from composite_flow.errors import FileError, InputError


def logs(num_episodes: int = 12, seed: int = 0) -> dict:
    """Random logs of episodes of different lengths: 3 agents, 5 actions, 2 observed features, 4 of the state."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 6, num_episodes)
    steps = lengths.sum()
    return {
        "observations": random.normal(size=(steps, 3, 2)),
        "actions": random.integers(0, 5, (steps, 3)),
        "states": random.normal(size=(steps, 4)).astype(np.float16),
        "ends": np.isin(np.arange(steps), np.cumsum(lengths) - 1),
        "rewards": random.normal(size=steps),
        "availability": np.ones((steps, 3, 5), bool),
        "state_names": list("abcd"),
        "description": {"kind": "random", "sizes": [1, 2]},
    }


EPISODES = Episodes.from_arrays(**logs())


def assert_same(one: Episodes, other: Episodes):
    """Bit for bit, dtypes included."""
    for name in ARRAYS:
        first, second = np.asarray(getattr(one, name)[:]), np.asarray(getattr(other, name)[:])
        assert first.dtype == second.dtype and np.array_equal(first, second), name
    assert (one.state_names, one.description) == (other.state_names, other.description)
    assert np.array_equal(one.scaling.minimum, other.scaling.minimum)
    assert np.array_equal(one.scaling.maximum, other.scaling.maximum)


# --- own arrays


def test_own_arrays_of_any_kind():
    given = logs()
    assert np.array_equal(EPISODES.observations, given["observations"].astype(np.float32))
    assert EPISODES.actions.dtype == np.int32 and EPISODES.states.dtype == np.float32
    assert EPISODES.num_episodes == 12 and EPISODES.num_steps == len(given["ends"])
    lists = {name: given[name].tolist() for name in ARRAYS}
    assert_same(Episodes.from_arrays(**given | lists), EPISODES)
    arrays = {name: jnp.asarray(getattr(EPISODES, name)) for name in ARRAYS}
    assert_same(Episodes.from_arrays(**given | arrays), EPISODES)


def test_defaults():
    given = {name: logs()[name] for name in ("observations", "actions", "states", "ends")}
    episodes = Episodes.from_arrays(**given)
    assert episodes.num_actions == given["actions"].max() + 1 and episodes.availability.all()
    assert not episodes.rewards.any() and episodes.state_names == ("state 0", "state 1", "state 2", "state 3")
    assert Episodes.from_arrays(**given, num_actions=9).availability.shape[2] == 9


def test_scaling_is_min_max_and_leaves_bits_alone():
    scaled = np.asarray(EPISODES.scaling.scale(jnp.asarray(EPISODES.states)))
    assert np.array_equal(scaled.min(axis=0), np.zeros(4)) and np.array_equal(scaled.max(axis=0), np.ones(4))
    bits = np.array([[0.0, 1.0], [0.0, 0.0]], np.float32)  # a feature that is constant here, but a bit all the same
    assert np.array_equal(Scaling.from_states(bits).scale(jnp.asarray(bits)), bits)
    constant = np.array([[3.0, 1.0], [3.0, 5.0]], np.float32)
    scaling = Scaling.from_states(constant)
    assert np.array_equal(scaling.scale(jnp.asarray(constant)), [[0, 0], [0, 1]])
    assert np.array_equal(scaling.unscale(jnp.array([[0.0, 0.5]])), [[3.0, 3.0]])
    with pytest.raises(InputError, match="nowhere above its maximum"):
        Scaling(jnp.ones(2), jnp.zeros(2))


FAULTS = {
    "lengths": ({"actions": np.zeros((2, 3), int)}, "same number of steps"),
    "nan": ({"states": np.full((len(EPISODES.ends), 4), np.nan)}, "states hold values that are NaN or infinite"),
    "overflow": ({"observations": np.full((len(EPISODES.ends), 3, 2), 1e60)}, "NaN or infinite in float32"),
    "infinite": ({"states": np.full((len(EPISODES.ends), 4), np.inf)}, "states hold .* infinite: 'a' at step 0"),
    "fractions": ({"actions": EPISODES.actions + 0.5}, "whole numbers from 0"),
    "negative": ({"actions": EPISODES.actions - 1}, "whole numbers from 0"),
    "unfinished": ({"ends": np.zeros(len(EPISODES.ends), bool)}, "last step must end an episode"),
    "empty": (
        {name: getattr(EPISODES, name)[:0] for name in ARRAYS},
        "at least one step",
    ),
    "agents": ({"actions": EPISODES.actions[:, :2]}, "of 3 agents and actions of 2"),
    "no agents": ({"actions": EPISODES.actions[:, :0], "observations": EPISODES.observations[:, :0]}, "at least one"),
    "no features": ({"states": EPISODES.states[:, :0], "state_names": []}, "at least one feature"),
    "axes": ({"states": EPISODES.rewards}, "states must have 2 axes, not 1"),
    "ragged": ({"states": [[1.0], [1.0, 2.0]]}, "rows differ in length"),
    "text": ({"states": [["a"]]}, "must hold numbers"),
    "ends": ({"ends": np.full(len(EPISODES.ends), 2)}, "zeros and ones"),
    "unknown action": ({"availability": EPISODES.availability[..., :3]}, "only 3 actions"),
    "availability": ({"availability": EPISODES.availability[:, :2]}, "must have the shape"),
    "num_actions": ({"num_actions": 9}, "must have the shape"),
    "names": ({"state_names": ["a"]}, "one entry for each of the 4"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_own_arrays(fault):
    changes, sentence = FAULTS[fault]
    with pytest.raises(InputError, match=sentence):
        Episodes.from_arrays(**logs() | changes)


# --- on disk


@pytest.mark.parametrize("shard_bytes", [1, 500, 10**9])
@pytest.mark.parametrize("in_memory", [True, False, None])
def test_saved_and_loaded_bit_for_bit(tmp_path, shard_bytes, in_memory):
    EPISODES.save(tmp_path / "deep" / "a", shard_bytes=shard_bytes)
    loaded = Episodes.load(tmp_path / "deep" / "a", in_memory=in_memory)
    assert loaded.in_memory == (in_memory is not False)
    assert_same(loaded, EPISODES)
    assert (loaded.num_episodes, loaded.num_bytes) == (EPISODES.num_episodes, EPISODES.num_bytes)
    shards = sorted((tmp_path / "deep" / "a").iterdir())
    assert len(shards) == 12 if shard_bytes == 1 else 1 if shard_bytes == 10**9 else 1 < len(shards) < 12
    for path in shards:  # whole episodes, and self-describing
        with h5py.File(path) as file:
            assert file["ends"][-1] and file.attrs["num_shards"] == len(shards) and b'"jax"' in file["description"][()]


def test_lazy_arrays_are_indexed_like_arrays(tmp_path):
    EPISODES.save(tmp_path / "a", shard_bytes=500)
    lazy = Episodes.load(tmp_path / "a", in_memory=False).observations
    random = np.random.default_rng(0)
    for shape in [(7,), (4, 3), (200,), (0,)]:
        rows = random.integers(0, len(lazy), shape)
        assert np.array_equal(lazy[rows], EPISODES.observations[rows])
    assert np.array_equal(lazy[3:11], EPISODES.observations[3:11])


def test_a_lazy_copy_can_be_saved_and_large_data_are_lazy(tmp_path, monkeypatch):
    EPISODES.save(tmp_path / "a", shard_bytes=500)
    monkeypatch.setattr("composite_flow.data.episodes.IN_MEMORY_BYTES", 100)
    lazy = Episodes.load(tmp_path / "a")
    assert not lazy.in_memory
    lazy.save(tmp_path / "b", shard_bytes=900)
    assert_same(Episodes.load(tmp_path / "b", in_memory=True), EPISODES)


def test_nothing_is_overwritten_unless_asked(tmp_path):
    other = Episodes.from_arrays(**logs(seed=1))
    other.save(tmp_path / "a", shard_bytes=1)
    with pytest.raises(FileError, match="already holds episodes"):
        EPISODES.save(tmp_path / "a")
    assert_same(Episodes.load(tmp_path / "a"), other)
    lazy = Episodes.load(tmp_path / "a", in_memory=False)
    EPISODES.save(tmp_path / "a", overwrite=True)
    assert_same(Episodes.load(tmp_path / "a"), EPISODES)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    with pytest.raises(FileError, match="replaced by other episodes"):
        _ = lazy.states[:1]


def test_what_is_not_ours_is_left_alone(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("dear diary")
    with pytest.raises(FileError, match="something other than episodes, diary.txt"):
        EPISODES.save(tmp_path / "notes", overwrite=True)
    with pytest.raises(FileError, match="is a file"):
        EPISODES.save(tmp_path / "notes" / "diary.txt", overwrite=True)
    assert (tmp_path / "notes" / "diary.txt").read_text() == "dear diary"


def test_a_full_disk_leaves_the_old_data_and_no_leftovers(tmp_path, monkeypatch):
    EPISODES.save(tmp_path / "a")
    calls, fsync = [], os.fsync

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="The disk is full: .*episodes-00002.h5.* free some space"):
        Episodes.from_arrays(**logs(seed=1)).save(tmp_path / "a", overwrite=True, shard_bytes=1)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert_same(Episodes.load(tmp_path / "a"), EPISODES)


def test_the_bytes_of_a_shard_are_collected_as_garbage_in_silence():
    """Since Python 3.13 a buffer complains where a view of it is in the same cycle, as one in a traceback can be."""
    arrays = {name: np.asarray(getattr(EPISODES, name)[:]) for name in ARRAYS}
    image = shard_image("a", 0, 1, arrays, {})
    assert isinstance(image, bytes)
    cycle = [image]
    cycle.append(cycle)
    del image, cycle
    gc.collect()


def test_a_save_killed_between_its_renames_is_made_good(tmp_path):
    EPISODES.save(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "a.previous.partial")
    with pytest.raises(FileError, match="before an interrupted overwrite are in .*a.previous.partial"):
        Episodes.load(tmp_path / "a")
    with pytest.raises(FileError, match="already holds episodes"):  # they are back before anything else happens
        EPISODES.save(tmp_path / "a")
    assert_same(Episodes.load(tmp_path / "a"), EPISODES)


def test_a_description_that_is_not_json(tmp_path):
    with pytest.raises(InputError, match="cannot be written as JSON"):
        Episodes.from_arrays(**logs() | {"description": {"kind": object()}}).save(tmp_path / "a")
    assert not list(tmp_path.iterdir())


def change(key, value):
    """A fault: a root attribute that says something else."""

    def apply(folder):
        with h5py.File(unseal(folder / "episodes-00001.h5"), "r+") as file:
            file.attrs[key] = value

    return apply


def foreign(folder):
    with h5py.File(folder / "episodes-00001.h5", "w") as file:
        file["x"] = [1, 2]


def drop(name):
    def apply(folder):
        with h5py.File(unseal(folder / "episodes-00001.h5"), "r+") as file:
            del file[name]

    return apply


def mixed(folder):
    EPISODES.save(folder.with_name("b"), shard_bytes=500)
    (folder.with_name("b") / "episodes-00001.h5").replace(folder / "episodes-00001.h5")


def truncated(folder):
    os.truncate(folder / "episodes-00001.h5", 5000)


def flipped(folder):
    """One bit of the compressed observations flips."""
    path = folder / "episodes-00001.h5"
    with h5py.File(path) as file:
        offset = file["observations"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset + 20] ^= 1
    path.write_bytes(content)


FILE_FAULTS = {
    "missing first": (lambda folder: (folder / "episodes-00000.h5").unlink(), "lacks shard 0 of"),
    "missing": (lambda folder: (folder / "episodes-00001.h5").unlink(), "lacks shard 1 of"),
    "missing last": (lambda folder: max(folder.iterdir()).unlink(), "lacks shard"),
    "empty file": (lambda folder: (folder / "episodes-00001.h5").write_bytes(b""), "not an HDF5 file"),
    "text": (lambda folder: (folder / "episodes-00001.h5").write_text("hello"), "not an HDF5 file"),
    "truncated": (truncated, "episodes-00001.h5 is truncated or damaged"),
    "flipped bit": (flipped, "episodes-00001.h5 is truncated or damaged"),
    "foreign": (foreign, "episodes-00001.h5 is an HDF5 file, but not a shard"),
    "version": (change("format_version", 3), "format version 3, but this library reads 1 and 2"),
    "no array": (drop("actions"), "truncated or damaged"),
    "no description": (drop("description"), "truncated or damaged"),
    "mixed": (mixed, "different collections"),
    "renumbered": (change("shard", 7), "lacks shard 1"),
    "no folder": (lambda folder: folder.rename(folder.with_name("c")), "is not a folder of episodes"),
    "no shards": (lambda folder: [path.unlink() for path in folder.iterdir()], "holds no episodes"),
    "a directory": (
        lambda folder: ((folder / "episodes-00001.h5").unlink(), (folder / "episodes-00001.h5").mkdir()),
        "does not exist|is not a file",
    ),
}


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_faults_of_files(tmp_path, fault):
    apply, sentence = FILE_FAULTS[fault]
    EPISODES.save(tmp_path / "a", shard_bytes=500)
    apply(tmp_path / "a")
    with pytest.raises(FileError, match=sentence):
        Episodes.load(tmp_path / "a", in_memory=True)
