"""Collected episodes follow the world exactly, depend on the key alone, and survive interruptions."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest
from counter_world import CounterWorld, CyclingPolicy
from unseal import unseal

from composite_flow.data import Episodes, collect, collect_to
from composite_flow.data.episodes import ARRAYS
from composite_flow.errors import FileError, InputError

WORLD, ROOT = CounterWorld(), Path(__file__).parents[2]
module = sys.modules[collect.__module__]


def assert_same(one: Episodes, other: Episodes):
    """Bit for bit, dtypes included."""
    for name in ARRAYS:
        first, second = np.asarray(getattr(one, name)), np.asarray(getattr(other, name))
        assert first.dtype == second.dtype and np.array_equal(first, second), name
    assert (one.state_names, one.description, one.policy) == (other.state_names, other.description, other.policy)
    assert np.array_equal(one.scaling.minimum, other.scaling.minimum)
    assert np.array_equal(one.scaling.maximum, other.scaling.maximum)


@pytest.fixture(scope="module")
def episodes() -> Episodes:
    return collect(WORLD, 40, key=jax.random.key(1), policy=CyclingPolicy(), num_steps=6)


def test_each_step_is_what_the_world_says(episodes):
    assert episodes.num_episodes == 40 and episodes.state_names == ("time", "length")
    for start, stop in zip(episodes.starts, episodes.stops, strict=True):
        times, agents = np.arange(stop - start), np.arange(3)
        actions = (agents[None, :] + times[:, None]) % 3
        sums = np.concatenate([np.zeros((1, 3)), np.cumsum(actions, axis=0)[:-1]])
        assert np.array_equal(episodes.states[start:stop, 0], times)
        assert np.all(episodes.states[start:stop, 1] == stop - start)
        assert np.array_equal(episodes.actions[start:stop], actions)
        assert np.array_equal(episodes.observations[start:stop, :, 0], np.tile(agents, (len(times), 1)))
        assert np.array_equal(episodes.observations[start:stop, :, 1], np.tile(times[:, None], (1, 3)))
        assert np.array_equal(episodes.observations[start:stop, :, 2], sums)
        assert np.array_equal(episodes.rewards[start : stop - 1], actions.sum(axis=1)[:-1])
        assert episodes.rewards[stop - 1] == 0  # the world is over, nothing is earned any more
        assert np.array_equal(episodes.availability[start:stop, 0, 3], times % 2 == 0)


def test_lengths_vary_and_num_steps_cuts(episodes):
    assert set(episodes.stops - episodes.starts) == {2, 3, 4, 5, 6}
    short = collect(WORLD, 40, key=jax.random.key(1), policy=CyclingPolicy(), num_steps=3)
    assert np.array_equal(short.stops - short.starts, np.minimum(episodes.stops - episodes.starts, 3))


def test_scaling_is_min_max_or_the_identity(episodes):
    scaled = np.asarray(episodes.scaling.scale(jax.numpy.asarray(episodes.states)))
    assert scaled.min() == 0 and scaled.max() == 1
    assert np.allclose(episodes.scaling.unscale(jax.numpy.asarray(scaled)), episodes.states, atol=1e-6)  # rounding
    constant = collect(CounterWorld(longest=2), 3, key=jax.random.key(0), num_steps=1)  # time is always 0, length 2
    assert np.array_equal(constant.scaling.scale(jax.numpy.asarray(constant.states)), np.zeros((3, 2)))
    assert np.array_equal(constant.scaling.unscale(jax.numpy.zeros((3, 2))), constant.states)


def test_the_key_decides_whatever_the_batch(monkeypatch, episodes):
    monkeypatch.setattr(module, "BATCH_BYTES", 7 * module._episode_bytes(WORLD, 6))
    told = []
    batched = collect(
        WORLD, 40, key=jax.random.key(1), policy=CyclingPolicy(), num_steps=6, progress=lambda *n: told.append(n)
    )
    assert_same(batched, episodes)
    assert told[-1] == (40, 40) and len(told) == 6
    other = collect(WORLD, 40, key=jax.random.key(2), policy=CyclingPolicy(), num_steps=6)
    assert not np.array_equal(other.stops, episodes.stops)


def test_random_actions_are_available():
    episodes = collect(WORLD, 40, key=jax.random.key(1), num_steps=6)
    assert np.take_along_axis(episodes.availability, episodes.actions[..., None], axis=2).all()
    assert set(episodes.actions.ravel()) == {0, 1, 2, 3}


def test_numbers_that_cannot_be_used():
    with pytest.raises(InputError, match="give num_steps"):
        collect(WORLD, 4, key=jax.random.key(0))
    for numbers in ({"num_episodes": 0}, {"num_samples": 0}):
        with pytest.raises(InputError, match="at least 1"):
            collect(WORLD, **numbers, key=jax.random.key(0), num_steps=3)
    for numbers in ({}, {"num_episodes": 4, "num_samples": 4}):
        with pytest.raises(InputError, match="Give either"):
            collect(WORLD, **numbers, key=jax.random.key(0), num_steps=3)


def into(folder: Path, **options) -> Episodes:
    """Forty episodes, six to a shard."""
    options = {"key": jax.random.key(1), "policy": CyclingPolicy(), "num_steps": 6} | options
    return collect_to(folder, WORLD, 40, shard_bytes=6 * module._episode_bytes(WORLD, 6), **options)


def test_shards_hold_the_same_episodes(tmp_path, episodes):
    assert_same(into(tmp_path / "a"), episodes)
    assert len(list((tmp_path / "a").iterdir())) == 7
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_interrupted_collection_goes_on(tmp_path, episodes):
    def interrupt(done, total):
        if done == 18:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        into(tmp_path / "a", progress=interrupt)
    with pytest.raises(FileError, match="left unfinished"):
        Episodes.load(tmp_path / "a")
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a.partial").iterdir()}
    assert len(kept) == 3
    (tmp_path / "a.partial" / "episodes-00003.h5.partial").write_bytes(b"half a shard")
    assert_same(into(tmp_path / "a"), episodes)
    now = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    assert all(now[name] == kept[name] for name in kept) and len(now) == 7
    assert not (tmp_path / "a.partial").exists()


def test_leftovers_of_another_collection_are_not_used(tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        into(tmp_path / "a", progress=interrupt)
    other = into(tmp_path / "a", key=jax.random.key(5))
    assert_same(other, collect(WORLD, 40, key=jax.random.key(5), policy=CyclingPolicy(), num_steps=6))


def test_a_killed_collection_goes_on(tmp_path, episodes):
    """SIGKILL in the middle of writing a shard."""
    script = """
        import os, signal, sys, jax
        from composite_flow.data import collect_to
        from counter_world import CounterWorld, CyclingPolicy
        fsync, calls = os.fsync, []
        def kill(descriptor):
            calls.append(descriptor)
            fsync(descriptor) if len(calls) < 4 else os.kill(os.getpid(), signal.SIGKILL)
        os.fsync = kill
        collect_to(sys.argv[1], CounterWorld(), 40, key=jax.random.key(1), policy=CyclingPolicy(), num_steps=6,
                   shard_bytes=int(sys.argv[2]))
    """
    size = str(6 * module._episode_bytes(WORLD, 6))
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "a"), size]
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    killed = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(list((tmp_path / "a.partial").iterdir())) == 4  # three whole ones and a partial one
    assert_same(into(tmp_path / "a"), episodes)


def test_nothing_is_overwritten_unless_asked(tmp_path, episodes):
    into(tmp_path / "a", key=jax.random.key(3))
    with pytest.raises(FileError, match="already holds episodes"):
        into(tmp_path / "a")
    assert_same(into(tmp_path / "a", overwrite=True), episodes)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


# --- until there are so many samples

SAMPLES = 101


@pytest.fixture(scope="module")
def sampled() -> Episodes:
    return collect(WORLD, num_samples=SAMPLES, key=jax.random.key(1), policy=CyclingPolicy(), num_steps=6)


def into_samples(folder: Path, **options) -> Episodes:
    """Six episodes to a shard, so that no shard knows how many there will be."""
    options = {"key": jax.random.key(1), "policy": CyclingPolicy(), "num_steps": 6} | options
    return collect_to(folder, WORLD, num_samples=SAMPLES, shard_bytes=6 * module._episode_bytes(WORLD, 6), **options)


def test_samples_are_the_fewest_whole_episodes_that_suffice(sampled, episodes):
    count = int(np.searchsorted(episodes.stops, SAMPLES)) + 1
    assert sampled.num_episodes == count and np.array_equal(sampled.stops, episodes.stops[:count])
    assert sampled.stops[-2] < SAMPLES <= sampled.num_steps
    assert np.array_equal(sampled.observations, episodes.observations[: sampled.num_steps])
    exact = collect(
        WORLD, num_samples=int(episodes.stops[4]), key=jax.random.key(1), policy=CyclingPolicy(), num_steps=6
    )
    assert exact.num_episodes == 5  # no episode more where the last one ends just there


def test_shards_of_samples_hold_the_same_episodes(tmp_path, sampled):
    told = []
    assert_same(into_samples(tmp_path / "a", progress=lambda *n: told.append(n)), sampled)
    shards = len(list((tmp_path / "a").iterdir()))
    assert shards > 3 and len(told) == shards and told[-1] == (sampled.num_steps, SAMPLES)


@pytest.mark.parametrize("missing", [0, 2])
def test_interrupted_samples_go_on(tmp_path, sampled, missing):
    """Cut after three shards; also where one of the finished ones is lost or damaged meanwhile."""

    def interrupt(done, total):
        if len(list((tmp_path / "a.partial").iterdir())) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        into_samples(tmp_path / "a", progress=interrupt)
    with pytest.raises(FileError, match="left unfinished"):
        Episodes.load(tmp_path / "a")
    os.truncate(tmp_path / "a.partial" / f"episodes-0000{missing}.h5", 1000)
    assert_same(into_samples(tmp_path / "a"), sampled)
    last = max((tmp_path / "a").iterdir())
    last.unlink()
    with pytest.raises(FileError, match="lacks shard"):
        Episodes.load(tmp_path / "a")


def test_killed_samples_go_on(tmp_path, sampled):
    """SIGKILL between two shards, in the middle of writing the third and just before the folder gets its name."""
    script = """
        import os, signal, sys, jax
        from pathlib import Path
        from composite_flow.data import collect_to
        from counter_world import CounterWorld, CyclingPolicy
        fsync, rename, calls = os.fsync, Path.rename, []
        def kill(*_):
            os.kill(os.getpid(), signal.SIGKILL)
        def write(descriptor):
            calls.append(descriptor)
            fsync(descriptor) if len(calls) < 3 or sys.argv[3] == "folder" else kill()
        os.fsync, Path.rename = write, kill
        collect_to(sys.argv[1], CounterWorld(), num_samples=101, key=jax.random.key(1), policy=CyclingPolicy(),
                   num_steps=6, shard_bytes=int(sys.argv[2]))
    """
    size, path = str(6 * module._episode_bytes(WORLD, 6)), os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    for place, left in (("shard", 3), ("folder", None)):
        command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / place), size, place]
        killed = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert left is None or len(list((tmp_path / f"{place}.partial").iterdir())) == left
        assert_same(into_samples(tmp_path / place), sampled)
        assert not (tmp_path / f"{place}.partial").exists()


def test_what_the_minutes_do_not_suffice_for_is_left_to_the_same_call(tmp_path, sampled):
    """Each call makes at least one shard, so that calls with however little time reach the end."""
    for calls in range(1, 20):
        try:
            episodes = into_samples(tmp_path / "a", minutes=1e-9)
            break
        except InputError as error:
            assert "of 101 time steps were collected" in str(error) and "a.partial" in str(error)
            assert len(list((tmp_path / "a.partial").iterdir())) == calls
    assert_same(episodes, sampled)
    with pytest.raises(InputError, match="minutes must be positive"):
        into_samples(tmp_path / "b", minutes=0.0)


# --- who acted


def test_episodes_tell_which_policy_acted(tmp_path, episodes, sampled):
    assert episodes.policy == {"kind": "CyclingPolicy"}
    random = collect(WORLD, 3, key=jax.random.key(0), num_steps=3)
    assert random.policy == {"kind": "random"}
    random.save(tmp_path / "a")
    assert_same(Episodes.load(tmp_path / "a"), random)
    assert random.description == WORLD.description  # which says nothing of the policy


def test_data_without_a_record_of_the_policy_still_load(tmp_path, episodes):
    episodes.save(tmp_path / "a")
    with h5py.File(unseal(tmp_path / "a" / "episodes-00000.h5"), "r+") as file:
        description = json.loads(file["description"][()])
        del description["policy"], file["description"]
        file["description"] = json.dumps(description)
    assert_same(Episodes.load(tmp_path / "a"), dataclasses.replace(episodes, policy={}))
