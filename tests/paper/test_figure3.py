"""Figure 3's trends against closed forms, its smallest preset's numbers, and what is computed again."""

import numpy as np
import pytest
from scipy import stats

from composite_flow_paper.experiment import run
from composite_flow_paper.figure3.cell import PANELS, points_of
from composite_flow_paper.figure3.experiment import EXPERIMENT
from composite_flow_paper.figure3.report import panels_of, spearman, trend

SETTINGS = EXPERIMENT.presets["smoke"]


def quiet(message):
    """Progress that nobody reads."""


pytestmark = pytest.mark.usefixtures("permissive")


def test_correlation_is_spearmans():
    values = np.random.default_rng(0).integers(0, 5, (6, 4, 3)).astype(float)  # many ties
    values[:, 0, :] += np.arange(3) / 7  # no column is constant, where NumPy warns
    # a rank correlation is Pearson's of the ranks
    ranks = stats.rankdata(values, axis=1)
    expected = [np.mean([np.corrcoef(np.arange(4), column)[0, 1] for column in one.T]) for one in ranks]
    np.testing.assert_allclose(spearman(values), expected, atol=1e-12)
    assert spearman(np.ones((4, 3))) == 0


def test_a_clear_trend_is_decided_and_its_sign_is_compared():
    values = np.arange(4.0)[:, None] + np.array([0.0, 0.1, 0.2])
    rising = trend(values, expected=1)
    assert rising["claim"] == "holds" and trend(values, expected=-1)["claim"] == "does not hold"
    assert rising["spearman"] == pytest.approx(1.0) and rising["interval"] == pytest.approx((1.0, 1.0))
    # 2 of the (4!)^3 ways to exchange settings within seeds are as extreme: at most two of 2,000 draws, and this one
    assert rising["p_value"] < 2e-3
    assert trend(np.ones((4, 3)), expected=1) == {
        "spearman": 0.0,
        "interval": (0.0, 0.0),
        "p_value": 1.0,
        "claim": "not decided",
    }


def test_overlapping_settings_or_one_seed_decide_nothing():
    overlapping = np.array([[1.0, 2.0, 3.0], [1.1, 2.1, 2.9]])
    assert trend(overlapping, expected=1)["claim"] == "not decided"
    assert trend(np.arange(4.0)[:, None], expected=1)["claim"] == "not decided"


def test_no_trend_is_rarely_decided():
    """At the level 0.05, at most 13 of 100 by chance, but once in a thousand times."""
    noise = np.random.default_rng(1).normal(size=(100, 4, 3))
    assert sum(trend(values, expected=1)["claim"] != "not decided" for values in noise) <= 13


def test_panels_share_one_setting():
    for settings in EXPERIMENT.presets.values():
        panels = points_of(settings)
        points = [point for panel in panels.values() for point in panel]
        assert len(set(points)) == len(points) - 2
        for panel, listed in panels.items():
            values = [getattr(point, panel) for point in listed]
            assert values == sorted(values)
            assert settings is SETTINGS or len(values) >= 4


@pytest.mark.slow
def test_figure3(tmp_path):
    result = run(EXPERIMENT, SETTINGS, tmp_path, progress=quiet)
    summary = result.summary
    # 2×3 sensors have 7 areas, so as many states; a history is one observation of up to 4 areas, mask, identity
    assert summary["largest_possible_rank"] == 7
    assert summary["states"]["settings"] == [3, 7]
    assert [row[0]["pairs"] for row in panels_of(SETTINGS, result.cells)["states"]] == [3 * 6, 7 * 6]
    assert summary["width"]["settings"] == [12, 48]
    few, many = summary["samples"]["settings"]
    assert 10 * few < many
    for panel in PANELS:
        assert min(summary[panel]["stable_share"]) > 0.9
        assert all(0 < row[0] <= 7 for row in summary[panel]["rank_mean"])
        assert all(0 < row[0] <= 7 for row in summary[panel]["effective_rank_mean"])
    (narrow,), (wide,) = summary["width"]["deviation_mean"]
    assert wide < 0.5 * narrow
    (narrow,), (wide,) = summary["width"]["rank_mean"]
    assert wide > narrow
    (few,), (many,) = summary["samples"]["deviation_mean"]
    assert many < few
    assert len(list(tmp_path.glob("width*.json"))) == 4

    told = []
    again = run(EXPERIMENT, SETTINGS, tmp_path, progress=told.append)
    assert not told and again.summary == summary
    assert all((tmp_path / f"figure3.{kind}").stat().st_size > 10_000 for kind in ("svg", "png"))
