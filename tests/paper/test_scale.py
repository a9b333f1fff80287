"""The smallest preset of the scale experiment: its rates, its checks, what a call costs."""

import json

import pytest

from composite_flow.files.plain_json import jsonable
from composite_flow.metrics import rate_lower_bound
from composite_flow_paper.scale import experiment as scale
from composite_flow_paper.scale import plot as scale_plot

pytestmark = pytest.mark.usefixtures("permissive")


@pytest.mark.slow
def test_nine_sensors_are_trained_checked_and_measured(tmp_path):
    settings = scale.PRESETS["smoke"]
    options = {"seed": 0, "overwrite": False, "progress": lambda message: None}
    result = json.loads(json.dumps(jsonable(scale.run(settings, tmp_path, **options))))
    summary = result["summary"]
    assert summary["exact_rate"] >= 0.9 and summary["stirred"]["exact_rate"] >= 0.9  # one target, 12 areas
    assert summary["exact_rate_lower_bound"] < summary["exact_rate"]
    assert [check["accepted"] for check in summary["checks"]] == [True]
    assert [one["agents"] for one in summary["costs"]] == [9, 25] and summary["growth_of_inputs"] > 1
    assert json.loads(json.dumps(jsonable(scale.run(settings, tmp_path, **options)))) == result
    assert all(path.stat().st_size > 10_000 for path in scale_plot.draw(result, tmp_path))


def test_rates_are_summed_over_the_seeds():
    trained = [{"histories": 200}, {"histories": 100}]
    qualities = [
        {"exact_rate_composite": 0.5, "psnr_composite": 20.0},
        {"exact_rate_composite": 0.8, "psnr_composite": 30.0},
    ]
    summed = scale.summed_rate(qualities, trained)
    assert summed == {
        "exact_rate": 0.6,
        "exact_rate_lower_bound": rate_lower_bound([100, 80], [200, 100]),
        "psnr_composite": 25.0,
    }
