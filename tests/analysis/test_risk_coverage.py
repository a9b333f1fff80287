"""Errors of the surest estimates: closed forms of orders that know all, nothing, or the wrong."""

import numpy as np
import pytest

from composite_flow.analysis.risk_coverage import risk_coverage
from composite_flow.errors import InputError

ERRORS = np.arange(1.0, 101.0)


def test_the_surest_estimates_err_least_where_uncertainty_is_the_error():
    found = risk_coverage(ERRORS, ERRORS)
    # the mean of 1..m is (m + 1) / 2
    assert found.risk == {"100%": 50.5, "95%": 48.0, "90%": 45.5, "75%": 38.0, "50%": 25.5, "25%": 13.0}
    assert found.area == found.area_best == pytest.approx(np.mean((np.arange(1, 101) + 1) / 2))
    assert found.area_random == 50.5 and found.accepted is None


def test_who_is_sure_where_the_error_is_large_is_worse_than_chance():
    found = risk_coverage(ERRORS, -ERRORS)
    assert found.area > found.area_random > found.area_best
    assert found.risk["25%"] == 88.0
    order = np.random.default_rng(0).permutation(100)
    shuffled = risk_coverage(ERRORS[order], ERRORS[order])
    assert shuffled.area == pytest.approx(shuffled.area_best)


def test_verdicts_divide_the_errors():
    found = risk_coverage(ERRORS, ERRORS, ERRORS <= 80)
    assert (found.accepted, found.error_accepted, found.error_refused) == (0.8, 40.5, 90.5)
    everything = risk_coverage(ERRORS, ERRORS, np.ones(100, bool))
    assert (everything.accepted, everything.error_refused) == (1.0, None)
    with pytest.raises(InputError, match="give one at least"):
        risk_coverage(np.zeros(0), np.zeros(0))
