"""Filters beside Stone Soup's, run in the environment that has it: .venv-tracking, by `make tracking`.

That the learned filter's form holds the joint Kalman filter needs no Stone Soup: `fusion/over_time/test_exact_filters`.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("TRACKING_PYTHON", str(ROOT / ".venv-tracking" / "bin" / "python"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(PYTHON).exists(), reason="make tracking installs Stone Soup"),
]


def run(*arguments):
    """What a program prints there."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([PYTHON, *arguments], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_filters_follow_new_episodes(tmp_path):
    """What is told more errs less; a learned filter that was hardly taught is worse than any but a sensor alone."""
    out, page = tmp_path / "tracking.json", tmp_path / "tracking.md"
    small = "--seeds 2 --episodes 6 --training-episodes 40 --steps 20 --width 16".split()
    printed = run("-m", "benchmarks.tracking", *small, "--out", str(out), "--page", str(page))
    found = json.loads(out.read_text())
    summary = found["summary"]
    seen = {name: each["seen"]["mean"] for name, each in summary.items()}
    assert seen["joint"] < seen["covariance intersection"] < seen["alone"] and seen["joint"] < seen["learned"]
    assert 2 < summary["joint"]["nees"]["mean"] < 7 < summary["naive fusion"]["nees"]["mean"]
    assert all(each["gospa"]["interval"][0] < each["gospa"]["mean"] < 20 * 2**0.5 for each in summary.values())
    assert found["seeds"] == 2 and len(found["training_seconds"]) == 2
    assert printed.strip() in page.read_text() and "95% over 12 episodes" in page.read_text()


def test_closed_forms():
    """The Kalman filter is that of all measurements stacked; where one track knows all better, intersection is it."""
    code = """
import numpy as np
from stonesoup.types.state import GaussianState
from benchmarks.tracking.rivals import estimates_of, intersected, naively_fused, tracked
from benchmarks.tracking.world import START, STEP, World, simulate

world = World(targets=1, steps=4)
episodes = simulate(world, 3, 0)
found = estimates_of(tracked(world, episodes, range(4)))
mean, covariance = world.prior
motion, noise = (np.asarray(f(time_interval=STEP)) for f in (world.transition.matrix, world.transition.covar))
for episode in range(3):
    m, c = mean, covariance
    for step in range(4):
        if step:
            m, c = motion @ m, motion @ c @ motion.T + noise
        seen = episodes.seen[episode, step, :, 0]
        h = np.concatenate([np.eye(4)[[0, 2]]] * seen.sum() or [np.zeros((0, 4))])
        gain = c @ h.T @ np.linalg.inv(h @ c @ h.T + world.error**2 * np.eye(len(h)))
        m, c = m + gain @ (episodes.measured[episode, step, seen, 0].ravel() - h @ m), c - gain @ h @ c
        np.testing.assert_allclose(found.mean[episode, step, 0], m, rtol=1e-8)
        np.testing.assert_allclose(found.covariance[episode, step, 0], c, rtol=1e-8, atol=1e-9)

sharp, vague = (GaussianState(np.full(4, at), scale * np.eye(4), timestamp=START) for at, scale in ((1.0, 1), (2.0, 4)))
other = GaussianState(np.full(4, 2.0), np.diag([4.0, 0.25, 4.0, 0.25]), timestamp=START)
better = intersected([sharp, vague])
np.testing.assert_allclose(better.covar, np.eye(4), atol=1e-2)
crossed, half = intersected([sharp, other]), np.diag([1.6, 0.4, 1.6, 0.4])  # by symmetry both count half
np.testing.assert_allclose(crossed.covar, half, rtol=1e-3)
naive = naively_fused([sharp, vague])
np.testing.assert_allclose(naive.covar, 0.8 * np.eye(4))
np.testing.assert_allclose(naive.state_vector, np.full((4, 1), 1.2))
print("done")
"""
    assert run("-c", code).strip() == "done"
