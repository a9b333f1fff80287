"""The surrogate regression against least squares, and what its residuals do not bound."""

import jax
import numpy as np
import pytest
from scipy import stats

from composite_flow.analysis.neighbourhood import (
    epsilons_at_quantiles,
    jacobian_distances,
    neighbours,
    smallest_epsilon,
)
from composite_flow.analysis.surrogate import history_rank, surrogate, surrogates, surrogates_at_quantiles
from composite_flow.analysis.surrogate_bounds import (
    compare_bound,
    compare_capacity,
    compare_surrogate_bounds,
    rank_correlation,
)
from composite_flow.errors import InputError

HISTORY, STATE, PAIRS = 6, 3, 120


def make_pairs(seed=0):
    """Histories with a constant column and a one-hot block, so that Σ_τ is singular, as in real data."""
    rng = np.random.default_rng(seed)
    histories = rng.normal(size=(PAIRS, HISTORY))
    histories[:, 0] = 0.7
    histories[:, 1] = rng.random(PAIRS) < 0.3
    histories[:, 2] = 1.0 - histories[:, 1]
    states = histories[:, 3:] @ rng.normal(size=(3, STATE)) + 0.2 * rng.normal(size=(PAIRS, STATE)) + 5.0
    jacobians = 0.3 * rng.normal(size=(PAIRS, STATE, STATE))
    return histories.astype(np.float32), states.astype(np.float32), jacobians.astype(np.float32)


def least_squares(inputs, outputs):
    """Σ of squared residuals of the best linear map, by numpy."""
    weights = np.linalg.lstsq(inputs, outputs, rcond=1e-5)[0]
    return np.sum((outputs - inputs @ weights) ** 2)


def test_residuals_are_those_of_least_squares():
    histories, states, jacobians = make_pairs()
    epsilons = [2.0, 0.9, 1.1, 1.4]  # in no order
    found = surrogates(histories, states, jacobians, [3, 50], epsilons)
    for row, anchor in enumerate((3, 50)):
        differences = jacobians.astype(float) - jacobians[anchor]
        for k, epsilon in enumerate(epsilons):
            inside = np.sqrt(np.sum(differences**2, axis=(1, 2))) <= epsilon
            tau, s = histories[inside].astype(float), states[inside].astype(float)
            anchored = least_squares(histories[anchor] - tau, states[anchor] - s)
            centred = least_squares(np.column_stack([tau, np.ones(len(tau))]), s) / len(tau)
            assert found.num_neighbours[row, k] == inside.sum()
            assert found.anchored_residual[row, k] == pytest.approx(anchored, rel=1e-7, abs=1e-9)
            assert found.centred_residual[row, k] == pytest.approx(centred, rel=1e-7, abs=1e-9)
            assert found.rank_tau[row, k] == np.linalg.matrix_rank(np.cov(tau.T), tol=1e-9)
            assert found.num_independent_states[row, k] == np.linalg.matrix_rank(s)
    assert np.all(found.singular)
    np.testing.assert_allclose(found.root**2, found.centred_residual)


def test_a_sum_through_the_anchor_and_a_mean_with_an_intercept_are_two_things():
    """Eq. 15 is not |M| times Eq. 17: an anchor off the line pays for every neighbour."""
    tau = np.array([[-1.0], [0.0], [1.0], [0.0]])
    s = np.array([[-1.0], [0.0], [1.0], [3.0]])
    jacobians = np.zeros((4, 1, 1))
    found = surrogate(tau, s, jacobians, 3, 0.1)
    assert found.anchored_residual == pytest.approx(27.0)  # Δs = 4, 3, 2 at Δτ = 1, 0, −1: 29 − 2²/2
    assert found.anchored_root == pytest.approx(np.sqrt(27.0 / 4.0))  # four pairs, the anchor included
    assert found.centred_residual == pytest.approx(27.0 / 16.0)  # mean 3/4; Σ(s−m)² = 35/4, slope 1 takes 2, over 4
    assert found.valid


def test_one_anchor_is_a_cell_of_many():
    histories, states, jacobians = make_pairs()
    many = surrogates(histories, states, jacobians, np.array([7, 8]), np.array([[1.0, 1.3], [1.2, 1.5]]))
    one = surrogate(histories, states, jacobians, 8, 1.2)
    for alone, cell in zip(jax.tree.leaves(one), jax.tree.leaves(many), strict=True):
        assert alone == pytest.approx(cell[1, 0], rel=1e-12)


def test_distances_keep_their_digits_between_near_jacobians():
    """1e-4 apart with norms near 1e3: ‖a‖² + ‖b‖² − 2⟨a, b⟩ in float32 would be nothing but rounding."""
    rng = np.random.default_rng(1)
    jacobians = 30.0 * np.ones((50, 4, 4)) + 1e-4 * rng.normal(size=(50, 4, 4))
    expected = np.sqrt(np.sum((jacobians - jacobians[4]) ** 2, axis=(1, 2)))
    np.testing.assert_allclose(jacobian_distances(jacobians, jacobians[4]), expected, rtol=1e-6, atol=1e-10)


def test_epsilons_leave_enough_neighbours():
    histories, states, jacobians = make_pairs()
    rank_tau = history_rank(histories)
    assert rank_tau == 4  # six columns less the constant, less one of the one-hot
    distances = jacobian_distances(jacobians, jacobians[0])
    assert neighbours(distances, float(smallest_epsilon(distances, rank_tau))).sum() == 8
    counts = [neighbours(distances, e).sum() for e in epsilons_at_quantiles(distances, rank_tau, (0.0, 0.1, 1.0))]
    assert counts == [8, 12, PAIRS]
    found = surrogates_at_quantiles(histories, states, jacobians, np.arange(20), (0.0, 0.1, 1.0))
    assert np.all(found.num_neighbours == np.array([[8, 12, PAIRS]])) and np.all(found.valid)


def test_few_neighbours_are_fitted_exactly_and_flagged():
    histories, states, jacobians = make_pairs()
    distances = np.sort(jacobian_distances(jacobians, jacobians[5]))
    found = surrogates(histories, states, jacobians, [5], [0.0, distances[2]])
    assert found.num_neighbours.tolist() == [[1, 3]]
    assert np.all(found.centred_residual == 0.0) and np.all(found.anchored_residual == 0.0)
    assert not np.any(found.valid)


def test_equal_histories_leave_the_states_own_variance_and_are_flagged():
    histories, states, jacobians = make_pairs()
    found = surrogate(np.ones_like(histories), states, jacobians, 0, 100.0)
    assert found.centred_residual == pytest.approx(np.var(states.astype(float), axis=0).sum(), rel=1e-9)
    assert found.rank_tau == 0 and not found.valid


def test_a_jacobian_that_is_not_finite_is_nobodys_neighbour():
    histories, states, jacobians = make_pairs()
    jacobians[2, 0, 0] = np.nan
    found = surrogates_at_quantiles(histories, states, jacobians, [0, 2], (0.5, 1.0))
    assert found.num_neighbours.tolist() == [[60, PAIRS - 1], [1, 1]]
    assert found.valid.tolist() == [[True, True], [False, False]]
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("anchors, epsilons", [([PAIRS], [1.0]), ([], [1.0]), ([0], [-1.0]), ([0, 1, 2], [[1.0]] * 2)])
def test_bad_input_is_refused(anchors, epsilons):
    with pytest.raises(InputError):
        surrogates(*make_pairs(), np.asarray(anchors, int), np.asarray(epsilons))


@pytest.mark.parametrize("scale", [100.0, 1.0, 0.01])
def test_neither_residual_nor_root_bounds_each_sample(scale):
    """Theorem 6's counterexample: two ones among eighteen zeros, with histories that tell nothing.

    The best affine model is the constant 0.1; a denoiser whose fixed points are its predictions deviates by 0.9 at the
    ones, while R̂ = 0.09 and √R̂ = 0.3. In other units R̂ changes sides and √R̂ does not.
    """
    states = scale * np.concatenate([np.zeros(18), np.ones(2)])[:, None]
    histories = np.tile([[-1.0], [1.0]], (10, 1))
    found = surrogate(histories, states, np.zeros((20, 1, 1)), 19, 1.0)
    deviation = abs(states[19] - states.mean()).item()
    assert found.valid and found.centred_residual == pytest.approx(0.09 * scale**2)
    assert found.root == pytest.approx(0.3 * scale)
    assert deviation > found.root
    assert (deviation > found.centred_residual) == (scale <= 1.0)


def test_cover_counts_strictly_and_gives_ratios():
    worth = compare_bound(np.array([1.0, 2.0, 3.0, 0.0]), np.array([1.0, 1.0, 1.0, 0.0]))
    assert worth.share == 0.5 and worth.ratio_median == 2.0 and worth.count == 4
    assert worth.interval == pytest.approx((0.0676, 0.9324), abs=1e-4)
    assert compare_bound(np.zeros(0), np.zeros(0)).share is None


def test_bound_worth_leaves_invalid_anchors_out():
    histories, states, jacobians = make_pairs()
    found = surrogates(histories, states, jacobians, [0, 1, 2], [0.0, 10.0])
    norms = np.array([0.5, 1.0, 2.0]) * found.root[:, 1]
    few, all_pairs = compare_surrogate_bounds(found, norms)
    assert few.num_invalid == 3 and few.root.share is None and few.bound is None
    assert all_pairs.num_invalid == 0 and all_pairs.root.share == pytest.approx(1 / 3)
    assert all_pairs.root.ratio_median == pytest.approx(1.0)
    assert all_pairs.residual.share == np.mean(norms < found.centred_residual[:, 1])


def test_capacity_compares_the_two_groups():
    """r(M) = 3 here; anchors with rank below 3 were made to deviate more."""
    found = surrogates(*make_pairs(), np.arange(6), [10.0])
    (worth,) = compare_capacity(found, np.array([1, 2, 2, 3, 3, 4]), np.array([4.0, 5.0, 6.0, 1.0, 2.0, 4.0]))
    assert (worth.num_over, worth.num_under) == (3, 3)
    assert (worth.median_over, worth.median_under) == (2.0, 5.0)
    assert worth.under_deviates_more == pytest.approx(8.5 / 9)
    (empty,) = compare_capacity(found, np.full(6, 9), np.ones(6))
    assert empty.num_under == 0 and empty.median_under is None and empty.p_value is None


def test_rank_correlation_is_spearmans_with_ties(key):
    rng = np.random.default_rng(0)
    ranks = rng.integers(5, 12, 300)
    norms = np.round(rng.normal(size=300) - 0.1 * ranks, 1)
    found = rank_correlation(ranks, norms, key=key, num_resamples=400)
    assert found.value == pytest.approx(stats.spearmanr(ranks, norms)[0], abs=1e-12)
    assert found.interval is not None and found.value is not None
    # Its normal approximation has a standard error near 1/√n.
    assert found.interval[0] < found.value < found.interval[1]
    assert found.interval[1] - found.interval[0] == pytest.approx(2 * 1.96 / np.sqrt(300), rel=0.2)
    assert rank_correlation(np.ones(5), norms[:5], key=key).value is None


def test_correlations_are_as_sure_as_there_are_histories(key):
    """Each pair ten times, as one history's ten pairs: the interval is that of the pairs alone, not √10 narrower."""
    draws = np.random.default_rng(1)
    ranks = draws.normal(size=200)
    norms = 0.5 * ranks + draws.normal(size=200)
    alone = rank_correlation(ranks, norms, key=key)
    copies, history = (np.repeat(ranks, 10), np.repeat(norms, 10)), np.repeat(np.arange(200)[::-1], 10)
    grouped, ungrouped = (rank_correlation(*copies, key=key, groups=one) for one in (history, None))
    assert (grouped.count, grouped.num_groups, ungrouped.num_groups, alone.num_groups) == (2000, 200, 2000, 200)
    width = {name: one.interval[1] - one.interval[0] for name, one in (("alone", alone), ("grouped", grouped))}
    assert width["grouped"] == pytest.approx(width["alone"], rel=0.15)
    assert ungrouped.interval[1] - ungrouped.interval[0] == pytest.approx(width["alone"] / np.sqrt(10), rel=0.2)
