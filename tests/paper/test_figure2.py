"""Figure 2: means over seeds are those of its cells."""

import pytest

from composite_flow_paper.figure2.report import over_seeds, pair_rows, summarise_seeds


def cell(correlation, share, radius):
    bound = {"share": share, "ratio_median": 2.0}
    return {
        "exact_rate_composite": 1.0,
        "pairs": {"pairs": 10, "stable": 9, "deviation": {"median": 0.1, "max": 1.0}},
        "ranks": {
            "all_columns": {
                "largest_possible": 3,
                "measures": {"0.001": {"correlation": {"value": correlation}}},
                "median_spectrum": [1.0],
            }
        },
        "surrogate": {"epsilons": [{"quantile": 0.1, "epsilon": 0.5, "residual": bound, "root": bound}]},
        "shifts": {"relative_error": {"median": 0.3}},
        "conformal": {
            "deviation": {"episodes": 9, "levels": {"0.9": {"radius": radius, "coverage": 0.9, "p_value": 0.5}}}
        },
        "unseen_states": None,
        "stage_seconds": {"fixed points": 1.0, "shifts": 0.5},
        "train_seconds": 2.0,
    }


def test_summary_averages_the_seeds():
    found = summarise_seeds([cell(-0.2, 0.8, 1.0), cell(0.4, 1.0, None)])
    expected = {"0.001": pytest.approx({"mean": 0.1, "low": -0.2, "high": 0.4})}
    assert found["rank_correlation"] == {"all_columns": expected}
    assert found["bounds"][0]["root_share"] == pytest.approx({"mean": 0.9, "low": 0.8, "high": 1.0})
    assert found["conformal"]["deviation"]["0.9"]["radius"] is None  # infinite in one seed
    assert found["stable"] == [9, 9]
    rows = dict(pair_rows(found))
    assert rows["stable"] == "0.9" and rows["deviation, largest"] == "1"
    assert rows["correlation of deviation and rank at 0.001, all columns"] == "0.1 (-0.2 to 0.4)"
    assert rows["conformal radius, deviation, 90%"] is None
    assert rows["conformal radius, deviation, 90%: share of other episodes covered"] == "0.9"


def test_a_missing_seed_gives_no_mean():
    assert over_seeds([1.0, None]) is None
    assert over_seeds([1.0, 3.0]) == {"mean": 2.0, "low": 1.0, "high": 3.0}
