"""Several devices or hosts follow the learning curve of one, and exactly one process writes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counter_world import CounterWorld, CyclingPolicy
from training_team import CONFIG, train

from composite_flow.data import collect
from composite_flow.devices import in_any_process, mesh_of_all, on_all, on_one
from composite_flow.errors import InputError
from composite_flow.model import load

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Episodes in several shards, larger than what training may hold of them."""
    folder = tmp_path_factory.mktemp("devices") / "data"
    collect(CounterWorld(), 60, key=jax.random.key(1), policy=CyclingPolicy(), num_steps=6).save(folder, shard_bytes=2000)
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


def finished(process):
    """What it printed."""
    printed, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return printed.split()


def assert_same_curve(model, alone):
    """Sums over the batch are taken in another order, and sixty steps of Adam carry their rounding on."""
    for name in ("loss", "validation_loss"):
        ours, theirs = ([point[name] for point in one.curves] for one in (model, alone))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    for one, other in zip(model.denoiser.state_weights, alone.denoiser.state_weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert model.radius == pytest.approx(alone.radius, rel=1e-3)


def test_two_devices_follow_the_curve_of_one(data, alone, tmp_path):
    assert finished(start(data, tmp_path / "run", devices=2)) == ["2", "2"]
    assert_same_curve(load(tmp_path / "run"), alone)


def test_two_processes_follow_the_curve_of_one(data, alone, tmp_path):
    """Over gloo; one of them has two devices, so that the batch is split in three... of which 32 is no multiple."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    team = [start(data, tmp_path / "run", number, 2, address) for number in range(2)]
    assert [finished(process) for process in team] == [["2", "1"], ["2", "1"]]
    assert_same_curve(load(tmp_path / "run"), alone)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"model.safetensors", "training.safetensors"}
