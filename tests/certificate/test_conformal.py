"""Conformal radii: the exact rule, its exact coverage, and what the checks make of either kind."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from teams import Linear

import composite_flow as cf
from composite_flow.certificate.calibration import (
    deviation_radius,
    deviation_scores,
    estimate_radius,
    estimate_scores,
    split_for_calibration,
)
from composite_flow.certificate.checks import certify
from composite_flow.certificate.conformal import (
    calibration_episodes_needed,
    conformal_radius,
    coverage_of_new,
    episode_scores,
)
from composite_flow.certificate.radius import ConformalRadius, check_radius, usable_radius
from composite_flow.composite.reconstruct import reconstruct
from composite_flow.denoiser import NoDenoiser
from composite_flow.errors import InputError

POINTS = jnp.array([[0.0, 0.1], [0.3, 0.4]])
TEAM = Linear(POINTS, jnp.broadcast_to(0.5 * jnp.eye(2)[None], (2, 2, 2)))


def test_an_episodes_score_is_its_largest():
    scores = episode_scores(np.array([1.0, 5.0, 2.0, 3.0, -np.inf]), np.array([7, 2, 7, 2, 9]))
    assert scores.tolist() == [5.0, 2.0, -np.inf]
    with pytest.raises(InputError, match="NaN"):
        episode_scores(np.array([np.nan]), np.array([0]))


@pytest.mark.parametrize("num, alpha, expected", [(99, 0.01, 99), (98, 0.01, math.inf), (199, 0.01, 198), (9, 0.1, 9)])
def test_the_rule_picks_the_stated_score(num, alpha, expected):
    scores = np.random.default_rng(0).permutation(np.arange(1.0, num + 1))
    assert conformal_radius(scores, alpha) == expected
    assert conformal_radius(scores, 1 - (1 - alpha)) == expected  # whatever floats make of α
    assert (calibration_episodes_needed(alpha) <= num) == math.isfinite(expected)


def test_the_same_rule_for_every_size():
    """P(new ≤ radius) = k/(n+1) lies in [1 − α, 1 − α + 1/(n+1)), and one place lower would be too low."""
    for num in range(9, 60):
        place = conformal_radius(np.arange(1.0, num + 1), 0.1)
        assert 0.9 - 1e-12 <= place / (num + 1) < 0.9 + 1 / (num + 1) - 1e-12


def test_coverage_follows_the_exact_law():
    """Over fresh draws of 40 calibration and 60 new episodes: the mean is k/(n+1), the counts are beta-binomial."""
    rng, draws, num, new = np.random.default_rng(1), 4000, 40, 60
    scores = np.exp(rng.normal(size=(draws, num + new)))
    radii = np.array([conformal_radius(row[:num], 0.1) for row in scores])
    counts = np.sum(scores[:, num:] <= radii[:, None], axis=1)
    law = stats.betabinom(new, 37, 4)
    assert counts.mean() == pytest.approx(law.mean(), abs=4 * law.std() / math.sqrt(draws))
    assert counts.mean() / new == pytest.approx(37 / 41, abs=4 * law.std() / new / math.sqrt(draws))
    assert np.mean(counts <= 50) == pytest.approx(law.cdf(50), abs=4 * 0.5 / math.sqrt(draws))


def test_the_coverage_test_is_exact_for_one_split_and_finds_a_changed_source():
    rng = np.random.default_rng(2)
    calibration, same, other = rng.normal(size=99), rng.normal(size=200), 1.0 + rng.normal(size=200)
    found = coverage_of_new(calibration, same, 0.1)
    assert found.p_value == pytest.approx(stats.betabinom(200, 90, 10).cdf(round(found.share * 200)), rel=1e-9)
    assert found.radius == conformal_radius(calibration, 0.1)
    assert found.p_value > 0.05 and coverage_of_new(calibration, other, 0.1).p_value < 1e-4
    assert coverage_of_new(calibration[:5], other, 0.1).p_value == 1.0  # an infinite radius covers all


def test_p_values_are_right(key):
    """Of 300 draws of one source, small p-values are no more frequent than they say; all covered has p-value 1."""
    pools = np.random.default_rng(3).normal(size=(300, 60))
    values = [coverage_of_new(pool[:30], pool[30:], 0.1).p_value for pool in pools]
    assert np.mean(np.array(values) <= 0.2) < 0.2 + 3 * 0.4 / math.sqrt(300)
    tied = coverage_of_new(np.ones(30), np.ones(30), 0.1)
    assert tied.share == 1.0 and tied.p_value == pytest.approx(1.0)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, math.nan])
def test_levels_out_of_range_are_refused(alpha):
    with pytest.raises(InputError, match="alpha"):
        conformal_radius(np.ones(5), alpha)


@pytest.mark.parametrize("new", [np.ones(0), np.array([1.0, np.nan])])
def test_coverage_needs_new_episodes_with_scores(new):
    with pytest.raises(InputError, match="new episode"):
        coverage_of_new(np.ones(9), new, 0.1)


# --- radii of denoisers


@pytest.fixture(scope="module")
def dataset():
    """24 episodes of one to three steps; two agents, whose history of one step ends in their identity."""
    rng = np.random.default_rng(4)
    lengths = rng.integers(1, 4, 24)
    steps = int(lengths.sum())
    episodes = cf.Episodes.from_arrays(
        observations=rng.random((steps, 2, 1)),
        actions=np.zeros((steps, 2), int),
        states=rng.random((steps, 2)),
        ends=np.isin(np.arange(1, steps + 1), np.cumsum(lengths)),
    )
    return cf.HistoryDataset(episodes, length=1)


class Known(Linear):
    """`Linear` for whole histories, whose last columns are the agent's identity."""

    def condition(self, history):
        return super().condition(history[-self.points.shape[0] :])


KNOWN = Known(POINTS, TEAM.jacobians)


def test_deviation_scores_are_the_largest_of_each_episode(dataset):
    scores = deviation_scores(KNOWN, dataset, batch_size=10)  # several batches, the last one padded
    states = np.asarray(dataset.joint(dataset.steps).states)
    norms = np.linalg.norm(states[:, None] - np.asarray(POINTS)[None], axis=-1).max(axis=1)
    expected = episode_scores(norms, np.asarray(dataset.windows.episode_of_step))
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    radius = deviation_radius(KNOWN, dataset, 0.1, batch_size=10)
    assert (radius.kind, radius.num_episodes, radius.checked_with) == ("deviation", 24, None)
    assert radius.level == pytest.approx(0.9) and radius.value == np.sort(scores)[22]  # ⌈25 · 0.9⌉ = 23rd


def test_a_flow_that_diverges_scores_infinity(dataset):
    """f(y) = p + 10⁹ (y − p) leaves the floats from every state but p, and there is no finite radius."""
    diverging = Known(POINTS, jnp.broadcast_to(1e9 * jnp.eye(2)[None], (2, 2, 2)))
    assert np.all(deviation_scores(diverging, dataset) == np.inf)
    assert deviation_radius(diverging, dataset, 0.1).value == np.inf


def test_estimate_radius_counts_episodes_with_accepted_samples(dataset, key):
    """Where both agents have one fixed point all samples end there, so each step's error is known."""
    settings = {"key": key, "num_samples": 2, "num_sweeps": 10, "batch_size": 16}
    agreeing = Known(jnp.broadcast_to(POINTS[:1], (2, 2)), TEAM.jacobians)
    scores = estimate_scores(agreeing, dataset, radius=0.1, **settings)
    errors = np.linalg.norm(np.asarray(dataset.joint(dataset.steps).states) - np.asarray(POINTS[:1]), axis=-1)
    np.testing.assert_allclose(scores, episode_scores(errors, np.asarray(dataset.windows.episode_of_step)), atol=1e-4)
    found = estimate_radius(agreeing, dataset, 0.1, radius=0.1, **settings)
    assert found.value == np.sort(scores)[22] and (found.num_episodes, found.checked_with) == (24, 0.1)
    none = estimate_radius(KNOWN, dataset, 0.1, radius=0.01, steps_per_episode=1, **settings)
    assert none.num_episodes == 0 and math.isinf(none.value)
    usual = estimate_scores(agreeing, dataset, radius=0.1, key=key)  # four samples, six sweeps
    same, longer = (
        estimate_scores(agreeing, dataset, radius=0.1, key=key, num_samples=4, num_sweeps=sweeps) for sweeps in (6, 7)
    )
    assert np.array_equal(usual, same) and not np.array_equal(usual, longer)


def test_halves_share_no_episode(dataset, key):
    calibration, evaluation = split_for_calibration(dataset, key=key, fraction=0.75)
    assert len(calibration.episode_ids) == 18 and len(evaluation.episode_ids) == 6
    assert set(calibration.episode_ids) | set(evaluation.episode_ids) == set(range(24))
    with pytest.raises(InputError):
        split_for_calibration(dataset, key=key, fraction=0.001)


def test_certify_takes_either_kind(key):
    estimate = reconstruct(TEAM, jnp.eye(2), key=key, num_samples=2)
    deviation = ConformalRadius("deviation", 0.9, 0.2, 50)
    assert certify(TEAM, jnp.eye(2), estimate, radius=deviation).radius == jnp.float32(0.2)
    error = ConformalRadius("estimate", 0.9, 0.5, 50, checked_with=0.3)
    assert certify(TEAM, jnp.eye(2), estimate, radius=error).radius == jnp.float32(0.3)
    with pytest.raises(InputError, match="98 calibration episodes"):
        certify(TEAM, jnp.eye(2), estimate, radius=ConformalRadius("deviation", 0.99, math.inf, 98))


def test_kinds_are_what_they_say():
    with pytest.raises(InputError):
        ConformalRadius("estimate", 0.9, 0.5, 50)
    with pytest.raises(InputError):
        check_radius(-1.0)
    assert check_radius(0.25) == 0.25


def test_the_radius_that_is_given_comes_before_the_models_own():
    assert usable_radius(TEAM, 0.3, 0.7) == 0.3 and usable_radius(TEAM, None, 0.7) == 0.7
    with pytest.raises(InputError, match="was not measured"):
        usable_radius(TEAM, None, None)
    with pytest.raises(InputError, match="not negative"):
        usable_radius(TEAM, -1.0, 0.7)
    with pytest.raises(InputError, match="learned fusion and no denoiser"):
        usable_radius(NoDenoiser(2), 0.3, 0.7)
