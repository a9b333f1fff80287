"""Collected episodes follow the world exactly, depend on the key alone, and survive interruptions."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest
from counter_world import CounterWorld, CyclingPolicy

from composite_flow.data import Episodes, collect, collect_to
from composite_flow.data.episodes import ARRAYS
from composite_flow.errors import FileError, InputError

WORLD = CounterWorld()
module = sys.modules[collect.__module__]


def assert_same(one: Episodes, other: Episodes):
    """Bit for bit, dtypes included."""
    for name in ARRAYS:
        first, second = np.asarray(getattr(one, name)), np.asarray(getattr(other, name))
        assert first.dtype == second.dtype and np.array_equal(first, second), name
    assert (one.state_names, one.description) == (other.state_names, other.description)
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
    with pytest.raises(InputError, match="at least 1"):
        collect(WORLD, 0, key=jax.random.key(0), num_steps=3)


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
    path = os.pathsep.join(map(str, (Path(__file__).parents[1], Path(__file__).parent)))
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
