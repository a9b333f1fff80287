"""The demo, small: its numbers are those that it promises, and a second call computes nothing again."""

import json

import jax.numpy as jnp
import pytest

from composite_flow_paper.demo import cell as demo
from composite_flow_paper.demo.experiment import EXPERIMENT
from composite_flow_paper.experiment import run

SMALL = EXPERIMENT.presets["smoke"]
KEYS = {"psnr_composite", "psnr_individual", "exact_rate_composite", "exact_rate_individual"}
KEYS |= {
    "exact_rate_unseen_states",
    "accepted_share",
    "wrong_among_accepted",
    "right_means",
    "right_by_guessing",
    "denoiser_calls",
    "baselines",
    "demo",
    "fusion",
}


@pytest.mark.slow
def test_demo_reaches_the_true_state_and_keeps_its_results(tmp_path):
    told = []
    ran = run(EXPERIMENT, SMALL, tmp_path, progress=told.append)
    (result,) = ran.cells["demo"].values()
    assert told[0] == "collecting episodes" and "reconstructing held-out episodes" in told
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary) == KEYS and summary == ran.summary
    assert summary["exact_rate_composite"] >= 0.99
    assert summary["fusion"]["exact_rate"] >= 0.99 and summary["fusion"]["messages"] == 4
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
    assert all((tmp_path / f"reconstruction.{kind}").stat().st_size > 10_000 for kind in ("svg", "png"))
    told.clear()
    assert run(EXPERIMENT, SMALL, tmp_path, progress=told.append).cells == ran.cells
    assert not told


def test_masses_count_only_stable_points_beside_a_state():
    states = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    points = jnp.array([[1.0, 0.1], [0.9, 0.0], [0.0, 1.0], [0.5, 0.5]])
    masses = demo.state_masses(states, points, jnp.array([0.3, 0.1, 0.2, 0.4]), jnp.array([True, True, False, True]))
    assert masses.tolist() == pytest.approx([0.4, 0.0])
