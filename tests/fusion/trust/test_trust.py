"""Intervals and regions of fused estimates: of exact answers as closed forms have them, of boasters as promised."""

import dataclasses
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from seeing_team import AGENTS, NOISE, played, seeing

from composite_flow.certificate.verdict import Names
from composite_flow.data.scaling import Scaling
from composite_flow.errors import InputError
from composite_flow.fusion.calibration import Calibration
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.fuse import fuse_each
from composite_flow.fusion.levels import LEVELS
from composite_flow.fusion.region import box
from composite_flow.fusion.team_estimate import TeamEstimate
from composite_flow.fusion.trust import coverage, measure
from composite_flow.fusion.trust.coverage import measure_coverage
from composite_flow.fusion.trust.measure import calibrate_answers, measure_scale
from composite_flow.fusion.trust.scores import claimed_scores, drawn_teams, scores_of_teams

TYPES = FeatureTypes((1,), ((2, 5),), 5)


def test_scores_of_each_kind_of_feature():
    mean, variance = jnp.array([0.2, 0.9, 0.5, 0.3, 0.2]), jnp.array([0.04, 1.0, 1.0, 1.0, 1.0])
    score = claimed_scores(mean, variance, jnp.array([0.8, 0.0, 0.0, 1.0, 0.0]), TYPES)
    np.testing.assert_allclose(score, [3.0, -np.log(0.1), *[-np.log(0.3)] * 3], rtol=1e-5)
    score = claimed_scores(mean, variance, jnp.array([-0.2, 1.0, 1.0, 0.0, 0.0]), TYPES)
    np.testing.assert_allclose(score, [2.0, -np.log(0.9), *[-np.log(0.5)] * 3], rtol=1e-5)


def test_teams_stay_the_same_through_an_episode_and_change_from_one_to_the_next():
    """An agent of each episode shouts alone: its teams of one are far off at all four steps or at none."""
    data = played(200, jax.random.key(0))
    observations = np.asarray(data.windows.observations).copy()
    observations[:, 0] += 1e4
    loud = eqx.tree_at(lambda d: d.windows.observations, data, jnp.asarray(observations))
    found = scores_of_teams(seeing(), loud, (1, 3), key=jax.random.key(1))
    off = found.values[:, 0, 0] > 1e3
    shares = np.bincount(found.episodes, off) / np.bincount(found.episodes)
    assert set(shares) == {0.0, 1.0} and np.mean(shares) == pytest.approx(1 / 3, abs=0.1)
    assert (found.values[:, 1, 0] > 1e3).all()


def test_answers_are_lost_one_by_one_at_every_step_but_never_all():
    def heard(step, lost):
        where = jnp.asarray(step), jnp.asarray(step // 4)
        return drawn_teams(jax.random.key(0), *where, 5, (1, 3, 5), jnp.float32(lost))

    whole, some = (np.asarray(jax.vmap(partial(heard, lost=lost))(jnp.arange(4000))) for lost in (0.0, 0.4))
    np.testing.assert_array_equal(whole.sum(axis=2), np.tile([1, 3, 5], (4000, 1)))
    assert (whole | ~some).all()  # only those of the team
    assert some[:, 0].sum(axis=1).tolist() == [1] * 4000
    # of five the last one always arrives: 5 · 0.6 answers, and 0.4⁵ more
    assert some[:, 2].sum(axis=1).mean() == pytest.approx(3.0 + 0.4**5, abs=0.06)
    same = (some[1::4, 2] == some[::4, 2]).all(axis=1).mean()
    assert same < 0.2


@pytest.mark.parametrize("over", ["step", "episode"])
def test_with_answers_lost_bounds_hold_for_the_team_that_was_to_answer(over):
    """Calibrated without losses, intervals of the whole team's size would be too narrow for those heard."""
    answers, lost = seeing(), 0.5
    options = {"key": jax.random.key(1), "sizes": (2, 3)}
    data, new = played(2000, jax.random.key(0)), played(2000, jax.random.key(2))
    lossy = calibrate_answers(answers, data, lost=lost, **options)
    assert lossy.lost == lost and Calibration.empty(**lossy.settings).lost == lost
    found = measure_coverage(answers, lossy, new, 0.9, over, key=jax.random.key(3))
    np.testing.assert_allclose(found.intervals[:, 0], 0.9, atol=0.02)
    tight = calibrate_answers(answers, data, **options)
    tight = dataclasses.replace(tight, lost=lost, step=tight.step * 0.8, episode=tight.episode * 0.8)
    assert (measure_coverage(answers, tight, new, 0.9, over, key=jax.random.key(3)).intervals[:, 0] < 0.88).all()


def test_where_features_count_bounds_hold_and_elsewhere_they_need_not():
    """The posterior is drawn to the mean, so that large numbers err more: bounds of all do not hold for them."""
    answers, data, new = seeing(), played(2000, jax.random.key(0)), played(2000, jax.random.key(2))

    def large(states):
        return np.abs(states) > 1.5

    def covered(calibration, where):
        return measure_coverage(answers, calibration, new, 0.9, "step", key=jax.random.key(3), counted=where)

    of_all = calibrate_answers(answers, data, key=jax.random.key(1))
    of_large = calibrate_answers(answers, data, key=jax.random.key(1), counted=large)
    assert (covered(of_all, large).intervals[:2, 0] < 0.87).all()
    found = covered(of_large, large)
    np.testing.assert_allclose(found.intervals[:, 0], 0.9, atol=0.04)  # of 900 episodes
    assert np.isnan(found.intervals[:, 1]).all() and np.isnan(found.widths[:, 1]).all()  # a coin is never above 1.5
    np.testing.assert_allclose(found.regions, 0.9, atol=0.04)  # of the steps at which something counts
    with pytest.raises(InputError, match="at least 0 and below 1, not 1.0"):
        calibrate_answers(answers, data, key=jax.random.key(1), lost=1.0)
    with pytest.raises(InputError, match=r"rise from 1 to 3 at most; \(2, 4\) do not"):
        calibrate_answers(answers, data, key=jax.random.key(1), sizes=(2, 4))


def test_widths_are_those_of_intervals_and_of_what_is_left_open():
    """With the variance of a number and the quantile of a normal; of the coin nobody knows anything."""
    calibration = calibrate_answers(seeing(), played(2000, jax.random.key(0)), key=jax.random.key(1))
    found = measure_coverage(seeing(), calibration, played(500, jax.random.key(2)), 0.9, "step", key=jax.random.key(3))
    deviations = 1.0 / np.sqrt(1.0 + np.arange(1, AGENTS + 1) / NOISE**2)
    np.testing.assert_allclose(found.widths[:, 0], 2 * stats.norm.ppf(0.95) * deviations, rtol=0.05)
    np.testing.assert_array_equal(found.widths[:, 1], 1.0)
    assert (found.region_widths[:, 0] >= found.widths[:, 0]).all()


def test_widths_by_hand():
    """2 q √variance of numbers; of others whether the less likely value is within the bound; over steps that count."""
    claims = np.array([[0.5, 0.9, 0.0], [2.0, 0.2, 0.5], [1.0, 0.6, 1.0]])
    counts = np.array([[True, True, True], [True, False, True], [False, True, False]])
    found = coverage._widths(claims, counts, np.array([3.0, 0.95, 0.7]), np.array([True, False, False]))
    np.testing.assert_allclose(found, [6.0 * 1.25, 0.5, 0.5])  # −log 0.1 = 2.3, −log 0.4 = 0.92; −log 0.5 = 0.69


def test_exact_claims_give_the_quantiles_of_a_normal():
    found = calibrate_answers(seeing(), played(2000, jax.random.key(0)), key=jax.random.key(1))
    assert found.sizes == (1, 2, 3) and found.num_episodes == 2000
    expected = stats.norm.ppf(0.5 + np.array(LEVELS) / 2)
    np.testing.assert_allclose(found.step[:, :, 0], np.tile(expected, (3, 1)), rtol=0.06, atol=0.02)
    # the largest of four independent errors
    whole = stats.norm.ppf(0.5 + np.array(LEVELS) ** 0.25 / 2)
    np.testing.assert_allclose(found.episode[:, :, 0], np.tile(whole, (3, 1)), rtol=0.08, atol=0.02)
    np.testing.assert_allclose(found.step[:, :, 1], np.log(2), rtol=1e-5)  # of the coin nobody knows anything


@pytest.mark.parametrize("boast", [0.25, 4.0])
def test_intervals_and_regions_cover_new_episodes_although_claims_are_wrong(boast):
    answers = seeing(boast)
    scale = measure_scale(answers, played(300, jax.random.key(5)), key=jax.random.key(6))
    calibration = calibrate_answers(answers, played(2000, jax.random.key(0)), key=jax.random.key(1), scale=scale)
    new = played(2000, jax.random.key(2))
    for over in ("step", "episode"):
        found = measure_coverage(answers, calibration, new, 0.9, over, key=jax.random.key(3))
        np.testing.assert_allclose(found.intervals[:, 0], 0.9, atol=0.02)
        np.testing.assert_array_equal(found.intervals[:, 1], 1.0)  # both sides of the coin
        assert found.intervals.shape == (3, 2) and found.num_episodes == 2000
        assert (found.regions >= 0.88).all()


def test_an_estimate_tells_intervals_and_regions_in_its_own_units():
    answers, data = seeing(), played(400, jax.random.key(0))
    calibration = calibrate_answers(answers, data, key=jax.random.key(1))
    scaling = Scaling(jnp.array([10.0, 0.0]), jnp.array([30.0, 2.0]))
    new = played(300, jax.random.key(2))
    joint = new.joint(np.asarray(new.steps))
    found = fuse_each(answers, joint.histories, jnp.ones((len(joint.states), AGENTS), bool))
    told, truth = found.in_own_units(scaling, Names(("x", "coin")), None, calibration), scaling.unscale(joint.states)
    for over in ("step", "episode"):
        low, high = told.interval("x", 0.9, over)
        inside = np.asarray((low <= truth[:, 0]) & (truth[:, 0] <= high))
        share = inside.mean() if over == "step" else inside.reshape(-1, 4).all(axis=1).mean()
        assert share == pytest.approx(0.9, abs=0.05)
        region = told.region(0.9, over)
        np.testing.assert_allclose(region.high[:, 1] - region.low[:, 1], 2.0, atol=1e-5)  # head or tail
        held = np.asarray(region.contains(truth))
        assert (held.mean() if over == "step" else held.reshape(-1, 4).all(axis=1).mean()) >= 0.85
    one = jax.tree.map(lambda leaf: leaf[0], fuse_each(answers, joint.histories[:1], jnp.ones((1, AGENTS), bool)))
    alone = one.in_own_units(scaling, Names(("x", "coin")), None, calibration)
    assert alone.interval("x", 0.9)[0] == pytest.approx(float(told.interval("x", 0.9)[0][0]), rel=1e-5)
    assert alone.region(0.9).low.shape == (2,)


def test_levels_are_rounded_up_and_what_cannot_be_promised_is_refused():
    calibration = calibrate_answers(seeing(), played(30, jax.random.key(0)), key=jax.random.key(1))
    size = jnp.asarray(3)
    assert calibration.reach(0, 0.87, size, "step") == calibration.reach(0, 0.9, size, "step")
    with pytest.raises(InputError, match="0.975 needs 39 calibration episodes at least.* on 30"):
        calibration.reach(0, 0.96, size, "step")
    assert calibration.promises(0.95) and not calibration.promises(0.96) and not calibration.promises(0.999)
    estimate = TeamEstimate(jnp.zeros(5), jnp.ones(5), jnp.ones(3, bool), size, 1, TYPES, calibration=calibration)
    assert [estimate.promises(level) for level in (0.95, 0.96)] == [True, False]
    with pytest.raises(InputError, match=r"were measured, not 0\.999"):
        calibration.region_reach(0.999, size, "step")


def test_regions_hold_what_is_likeliest_and_all_that_is_likely_enough():
    mean, variance = jnp.array([0.5, 0.9, 0.7, 0.25, 0.05]), jnp.array([0.01, 1.0, 1.0, 1.0, 1.0])
    wide = box(mean, variance, jnp.full(5, 2.0), TYPES, None)  # e^−2 = 0.135
    np.testing.assert_allclose(wide.low, [0.3, 1.0, 0.0, 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(wide.high, [0.7, 1.0, 1.0, 1.0, 0.0], atol=1e-6)
    wider = box(mean, variance, jnp.full(5, 2.5), TYPES, None)  # e^−2.5 = 0.082
    np.testing.assert_allclose(wider.low[1:], [0.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(wider.high[1:], [1.0, 1.0, 1.0, 0.0])
    none = box(mean, variance, jnp.zeros(5), TYPES, None)
    np.testing.assert_allclose(none.low, [0.5, 1.0, 1.0, 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(none.high, [0.5, 1.0, 1.0, 0.0, 0.0], atol=1e-6)
    certain = box(jnp.array([0.5, 1.0, 1.0, 0.0, 0.0]), variance, jnp.full(5, 2.0), TYPES, None)
    np.testing.assert_allclose(certain.low[1:], [1.0, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(certain.high[1:], [1.0, 1.0, 0.0, 0.0])
    assert bool(wide.contains(jnp.array([0.6, 1.0, 0.0, 1.0, 0.0])))
    assert not bool(wide.contains(jnp.array([0.6, 0.0, 0.0, 1.0, 0.0])))
    assert not bool(wide.contains(jnp.array([0.6, 1.0, 0.0, 0.0, 1.0])))


def test_scales_are_of_some_episodes_where_there_are_many(monkeypatch):
    """The first ones; all where they are few."""
    answers, data = seeing(), played(40, jax.random.key(0))

    def scale(data):
        return measure_scale(answers, data, key=jax.random.key(1))

    whole, part = scale(data), scale(data.part(data.episode_ids[:15]))
    monkeypatch.setattr(measure, "MOST_EPISODES", 15)
    np.testing.assert_array_equal(scale(data), part)
    assert (whole != part).any()
    monkeypatch.setattr(measure, "MOST_EPISODES", 40)
    np.testing.assert_array_equal(scale(data), whole)


def test_a_calibration_comes_back_from_its_settings():
    found = calibrate_answers(seeing(), played(20, jax.random.key(0)), key=jax.random.key(1))
    empty = Calibration.empty(**found.settings)
    assert jax.tree.structure(empty) == jax.tree.structure(found)
    for ours, theirs in zip(jax.tree.leaves(empty), jax.tree.leaves(found), strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
