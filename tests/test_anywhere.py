"""The same anywhere: 64-bit mode, debug flags, narrow and old terminals, no home, any seed, one run a folder."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import composite_flow as cf
from composite_flow import cli
from composite_flow.cli.options import usable_seed
from composite_flow.files.lock import locked

pytestmark = pytest.mark.slow

SMALL = cf.TrainingConfig(width=8, depth=1, steps=5, batch=16, warmup=1, learn="both")


def episodes(steps: int = 120, **changes) -> cf.Episodes:
    random = np.random.default_rng(0)
    states = np.eye(4)[random.integers(0, 4, steps)]
    given = {
        "observations": random.integers(0, 2, (steps, 2, 3)),
        "actions": np.zeros((steps, 2), int),
        "states": states,
    }
    return cf.Episodes.from_arrays(**(given | {"ends": np.arange(steps) % 4 == 3} | changes))


def trained():
    train, validation, test = cf.HistoryDataset(episodes()).split(key=jax.random.key(0))
    return cf.fit(train, validation, SMALL, key=jax.random.key(1), progress=False), test


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    model, test = trained()
    model.save(folder)
    histories = test.joint(test.steps[:2]).histories
    return folder, model, histories, model.reconstruct(histories[0], key=jax.random.key(0), num_samples=4)


def test_in_a_program_of_64_bits_everything_means_the_same(run):
    folder, model, histories, before = run
    with jax.enable_x64(True):
        loaded = cf.load(folder)
        found = loaded.reconstruct(histories[0], key=jax.random.key(0), num_samples=4)
        fused = loaded.fuse(histories[0])
        again, _ = trained()
        problem = cf.SensorNetwork.grid(2, 2, num_targets=1)
        data = cf.HistoryDataset(cf.collect(problem, 8, key=jax.random.key(0)), length=2)
        belief = cf.exact_belief(problem, data.joint(np.arange(4)).structured)
        points = cf.find_fixed_points(loaded.denoiser, histories[0, 0], key=jax.random.key(0))
    assert np.array_equal(found.state, before.state) and found.state.dtype == np.float32
    assert np.array_equal(fused.mean, model.fuse(histories[0]).mean) and belief.probabilities.dtype == np.float32
    leaves = zip(jax.tree.leaves(model.denoiser), jax.tree.leaves(again.denoiser), strict=True)
    assert all(one.dtype == other.dtype and np.array_equal(one, other) for one, other in leaves)
    assert points.points.dtype == np.float32


def test_under_debug_flags(run):
    folder, _, histories, before = run
    with jax.debug_nans(True), jax.debug_infs(True), jax.enable_checks(True):
        trained()
        found = cf.load(folder).reconstruct(histories[0], key=jax.random.key(0), num_samples=4)
    assert np.array_equal(found.state, before.state)


def command(*arguments, **environment):
    environment = {name: value for name, value in ({**os.environ, **environment}).items() if value is not None}
    return subprocess.run([sys.executable, "-m", "composite_flow", *arguments], capture_output=True, env=environment)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_an_encoding_lacks_is_replaced(tmp_path, encoding):
    episodes(state_names=["θ", "φ", "ψ", "x"]).save(tmp_path / "δ")
    done = command("inspect", str(tmp_path / "δ"), PYTHONIOENCODING=encoding, COLUMNS="20")
    assert done.returncode == 0 and b"Traceback" not in done.stderr and b"?" in done.stdout


def test_without_a_home_or_a_cache_that_can_be_written(tmp_path):
    episodes().save(tmp_path / "data")
    for environment in ({"HOME": "/proc/none"}, {"HOME": "/proc/none", "XDG_CACHE_HOME": "/proc"}):
        done = command("inspect", str(tmp_path / "data"), JAX_COMPILATION_CACHE_DIR=None, **environment)
        assert done.returncode == 0 and b"Traceback" not in done.stderr


def test_a_device_that_is_not_there_is_told_in_a_sentence(tmp_path):
    done = command("collect", "sensor:2x2", "--episodes", "2", "--out", str(tmp_path / "a"), JAX_PLATFORMS="cuda")
    assert done.returncode == 1 and done.stderr.startswith(b"Error: JAX_PLATFORMS names cuda, but")
    assert not list(tmp_path.iterdir())


# --- seeds


def test_seeds_of_any_size():
    assert [usable_seed(seed) for seed in (0, 7, 2**63 - 1)] == [0, 7, 2**63 - 1]
    others = [usable_seed(seed) for seed in (-1, -2, 2**63, 10**22)]
    assert len(set(others)) == 4 and all(0 <= seed < 2**63 for seed in others)


@pytest.mark.parametrize("seed", ["-1", str(10**22)])
def test_every_command_takes_every_seed(tmp_path, monkeypatch, seed):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["collect", "sensor:2x2", "--episodes", "32", "--out", "data", "--seed", seed]) == 0
    small = ["--width", "8", "--depth", "1", "--steps", "5", "--batch", "16", "--seed", seed]
    assert cli.main(["train", "data", "--out", "run", *small]) == 0
    assert cli.main(["train", "data", "--out", "run", "--resume", "--seed", seed]) == 0
    assert cli.main(["reconstruct", "run", "data", "--out", "estimates", "--joint", "2", "--seed", seed]) == 0


# --- runs


def test_a_folder_is_of_one_run_at_a_time(tmp_path, capsys):
    episodes(400).save(tmp_path / "data")
    small = ["--width", "8", "--depth", "1", "--batch", "16", "--steps", "5"]
    train = ["train", str(tmp_path / "data"), "--out", str(tmp_path / "run"), *small]
    with locked(tmp_path / "run" / "run.lock"):
        assert cli.main([*train, "--overwrite"]) == 1
    assert "Another process is training in" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert cli.main(train) == 0 and "run.lock" not in os.listdir(tmp_path / "run")


def test_a_radius_that_could_not_be_measured_is_told_and_mended_by_radius(tmp_path, capsys):
    """One outlier among the validation episodes' observations, a sensor's overflow, sends flows to infinity."""
    _, validation, _ = cf.HistoryDataset(episodes(400)).split(key=jax.random.split(jax.random.key(0), 3)[0])
    observations = np.array(episodes(400).observations)
    observations[int(validation.steps[0]), :, 0] = 1e38
    episodes(400, observations=observations, types={}).save(tmp_path / "data")
    small = ["--width", "8", "--depth", "1", "--batch", "16", "--steps", "5"]
    assert cli.main(["train", str(tmp_path / "data"), "--out", str(tmp_path / "run"), *small, "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["radius"] is None and "radius of the checks could not be measured" in told.err
    use = ["reconstruct", str(tmp_path / "run"), str(tmp_path / "data"), "--joint", "2"]
    assert cli.main([*use, "--out", str(tmp_path / "a")]) == 1
    assert "--radius" in capsys.readouterr().err
    assert cli.main([*use, "--out", str(tmp_path / "a"), "--radius", "0.5"]) == 0
