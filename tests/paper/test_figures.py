"""The smallest presets of the figures say what the figures claim; pictures are drawn from the kept results alone."""

from dataclasses import replace

import pytest

from composite_flow_paper.experiment import run
from composite_flow_paper.figure1.experiment import EXPERIMENT as FIGURE1
from composite_flow_paper.figure4 import report as figure4_report
from composite_flow_paper.figure4.cell import STEADY, reached_steadily
from composite_flow_paper.figure4.experiment import EXPERIMENT as FIGURE4


def quiet(message):
    """Progress that nobody reads."""


pytestmark = pytest.mark.usefixtures("permissive")


@pytest.mark.slow
def test_figure1(tmp_path):
    smoke = FIGURE1.presets["smoke"]
    training = replace(smoke.sensors.training, batch=128, steps=2000)  # enough for what is asked
    settings = replace(smoke, sensors=replace(smoke.sensors, training=training))
    summaries = run(FIGURE1, settings, tmp_path, progress=quiet).summary
    for summary in summaries.values():
        assert summary["num_histories"] == 12
        assert summary["fixed_points_are_consistent_states"] == 1.0
        assert summary["shared_fixed_points_are_possible_states"] == 1.0
        assert summary["composite_candidates_are_possible_states"] == 1.0
        assert summary["largest_distance_to_state"] <= settings.tolerance
        assert summary["largest_radius"] < 1.0
        # 1000 starts: the standard error of a mass is at most 0.016, of two up to 0.022
        assert summary["largest_distance_learned_to_ideal"] < 0.1
    assert summaries["observable"]["num_joint_histories"] == 4
    assert summaries["unobservable"]["num_joint_histories"] == 9
    assert all((tmp_path / f"figure1.{kind}").stat().st_size > 10_000 for kind in ("svg", "png"))


@pytest.mark.slow
def test_figure4(tmp_path):
    smoke = FIGURE4.presets["smoke"]
    # Enough for what is asked: few layers learn it in few steps at a high rate, with averages of as short a memory.
    brief = {"depth": 3, "learning_rate": 8e-3, "warmup": 100, "average": 0.99}
    ours = replace(smoke.ours, training=replace(smoke.ours.training, batch=128, steps=800, **brief))
    flows = replace(smoke.flows, batch=96, **brief)
    samples = replace(smoke.samples, width=32, steps=120, learning_rate=8e-3)
    paper = replace(smoke.paper, depth=3, batch=128, steps=300)
    settings = replace(smoke, ours=ours, flows=flows, samples=samples, paper=paper)
    result = run(FIGURE4, settings, tmp_path, progress=quiet)
    summary = result.summary
    assert summary["exact_rate"]["rate"] >= 0.95
    assert 0 < summary["exact_rate"]["lower_bound"] <= summary["exact_rate"]["rate"]
    assert summary["exact_rate_unseen_states"]["rate"] <= 1.0
    # Where nobody's histories contradict each other yet two may know too little: the ideal flows rest in states of 3×3.
    ideal, flows = summary["ideal"]["partial"]["2"], summary["flows"]["partial"]["2"]
    assert ideal["inside"]["rate"] >= 0.9 and flows["inside"]["rate"] > summary["partial"]["2"]["inside"]["rate"]
    stirred = summary["ideal"]["stirred"]
    assert list(stirred) == ["2", "5", "9"] and all(one["inside"]["rate"] == 1.0 for one in stirred.values())
    assert summary["flows"]["stirred"]["5"]["inside"]["rate"] >= summary["flows"]["partial"]["5"]["inside"]["rate"]
    assert len(result.cells["ours"]) == len(result.cells["paper"]) == 1
    assert_fusion_finds_states(summary)
    assert_samples_are_judged(summary["fusion_samples"])
    told = []
    assert run(FIGURE4, settings, tmp_path, progress=told.append).cells == result.cells and not told
    assert all((tmp_path / f"{name}.png").stat().st_size > 10_000 for name in PICTURES)


PICTURES = ("figure4", "figure4_training", "figure4_samples")


def assert_fusion_finds_states(summary):
    """By one answer an agent; also most of those that were withheld."""
    assert summary["fusion"]["exact_rate"]["rate"] == summary["fusion"]["states"]["rate"] == 1.0
    assert summary["fusion"]["withheld_states"] is None and summary["fusion"]["calls"] == 9
    withheld = summary["fusion_withheld"]
    assert withheld["num_withheld_states"] == [7] and withheld["withheld_states"]["rate"] >= 4 / 7
    assert withheld["exact_rate"]["rate"] >= 0.95 and 0 < withheld["exact_rate_unseen"]["rate"] <= 1
    titles = [title for title, _, _ in figure4_report.tables(summary)]
    assert any("joint samples" in title for title in titles) and any("CPU seconds" in title for title in titles)


def assert_samples_are_judged(samples):
    """By both samplers: exact ones scatter less the more agents there are, and what lies outside is off."""
    for sampler, calls in (("conditional", 30), ("blind", 20)):
        few, many = samples[sampler].values()
        assert few["calls"] == many["calls"] == calls and many["floor"] < few["floor"]
        for one in (few, many):
            assert one["inside"] > 0.2 and one["total_variation"] >= 1 - one["inside"] - 1e-9
            assert one["above_floor"] == pytest.approx(one["total_variation"] - one["floor"])


def test_a_flow_that_reaches_the_rate_is_timed_at_its_first_point():
    curve = [
        {"seconds": 1.0},
        {"seconds": 2.0, "exact_rate_composite": 0.5},
        {"seconds": 3.0, "exact_rate_composite": 0.99},
        {"seconds": 4.0, "exact_rate_composite": 1.0},
    ]
    assert figure4_report.seconds_to_rate(curve) == 3.0
    assert figure4_report.seconds_to_rate(curve[:2]) is None
    assert figure4_report.best_rate(curve) == 1.0


def test_a_recipe_reaches_the_rate_where_five_evaluations_in_a_row_do():
    """After four good ones and a bad one, five good ones: the first of them counts, and training ends at the last."""
    rates = [0.5, *[0.99] * 4, 0.98, *[1.0] * 5, 0.9]
    curve = [{"step": k, "seconds": float(k), "exact_rate_composite": rate} for k, rate in enumerate(rates)]
    curve = [point for one in curve for point in (one, {"step": one["step"], "seconds": one["seconds"] + 0.5})]
    assert figure4_report.seconds_to_rate(curve) == 1.0
    assert figure4_report.seconds_to_rate(curve, STEADY) == 6.0
    assert figure4_report.seconds_to_rate(curve[:20], STEADY) is None
    reached = reached_steadily()
    assert [point["step"] for point in curve if reached(point)][0] == 10


def test_of_the_times_it_is_told_how_much_is_the_cost_of_a_step():
    """Steps that cost four times as much, and twelve times as long until the rate: three times as many steps."""
    ours = [{"step": k, "seconds": 1.0 * k, "exact_rate_composite": 1.0 * (k > 1)} for k in range(1, 9)]
    theirs = [{"step": k, "seconds": 4.0 * k, "exact_rate_composite": 1.0 * (k > 5)} for k in range(1, 7)]
    cells = {name: [{"curves": curve, "train_seconds": 0.0}] for name, curve in (("ours", ours), ("paper", theirs))}
    found = figure4_report.times_beside_ours(cells)
    assert (found["paper_in_a_row"], found["speed_ratio"], found["step_cost_ratio"]) == (1, 12.0, 4.0)
    steady = figure4_report.times_beside_ours({**cells, "paper_steady": cells["paper"]})
    assert steady["paper_in_a_row"] == STEADY and steady["paper_seconds_to_rate"] == [None]
    assert steady["speed_ratio_is_lower_bound"]
