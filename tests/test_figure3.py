"""Figure 3: its points share their common setting, its trends are Kendall's, and one point's numbers fit together."""

from dataclasses import replace

import numpy as np
import pytest

from composite_flow.experiments.figure3 import PRESETS, Point, compute, kendall, points_of, trend
from composite_flow.training import TrainingConfig


def test_panels_share_one_point():
    for preset in PRESETS.values():
        panels = points_of(preset)
        common = Point(preset.widths[-1], 1.0, 1.0)
        assert all(points[-1] == common for points in panels.values())
        assert all(
            len(set(points)) == len(points) >= (2 if preset is PRESETS["smoke"] else 4) for points in panels.values()
        )


@pytest.mark.parametrize(("values", "expected"), [([[1.0, 1.1], [2.0, 2.1]], 1.0), ([[2.0, 2.1], [1.0, 1.1]], -1.0)])
def test_separated_settings_decide_the_claim(values, expected):
    """Where no run of one setting is among those of another, τ_b is as large as ties within the settings allow."""
    found = trend(np.array(values), expected=1)
    pairs, tied = 6, 2  # of four runs; both pairs within a setting are ties in the setting
    assert found["kendall"] == pytest.approx(expected * (pairs - tied) / np.sqrt((pairs - tied) * pairs))
    assert found["claim"] == ("holds" if expected > 0 else "does not hold")


def test_overlapping_settings_decide_nothing():
    assert trend(np.array([[1.0, 2.0, 3.0], [1.1, 2.1, 2.9]]), expected=1)["claim"] == "not decided"
    assert trend(np.array([[1.0], [2.0]]), expected=1)["claim"] == "not decided"  # one seed has no interval
    assert kendall(np.ones((3, 2))) == 0.0


def test_a_point_trains_on_its_share_and_measures_its_pairs():
    training = TrainingConfig(width=16, batch=64, steps=60, learning_rate=4e-3, warmup=10)
    settings = replace(PRESETS["smoke"], training=training, num_drawn=10)
    found = compute(settings, Point(width=16, states=0.5, samples=0.1), seed=0)
    # seven areas, one target: half of the seven states, rounded, are left
    assert found["states"] in (3, 4)
    assert found["samples"] % 6 == 0 and found["samples"] <= 7 * 16 * 6  # a tenth of 64 episodes of 16 steps, 6 agents
    assert found["stable"] <= found["pairs"]
    assert found["deviation"]["median"] <= found["deviation"]["q90"] <= found["deviation"]["max"]
    assert 1 <= found["effective_rank"]["mean"] <= found["rank"]["max"] + 7
    assert len(found["drawn"]["ranks"]) == min(10, found["pairs"])
