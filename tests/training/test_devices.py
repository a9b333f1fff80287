"""Several devices or hosts follow the learning curve of one, and exactly one process writes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counter_world import CounterWorld, CyclingPolicy
from training_team import train

from composite_flow.data import collect
from composite_flow.errors import InputError
from composite_flow.model import load
from composite_flow.training.devices import from_first_process, in_any_process, mesh_of_all, on_all, on_one

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Episodes in several shards, larger than what training may hold of them."""
    folder = tmp_path_factory.mktemp("devices") / "data"
    collect(CounterWorld(), 60, key=jax.random.key(1), policy=CyclingPolicy(), num_steps=6).save(
        folder, shard_bytes=2000
    )
    return folder


@pytest.fixture(scope="module")
def alone(data):
    return train(data)


def start(data, out, *team, devices=1):
    """A process that trains; its XLA has so many devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(ROOT / "tests" / "training_team.py"), str(data), str(out), *map(str, team)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, text=True, stdout=pipe, stderr=pipe)


def numbers_of_devices(*processes):
    """What each process says at its end: how many devices there are, and how many of them are its own."""
    try:
        told = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, said) in zip(processes, told, strict=True):
        assert process.returncode == 0, said
    return [printed.splitlines()[-1] for printed, _ in told]


def assert_same_curve(model, alone):
    """Sums over the batch are taken in another order, and sixty steps of Adam carry their rounding on."""
    for name in ("loss", "first_bias"):
        ours, theirs = ([point[name] for point in one.curves] for one in (model, alone))
        np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    for one, other in zip(model.denoiser.state_weights, alone.denoiser.state_weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_two_devices_follow_the_curve_of_one(data, alone, tmp_path):
    assert numbers_of_devices(start(data, tmp_path / "run", devices=2)) == ["2 2"]
    assert_same_curve(load(tmp_path / "run"), alone)


def test_two_processes_follow_the_curve_of_one(data, alone, tmp_path):
    """Over gloo, from a common folder, in which the first process alone writes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    team = [start(data, tmp_path / "run", number, 2, address) for number in range(2)]
    assert numbers_of_devices(*team) == ["2 1", "2 1"]
    assert_same_curve(load(tmp_path / "run"), alone)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"model.safetensors", "training.safetensors"}


def test_one_device_needs_no_mesh():
    mesh = mesh_of_all(32)
    tree = {"weights": jnp.ones(3)}
    assert mesh is None and on_all(tree, mesh) is tree and on_one(tree, mesh) is tree
    assert in_any_process(True) and not in_any_process(False) and from_first_process(2.5) == 2.5


def test_a_batch_that_does_not_split_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "devices", lambda: 3 * [None])
    with pytest.raises(InputError, match="32 does not split evenly over 3 devices"):
        mesh_of_all(32)
