"""Sets of whole states: those that a product of probabilities holds likely enough, calibrated to cover."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.certificate.verdict import Names
from composite_flow.data.scaling import Scaling
from composite_flow.errors import InputError
from composite_flow.fusion.calibration import Calibration
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.levels import LEVELS
from composite_flow.fusion.state_sets import log_chances
from composite_flow.fusion.team_estimate import TeamEstimate
from composite_flow.fusion.trust.measure import calibration_of
from composite_flow.fusion.trust.scores import TeamScores
from composite_flow.fusion.trust.set_scores import set_sizes, state_sets_of, unlikeliness

TYPES = FeatureTypes((0, 1), ((2, 5),), 5)
KNOWN = np.array(
    [[a, b, *np.eye(3)[c]] for a, b, c in [(0, 0, 0), (0, 1, 0), (1, 0, 1), (1, 1, 2), (1, 0, 2)]], np.float32
)


def told(num_episodes, seed, sharpness):
    """Truths drawn from what is said: probabilities of the known states, through noisy probabilities of features."""
    random = np.random.default_rng(seed)
    steps = 4 * num_episodes
    claims = np.zeros((steps, 2, 5))
    claims[:, :, :2] = random.uniform(0.05, 0.95, (steps, 2, 2))
    claims[:, :, 2:] = random.dirichlet(np.ones(3), (steps, 2))
    claims = claims**sharpness
    chances = np.exp(np.array([[_by_hand(one, KNOWN) for one in step] for step in claims]))[:, 0]
    truth = np.array([random.choice(len(KNOWN), p=p / p.sum()) for p in chances])
    # the second team says the opposite of features 0 and 1
    claims[:, 1, :2] = 1.0 - claims[:, 0, :2]
    nothing = np.zeros((steps, 2, 5), np.float32)
    return TeamScores(nothing, claims.astype(np.float32), np.ones((steps, 2)), KNOWN[truth], np.arange(steps) // 4)


def _by_hand(mean, known):
    p = np.where(known > 0.5, mean, 1.0 - mean)
    weights = np.log(p[:, 0]) + np.log(p[:, 1]) + np.log(np.sum(known[:, 2:] * mean[2:], axis=1))
    return weights - np.log(np.sum(np.exp(weights)))


def test_chances_are_products_over_features_and_groups():
    mean = np.array([0.9, 0.3, 0.2, 0.5, 0.3])
    found = log_chances(jnp.asarray(mean, jnp.float32), jnp.asarray(KNOWN), TYPES)
    np.testing.assert_allclose(found, _by_hand(mean, KNOWN), rtol=1e-4)


@pytest.mark.parametrize("over", ["step", "episode"])
def test_sets_cover_new_steps_and_episodes_whatever_is_said(over):
    calibration, new = told(1000, 0, 1.0), told(1000, 1, 1.0)
    sets = state_sets_of(calibration, TYPES)
    np.testing.assert_array_equal(np.unique(sets.states, axis=0), np.unique(KNOWN, axis=0))
    reach = np.asarray(getattr(sets, over))[:, LEVELS.index(0.9)]
    inside = unlikeliness(new, TYPES, np.asarray(sets.states)) <= reach
    share = inside.mean(axis=0) if over == "step" else inside.reshape(-1, 4, 2).all(axis=1).mean(axis=0)
    assert (share > 0.87).all()
    # ties of few states push above; a team that says the opposite needs larger sets
    sizes = set_sizes(new, TYPES, np.asarray(sets.states), reach).mean(axis=0)
    assert sizes[0] < sizes[1] <= len(KNOWN)


def test_unknown_states_count_as_never_inside():
    scores = told(100, 0, 1.0)
    found = unlikeliness(scores, TYPES, KNOWN[1:])
    lost = (scores.states == KNOWN[0]).all(axis=1)
    assert 0.05 < lost.mean() < 0.6 and np.isinf(found[lost]).all() and np.isfinite(found[~lost]).all()
    sets = state_sets_of(scores, TYPES, KNOWN[1:])
    assert np.isinf(sets.step[:, LEVELS.index(0.99)]).all()
    assert state_sets_of(scores, FeatureTypes((0, 1), (), 5)) is None  # numbers


def test_an_estimate_lists_its_states_likeliest_first():
    calibration = calibration_of(told(400, 0, 1.0), (1, 3), jnp.ones((2, 5)), types=TYPES)
    empty = Calibration.empty(**calibration.settings)
    assert [leaf.shape for leaf in jax.tree.leaves(empty)] == [leaf.shape for leaf in jax.tree.leaves(calibration)]
    scaling = Scaling(jnp.array([0.0, 10.0, 0.0, 0.0, 0.0]), jnp.array([1.0, 20.0, 1.0, 1.0, 1.0]))
    mean = jnp.array([0.97, 0.05, 0.02, 0.9, 0.08])
    size = jnp.asarray(1, jnp.int32)
    said = TeamEstimate(mean, mean * (1 - mean), jnp.array([True]), size, 4, TYPES)
    estimate = said.in_own_units(scaling, Names(tuple("abcde")), None, calibration)
    states, chances = estimate.possible_states(0.9)
    assert states[0].tolist() == [1.0, 10.0, 0.0, 1.0, 0.0]
    exact = np.exp(_by_hand(np.asarray(mean), KNOWN))
    assert float(chances[0]) == pytest.approx(exact.max(), rel=1e-4)
    assert (np.diff(chances) <= 0).all() and len(states) < len(KNOWN)
    assert len(estimate.possible_states(0.99)[0]) >= len(states)
    scaled, same = dataclasses.replace(said, calibration=calibration).possible_states(0.9)
    np.testing.assert_allclose(scaling.unscale(scaled), states)
    np.testing.assert_allclose(same, chances, rtol=1e-5)
    with pytest.raises(InputError, match="not measured on calibration episodes"):
        said.possible_states(0.9)
    numbers = calibration_of(told(400, 0, 1.0), (1, 3), jnp.ones((2, 5)))
    with pytest.raises(InputError, match="a feature is a number, or there are too many states"):
        said.in_own_units(scaling, Names(tuple("abcde")), None, numbers).possible_states(0.9)
