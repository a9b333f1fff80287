"""The smallest preset of the scale experiment: its rates, its checks, what a call costs."""

from dataclasses import replace

import pytest

from composite_flow.metrics import rate_lower_bound
from composite_flow_paper.experiment import run
from composite_flow_paper.scale.experiment import EXPERIMENT
from composite_flow_paper.scale.report import summed_rate

pytestmark = pytest.mark.usefixtures("permissive")


@pytest.mark.slow
def test_nine_sensors_are_trained_checked_and_measured(tmp_path):
    smoke, told = EXPERIMENT.presets["smoke"], []
    training = replace(smoke.sensors.training, batch=128, steps=1000)  # enough for what is asked
    settings = replace(smoke, sensors=replace(smoke.sensors, training=training))
    summary = run(EXPERIMENT, settings, tmp_path, progress=told.append).summary
    assert "cost-3, cost of 3 × 3 sensors" in told
    assert summary["exact_rate"] >= 0.9 and summary["stirred"]["exact_rate"] >= 0.9  # one target, 12 areas
    assert summary["exact_rate_lower_bound"] < summary["exact_rate"]
    assert [check["accepted"] for check in summary["checks"]] == [True]
    assert [one["agents"] for one in summary["costs"]] == [9, 25] and summary["growth_of_inputs"] > 1
    assert_fusion_is_judged(summary)
    told.clear()
    assert run(EXPERIMENT, settings, tmp_path, progress=told.append).summary == summary and not told
    assert all((tmp_path / f"scale.{kind}").stat().st_size > 10_000 for kind in ("svg", "png"))


def assert_fusion_is_judged(summary):
    """Against the truth and the exact marginals, without misses and with them; its messages and costs beside."""
    seen, missed = summary["fusion"].values()
    assert seen["all"]["exact"]["rate"] >= 0.95 and seen["all"]["marginals_exact"]["rate"] == 1.0
    assert seen["all"]["own_error"] == 0.0 and seen["all"]["share"] is None
    assert seen["half"]["same_decision"]["rate"] >= seen["half"]["exact"]["rate"]
    assert missed["all"]["own_error"] > 0.0 and missed["all"]["share"] > 0.0 and missed["messages"] is None
    assert seen["messages"]["whole"]["bytes"] == 4 * 16 * seen["values_sent"] == 4 * 16 * 24
    assert seen["messages"]["cheapest"]["bytes"] < seen["messages"]["whole"]["bytes"] / 10
    assert [one["agents"] for one in summary["fusion_costs"]] == [16]
    told = " ".join(title for title, _, _ in EXPERIMENT.tables(summary))
    assert all(f"Scale: {name}" in told for name in ("fusion", "messages", "costs of fusion"))


def test_rates_are_summed_over_the_seeds():
    trained = [{"histories": 200}, {"histories": 100}]
    qualities = [
        {"exact_rate_composite": 0.5, "psnr_composite": 20.0},
        {"exact_rate_composite": 0.8, "psnr_composite": 30.0},
    ]
    summed = summed_rate(qualities, trained)
    assert summed == {
        "exact_rate": 0.6,
        "exact_rate_lower_bound": rate_lower_bound([100, 80], [200, 100]),
        "psnr_composite": 25.0,
    }
