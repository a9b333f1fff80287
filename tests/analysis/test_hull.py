"""Distances to hulls against closed forms, and Theorems 7 and 8 with their counterexamples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from teams import Linear, ideal_sensors, joint_histories

from composite_flow.analysis.composite_claims import CLOSENESS
from composite_flow.analysis.composite_error import composite_error
from composite_flow.analysis.hull import (
    affinely_independent,
    balanced_simplex_weights,
    distance_to_hull,
    simplex_weights,
    uniform_on_hull,
)
from composite_flow.denoiser import Fixed
from composite_flow.errors import InputError, TooLargeError
from composite_flow.problems.sensor import SensorNetwork

TRIANGLE = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])


@pytest.mark.parametrize(
    ("point", "vertices", "distance"),
    [
        ([0.5, 0.5], TRIANGLE, 0.0),  # inside
        ([2.0, 0.0], TRIANGLE, 0.0),  # a vertex
        ([2.0, 2.0], TRIANGLE, 2.0**0.5),  # beside an edge
        ([-3.0, -4.0], TRIANGLE, 5.0),  # beyond a vertex
        ([0.3, 4.0], [[0.0, 0.0], [1.0, 0.0]], 4.0),  # a segment
        ([4.0, 3.0], [[0.0, 0.0], [1.0, 0.0]], 18.0**0.5),  # beyond its end
        ([1.0, 0.0], [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]], 1.0),  # one point, three times
        ([0.0, 0.0], [[0.0, 0.0]], 0.0),
        ([0.5, 1.0], [[0.0, 0.0], [0.25, 0.0], [0.5, 0.0], [1.0, 0.0], [1.0, 0.0]], 1.0),  # collinear duplicates
        ([1e-4, 1e-4], 1e-4 * TRIANGLE, 0.0),  # small hulls as accurately as large ones
        ([3e-4, 4e-4], 1e-12 * TRIANGLE, 5e-4),
    ],
)
def test_distances_to_hulls_with_a_closed_form(point, vertices, distance):
    vertices = np.asarray(vertices)
    found = distance_to_hull(np.array(point), vertices)
    assert found.distance == pytest.approx(distance, rel=1e-8, abs=1e-14)
    assert 0.0 <= found.error <= 1e-13
    assert (found.weights >= 0).all() and found.weights.sum() == pytest.approx(1.0)
    assert np.allclose(found.weights @ vertices, found.nearest, atol=1e-14)


def test_no_other_point_of_a_large_hull_is_nearer_than_the_error_allows(key):
    """25 vertices in 40 dimensions: the separating plane through the nearest point has every vertex beyond it."""
    rng = np.random.default_rng(0)
    vertices, point = rng.normal(size=(25, 40)), rng.normal(size=40)
    found = distance_to_hull(point, vertices)
    assert found.error < 1e-13 < found.distance
    normal = (found.nearest - point) / found.distance
    assert ((vertices - point[None]) @ normal).min() >= found.distance - 1e-12
    others = simplex_weights(key, 25, 1000) @ vertices
    assert (np.linalg.norm(others - point[None], axis=1) >= found.distance).all()
    inside = distance_to_hull(rng.dirichlet(np.ones(25)) @ vertices, vertices)
    assert inside.distance < 1e-13


def test_masked_vertices_take_no_part():
    found = distance_to_hull(np.zeros(2), np.array([[np.nan, 0.0], [3.0, 4.0], [0.0, 0.0]]), np.array([0, 1, 0], bool))
    assert found.distance == pytest.approx(5.0) and np.array_equal(found.weights, [0.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("point", "vertices", "mask", "message"),
    [
        (np.zeros(2), np.zeros((3, 3)), None, "do not fit"),
        (np.zeros(2), np.zeros((1, 2)), np.array([False]), "at least one vertex"),
        (np.zeros(2), np.full((1, 2), np.nan), None, "NaN or infinite"),
    ],
)
def test_hulls_that_cannot_be_used_are_refused(point, vertices, mask, message):
    with pytest.raises(InputError, match=message):
        distance_to_hull(point, vertices, mask)


def test_points_uniform_on_a_hull_have_its_moments(key):
    """A square with a vertex too many inside: mean 1/2 and variance 1/12 of each coordinate; a segment alike."""
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.3, 0.4]])
    draws = uniform_on_hull(square, key=key, num_draws=4000)
    assert np.allclose(draws.mean(axis=0), 0.5, atol=0.02)  # four standard errors
    assert np.allclose(12 * np.cov(draws.T), np.eye(2), atol=0.06)
    embedded = uniform_on_hull(square @ np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]), key=key, num_draws=10)
    assert np.allclose(embedded[:, 2], 2 * embedded[:, 0])
    assert not affinely_independent(square) and affinely_independent(TRIANGLE)


def test_hulls_of_many_dimensions_are_not_cut_into_simplices(key):
    with pytest.raises(TooLargeError, match="too many simplices"):
        uniform_on_hull(np.random.default_rng(0).normal(size=(12, 6)), key=key, num_draws=1)


def test_theorem_8_holds_for_weights_and_fails_on_the_hull_of_more_agents_than_d_plus_1(key):
    """Nine fixed points near 0 and one at 1, the state 0: 0.5 on the hull against the mean deviation 0.1."""
    points = np.append(1e-4 * np.arange(1, 10), 1.0)[:, None]
    mean_deviation = np.abs(points).mean()
    on_hull = np.abs(uniform_on_hull(points, key=key, num_draws=4000)).mean()
    assert on_hull == pytest.approx(0.5, abs=0.02) and mean_deviation == pytest.approx(0.1, abs=1e-3)
    weights = balanced_simplex_weights(key, 10, 50)
    assert np.allclose(weights.mean(axis=0), 0.1)
    assert np.linalg.norm(weights @ points, axis=1).mean() <= mean_deviation + 1e-12
    assert np.linalg.norm(points.mean(axis=0)) <= mean_deviation + 1e-12
    assert not affinely_independent(points)


def along(angle):
    direction = jnp.array([jnp.cos(angle), jnp.sin(angle)])
    return 0.9 * jnp.outer(direction, direction)


@pytest.fixture(scope="module")
def counterexample():
    """Two agents, fixed points (0, ±0.1), symmetric stable Jacobians along ±0.5 rad; the true state is 0."""
    team = Linear(jnp.array([[0.0, 0.1], [0.0, -0.1]]), jnp.stack([along(0.5), along(-0.5)]))
    return composite_error(
        team,
        jnp.eye(2)[None],
        jnp.zeros((1, 2)),
        radius=0.1,
        key=jax.random.key(0),
        distinct_states=jnp.array([[0.0, 0.0], [1.0, 0.0]]),
        num_sweeps=100,
        order="fixed",
    )


def test_theorem_7_fails_where_every_hypothesis_holds(counterexample):
    """Both checks pass, and all that A.7 assumes; yet all samples end 0.149 away, outside the segment between both."""
    assert counterexample.hypotheses.all() and counterexample.accepted.all()
    assert np.allclose(counterexample.errors, 0.149, atol=1e-3)
    ends = np.sqrt(counterexample.errors**2 - counterexample.hull_distances**2)
    assert (counterexample.hull_distances > 0.1).all() and (ends <= 0.1).all()  # the nearest point is on the segment
    assert counterexample.mean_errors[0] < CLOSENESS
    assert np.allclose(counterexample.deviations, 0.1, atol=CLOSENESS)
    rates = counterexample.summary()["theorem_7"]
    assert rates["error at most the largest deviation"]["hypotheses_hold"]["rate"] == 0.0
    assert rates["end in the hull of the fixed points near the state"]["accepted_by_paper"]["rate"] == 0.0


def test_what_does_follow_from_the_checks_holds(counterexample):
    summary = counterexample.summary()
    assert summary["guaranteed"]["rate"] == 1.0 and summary["theorem_7"]["error below 3 D"]["all"]["rate"] == 1.0
    assert summary["theorem_8"]["uniform weights"]["rate"] == summary["theorem_8"]["plain mean"]["rate"] == 1.0
    assert summary["theorem_8"]["weights are uniform on the hull"]["rate"] == 1.0  # two points, two dimensions
    assert counterexample.simplex_errors[0] == pytest.approx(0.05, abs=0.02)  # E|2β − 1|/10, β uniform


def test_fixed_points_near_the_state_do_not_bound_an_error_near_another(key):
    """A target in either of two unseen areas: fixed points near the state are exact, accepted ends at the other one."""
    denoiser = ideal_sensors(SensorNetwork(np.array([[True, False, False]] * 2), num_targets=1), Fixed(0.2))
    states = denoiser.belief.states
    errors = composite_error(denoiser, joint_histories(denoiser, states), states, radius=0.02, key=key)
    wrong = errors.errors > 1.0
    assert errors.within_radius.all() and (errors.accepted & wrong).any()
    assert (errors.nearest_end_points[wrong] > errors.radius).all()
    assert errors.summary()["guaranteed"]["rate"] == 1.0
    assert errors.summary()["theorem_7"]["error below 3 D"]["accepted_by_paper"]["rate"] < 1.0


def test_ideal_sensors_fulfil_every_hypothesis_and_inequality(key):
    denoiser = ideal_sensors(SensorNetwork(np.eye(2, 3, dtype=bool), num_targets=1), Fixed(0.2))
    states = denoiser.belief.states
    errors = composite_error(denoiser, joint_histories(denoiser, states), states, radius=0.02, key=key)
    summary = errors.summary()
    assert errors.smallest_distance == pytest.approx(2**0.5) and errors.separated
    assert errors.hypotheses.all() and all(holds.all() for holds in errors.inequalities().values())
    assert summary["hypotheses"]["all"] == {
        "rate": 1.0,
        "interval": [pytest.approx(0.025 ** (1 / 3)), 1.0],
        "trials": 3,
    }
    assert summary["medians"]["error"] < 1e-4


def test_diverged_joint_histories_are_left_out_and_counted(key):
    """One agent's history decides: an unstable agent leaves float32's range within 256 steps."""
    team = Linear(jnp.array([[0.1], [0.2]]), jnp.array([[[0.5]], [[9.0]]]))
    histories = jnp.array([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    errors = composite_error(team, histories, jnp.zeros((2, 1)), radius=0.1, key=key)
    assert errors.diverged == 1 and errors.errors.shape == (1, 4) and np.isfinite(errors.errors).all()
    with pytest.raises(InputError, match="none of these joint histories"):
        composite_error(team, histories[jnp.array([1, 1])], jnp.zeros((2, 1)), radius=0.1, key=key)


def test_states_that_do_not_fit_are_refused(key):
    with pytest.raises(InputError, match="States must have the shape"):
        composite_error(
            Linear(jnp.zeros((2, 2)), jnp.zeros((2, 2, 2))), jnp.eye(2)[None], jnp.zeros((2, 2)), radius=0.1, key=key
        )
