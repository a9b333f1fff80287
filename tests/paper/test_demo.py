"""The demo, small: its numbers are those that it promises, and a second call computes nothing again."""

import json

import jax.numpy as jnp
import pytest

from composite_flow.training.fit import TrainingConfig
from composite_flow_paper.demo import experiment as demo
from composite_flow_paper.demo import plot as demo_plot

SMALL = demo.DemoSettings(
    rows=2,
    columns=2,
    num_targets=1,
    num_episodes=128,
    training=TrainingConfig(width=48, depth=4, batch=128, steps=1500, learning_rate=3e-3, warmup=100),
    num_histories=16,
    num_samples=4,
    num_starts=256,
    num_drawn=8,
)
KEYS = {"psnr_composite", "psnr_individual", "exact_rate_composite", "exact_rate_individual"}
KEYS |= {"exact_rate_unseen_states", "accepted_share", "wrong_among_accepted", "denoiser_calls", "baselines", "demo"}


@pytest.mark.slow
def test_demo_reaches_the_true_state_and_keeps_its_results(tmp_path):
    told = []
    result = demo.run(SMALL, tmp_path, progress=told.append)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary) == KEYS
    assert summary["exact_rate_composite"] >= 0.99
    assert summary["accepted_share"] >= 0.9
    assert summary["exact_rate_composite"] > summary["exact_rate_individual"]
    for row in result["agents"]:
        # each of the four sensors sees two of the four areas: the state where a target is there, else two states
        assert row["states_allowed"] == (1 if row["sees_target_in_areas"] else 2)
        assert row["fixed_points"] == row["states_allowed"]
        assert sum(row["posterior"]) == pytest.approx(1.0, abs=1e-5)
        # basin mass is not the posterior; 256 starts alone scatter by 0.03, a short training by more
        assert row["total_variation"] < 0.25
    together = jnp.asarray(result["drawn"]["distances_together"])
    assert float(together[:, -1].max()) < demo.SAME_STATE
    assert all(path.stat().st_size > 10_000 for path in demo_plot.draw(result, tmp_path))
    told.clear()
    assert demo.run(SMALL, tmp_path, progress=told.append) == result
    assert not told


def test_masses_count_only_stable_points_beside_a_state():
    states = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    points = jnp.array([[1.0, 0.1], [0.9, 0.0], [0.0, 1.0], [0.5, 0.5]])
    masses = demo.state_masses(states, points, jnp.array([0.3, 0.1, 0.2, 0.4]), jnp.array([True, True, False, True]))
    assert masses.tolist() == pytest.approx([0.4, 0.0])
