"""Definitions by closed forms; bounds by their coverage equations."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from composite_flow.errors import InputError
from composite_flow.metrics import (
    clopper_pearson,
    clopper_pearson_lower_bound,
    decibels,
    exact_states,
    psnr,
    rate_lower_bound,
    seed_lower_bound,
    student_half_width,
    total_variation,
)


def test_psnr_averages_squared_errors_before_the_logarithm():
    states = jnp.zeros((2, 2))
    estimates = jnp.array([[0.1, 0.1], [0.3, 0.3]])
    assert float(psnr(estimates, states)) == pytest.approx(-10 * math.log10((0.01 + 0.09) / 2), rel=1e-5)


def test_psnr_of_a_perfect_estimate_is_finite_and_broadcasts_over_samples():
    states = jnp.ones((3, 1, 2))
    assert 138.0 < float(psnr(jnp.ones((3, 5, 2)), states)) < 139.0


def test_decibels_of_squared_errors_are_their_psnr():
    np.testing.assert_allclose(decibels(np.array([1.0, 0.1, 1e-3])), [0.0, 10.0, 30.0], atol=1e-12)
    assert float(decibels(0.0)) == pytest.approx(float(psnr(jnp.ones(3), jnp.ones(3))))


def test_exact_states_thresholds_every_feature():
    estimates = jnp.array([[0.9, 0.2], [0.4, 0.2], [0.9, 0.6]])
    assert exact_states(estimates, jnp.array([[1.0, 0.0]])).tolist() == [True, False, False]


def test_total_variation_of_disjoint_and_shifted_distributions():
    p = jnp.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    q = jnp.array([[0.0, 0.5, 0.5], [0.25, 0.75, 0.0]])
    assert jnp.allclose(total_variation(p, q), jnp.array([1.0, 0.25]))


@pytest.mark.parametrize(("successes", "trials"), [(7, 10), (199, 200), (10, 10)])
def test_clopper_pearson_bound_is_where_so_many_successes_have_five_percent(successes, trials):
    bound = clopper_pearson_lower_bound(successes, trials)
    assert stats.binom.sf(successes - 1, trials, bound) == pytest.approx(0.05, abs=1e-9)


def test_clopper_pearson_interval_solves_both_tails_and_reaches_the_ends():
    low, high = clopper_pearson(3, 20)
    assert stats.binom.sf(2, 20, low) == pytest.approx(0.025, abs=1e-9)
    assert stats.binom.cdf(3, 20, high) == pytest.approx(0.025, abs=1e-9)
    assert clopper_pearson(0, 5)[0] == 0.0 and clopper_pearson(5, 5)[1] == 1.0
    assert clopper_pearson_lower_bound(0, 5) == 0.0


def test_trials_in_groups_count_as_groups():
    """1,200 joint histories of eight samples each, all right, bound the rate as 1,200 trials do; so do half of them."""
    assert clopper_pearson_lower_bound(9600, 9600, groups=1200) == pytest.approx(0.05 ** (1 / 1200), abs=1e-9)
    assert rate_lower_bound([3200] * 3, [3200] * 3, groups=[400] * 3) == pytest.approx(0.05 ** (1 / 1200), abs=1e-9)
    assert clopper_pearson(40, 80, groups=10) == pytest.approx(clopper_pearson(5, 10))
    assert clopper_pearson(0, 80, groups=10)[1] == pytest.approx(1 - 0.025 ** (1 / 10))
    for groups in (0, 81):
        with pytest.raises(InputError, match="groups"):
            clopper_pearson(40, 80, groups=groups)


def test_grouped_bounds_hold_where_samples_of_a_history_agree():
    """400 draws of 60 joint histories whose eight samples are all right or all wrong: the bound is above 0.8 in 5%."""
    draws = np.random.default_rng(0).binomial(60, 0.8, 400)
    above = [clopper_pearson_lower_bound(8 * int(right), 480, groups=60) > 0.8 for right in draws]
    as_if_independent = [clopper_pearson_lower_bound(8 * int(right), 480) > 0.8 for right in draws]
    assert np.mean(above) < 0.08 and np.mean(as_if_independent) > 0.2


def test_seed_bound_is_the_textbook_t_bound_and_stays_in_the_unit_interval():
    assert seed_lower_bound([0.9, 0.95, 1.0]) == pytest.approx(0.95 - 2.919986 * 0.05 / math.sqrt(3), abs=1e-6)
    assert seed_lower_bound([0.0, 1.0]) == 0.0


def test_rate_bound_is_the_smaller_one_and_does_not_trust_agreement_between_seeds():
    assert rate_lower_bound([200] * 3, [200] * 3) == pytest.approx(0.05 ** (1 / 600))
    scattered = rate_lower_bound([100, 200, 200], [200] * 3)
    assert scattered == seed_lower_bound([0.5, 1.0, 1.0]) < clopper_pearson_lower_bound(500, 600)
    assert rate_lower_bound([5], [5]) == pytest.approx(0.05 ** (1 / 5))


@pytest.mark.parametrize(("successes", "trials"), [([], []), ([2], [1]), ([0], [0]), ([1, 1], [2])])
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(InputError):
        rate_lower_bound(successes, trials)


def test_one_seed_has_no_scatter():
    with pytest.raises(InputError):
        seed_lower_bound([1.0])


def test_half_of_students_interval():
    """Of five values with standard deviation 1: t_{4, 0.975} = 2.776445 over √5; at 90% t_{4, 0.95} = 2.131847."""
    values = [-1.0, -1.0, 0.0, 1.0, 1.0]
    for confidence, quantile in ((0.95, 2.776445), (0.9, 2.131847)):
        assert student_half_width(values, confidence) == pytest.approx(quantile / np.sqrt(5), abs=1e-6)
    with pytest.raises(InputError, match="at least two values"):
        student_half_width([1.0])
