"""Several devices follow the learning curve of one (`test_hosts.py`: so do several hosts)."""

import os
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

pytestmark = pytest.mark.slow

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


def train_on_devices(data, out, devices):
    """Train in a process whose XLA has so many devices; gives how many it saw."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(ROOT / "tests" / "training_team.py"), str(data), str(out)]
    done = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1])


def assert_same_curve(model, alone):
    """Sums over the batch are taken in another order, and sixty steps of Adam carry their rounding on."""
    for name in ("loss", "first_bias"):
        ours, theirs = ([point[name] for point in one.curves] for one in (model, alone))
        np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    for one, other in zip(model.denoiser.state_weights, alone.denoiser.state_weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_two_devices_follow_the_curve_of_one(data, alone, tmp_path):
    assert train_on_devices(data, tmp_path / "run", 2) == 2
    assert_same_curve(load(tmp_path / "run"), alone)


def test_one_device_needs_no_mesh():
    mesh = mesh_of_all(32)
    tree = {"weights": jnp.ones(3)}
    assert mesh is None and on_all(tree, mesh) is tree and on_one(tree, mesh) is tree
    assert in_any_process(True) and not in_any_process(False) and from_first_process(2.5) == 2.5


def test_a_batch_that_does_not_split_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "devices", lambda: 3 * [None])
    with pytest.raises(InputError, match="32 does not split evenly over 3 devices"):
        mesh_of_all(32)
