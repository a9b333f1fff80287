"""The page for PyTorch users, run in the environment that has PyTorch: .venv-torch, by `make benchmark`."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("PEER_PYTHON", str(ROOT / ".venv-torch" / "bin" / "python"))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path(PYTHON).exists(), reason="make benchmark installs PyTorch")]


def run(code):
    """What a program prints there."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_policy_learns_to_act_on_inferred_states():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "pytorch.md").read_text(), flags=re.DOTALL)
    (loss,) = run(code)
    assert float(loss) < 0.3  # log 4 = 1.39 by chance


def test_a_view_changes_the_array_and_a_clone_does_not():
    code = """
import torch, jax.numpy as jnp
array = jnp.zeros(3)
torch.from_dlpack(array).clone().add_(1.0)
print(float(array.sum()))
torch.from_dlpack(array).add_(1.0)
print(float(array.sum()))
"""
    assert run(code) == ["0.0", "3.0"]
