"""The checks on teams of linear agents, whose Jacobians and end points are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from teams import Linear, ideal_sensors, joint_histories

import composite_flow as cf
from composite_flow.certificate.checks import Certificate, certify, certify_batch
from composite_flow.certificate.reliability import measure_reliability, right_in_words, smallest_distance
from composite_flow.composite.reconstruct import reconstruct, reconstruct_batch
from composite_flow.denoiser import Fixed
from composite_flow.errors import InputError
from composite_flow.network import Network
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.relu_jacobian import can_use_active_units


def direction(angle):
    return jnp.array([jnp.cos(angle), jnp.sin(angle)])


@pytest.fixture(scope="module")
def counterexample():
    """Two agents, fixed points (0, ±0.1), symmetric stable Jacobians 0.9 u uᵀ along ±0.5 rad; the true state is 0."""
    along = [direction(0.5), direction(-0.5)]
    return Linear(jnp.array([[0.0, 0.1], [0.0, -0.1]]), jnp.stack([0.9 * jnp.outer(u, u) for u in along]))


def unstable_product():
    """Two nilpotent Jacobians, each of radius 0, whose product has radius 4."""
    return Linear(jnp.zeros((2, 2)), jnp.array([[[0.0, 2.0], [0.0, 0.0]], [[0.0, 0.0], [2.0, 0.0]]]))


def test_theorem_7_fails_for_symmetric_stable_jacobians(counterexample, key):
    """All checks pass with D_φ = 0.1, and the end lies 0.149 from the state, outside the fixed points' hull."""
    estimate = reconstruct(counterexample, jnp.eye(2), key=key, order="fixed", num_samples=4, num_sweeps=100)
    verdict = certify(counterexample, jnp.eye(2), estimate, radius=0.1)
    assert bool(jnp.all(verdict.accepted_by_paper)) and bool(jnp.all(verdict.accepted))
    errors = jnp.linalg.norm(estimate.samples, axis=-1)
    assert np.allclose(errors, 0.149, atol=1e-3)
    assert bool(jnp.all(jnp.abs(estimate.samples[:, 0]) > 0.1))  # the hull is the segment from (0, −0.1) to (0, 0.1)
    assert bool(jnp.all(errors < 3 * 0.1))  # what does follow


def test_an_unstable_sweep_of_stable_agents_is_caught_by_our_own_condition(key):
    team = unstable_product()
    estimate = reconstruct(team, jnp.eye(2), key=key, order="fixed", num_samples=2, sigma=0.0)
    verdict = certify(team, jnp.eye(2), estimate, radius=1.0)
    assert bool(jnp.all(verdict.accepted_by_paper))
    assert not bool(jnp.any(verdict.accepted))
    assert np.allclose(verdict.composite_radius, 4.0, rtol=1e-5)
    assert "sweep as a whole is not stable: spectral radius 4" in verdict.reasons()[0]


@pytest.fixture(scope="module")
def spiral():
    """Three agents in five dimensions with Jacobians without symmetry; agent 1 is unstable."""
    keys = jax.random.split(jax.random.key(3), 2)
    jacobians = 0.25 * jax.random.normal(keys[0], (3, 5, 5))
    return Linear(0.1 * jax.random.normal(keys[1], (3, 5)), jacobians.at[1].multiply(4.0))


def radii(matrices):
    return np.abs(np.linalg.eigvals(np.asarray(matrices, np.float64))).max(axis=-1)


@pytest.mark.parametrize("options", [{}, {"exact": True}, {"dense_limit": 0, "depth": 5}])
def test_radii_are_those_of_the_agents_and_of_their_product(spiral, options, key):
    estimate = reconstruct(spiral, jnp.eye(3), key=key, num_samples=2)
    verdict = certify(spiral, jnp.eye(3), estimate, radius=1.0, **options)
    spoken = np.asarray(estimate.last_order)
    jacobians = np.asarray(spiral.jacobians)[spoken]
    product = jacobians[2] @ jacobians[1] @ jacobians[0]
    truth, bounded = radii(jacobians)[None], np.asarray(verdict.bounded)
    assert np.array_equal(verdict.agents, spoken)
    assert np.allclose(np.where(bounded, truth, verdict.radii), np.tile(truth, (2, 1)), rtol=1e-3)
    assert (np.asarray(verdict.radii) >= truth * (1 - 1e-3)).all() and (np.asarray(verdict.radii)[bounded] < 1.0).all()
    assert bounded.any() == (not options)
    assert np.allclose(verdict.composite_radius, radii(product), rtol=1e-3)
    assert not bool(jnp.any(verdict.stable))
    assert "denoiser of agent 1 is not stable there" in verdict.reasons()[1]
    assert "flow of agent 1 alone did not converge" in verdict.reasons()[1]


def test_distances_are_to_each_agents_own_fixed_point(counterexample, key):
    estimate = reconstruct(counterexample, jnp.eye(2), key=key, num_samples=2)
    verdict = certify(counterexample, jnp.eye(2), estimate, radius=0.05, tolerance=1e-6)
    points = counterexample.points[estimate.last_order]
    expected = jnp.linalg.norm(estimate.samples[:, None] - points[None], axis=-1)
    assert bool(jnp.all(verdict.settled)) and np.allclose(verdict.distances, expected, atol=1e-4)
    assert np.array_equal(verdict.agreed, np.all(np.asarray(expected) < 0.1, axis=1))
    assert verdict.reasons()[0].startswith("Rejected: agent") and "limit 2·D_φ is 0.1" in verdict.reasons()[0]


def test_agreement_is_nearer_than_twice_the_radius_by_flows_that_converged():
    """Condition 2 at D_φ = 1/4, by hand: below 1/2 for both agents, not at it, and both flows at rest."""
    distances = jnp.array([[0.0, 0.49], [0.5, 0.0], [0.0, 0.6], [0.0, 0.1]])
    verdict = Certificate(
        agents=jnp.arange(2),
        radii=jnp.zeros((4, 2)),
        bounded=jnp.ones((4, 2), bool),
        composite_radius=jnp.zeros(4),
        distances=distances,
        settled=jnp.array([[True, True]] * 3 + [[True, False]]),
        radius=jnp.asarray(0.25),
    )
    assert verdict.agreed.tolist() == verdict.accepted.tolist() == [True, False, False, False]


def test_what_counts_as_right_is_said_beside_how_far_states_can_be_apart():
    told = right_in_words(jnp.full((2, 9), 0.5), 0.25)
    assert "within 3 D_φ = 0.75 of the true state" in told and "at most 3 apart" in told
    assert right_in_words(jnp.eye(3), 0.25) == "every feature, rounded at 0.5, is that of the true state"


def test_a_radius_of_one_is_not_stable():
    verdict = Certificate(
        agents=jnp.arange(2),
        radii=jnp.array([[0.5, 0.999], [0.5, 1.0], [1.0, 0.5]]),
        bounded=jnp.zeros((3, 2), bool),
        composite_radius=jnp.array([1.0, 0.5, 0.5]),
        distances=jnp.zeros((3, 2)),
        settled=jnp.ones((3, 2), bool),
        radius=jnp.asarray(0.25),
    )
    assert verdict.stable.tolist() == [True, False, False] and verdict.composite_stable.tolist() == [False, True, True]
    assert not verdict.accepted.any()


def test_partial_estimates_are_checked_by_their_participants_only(spiral, key):
    estimate = reconstruct(spiral, jnp.eye(3), key=key, participants=[2, 0], num_samples=2)
    verdict = certify(spiral, jnp.eye(3), estimate, radius=5.0)
    assert set(np.asarray(verdict.agents)) == {0, 2}
    assert bool(jnp.all(verdict.accepted)) and verdict.reasons()[0].startswith("Accepted")


def test_samples_that_are_not_finite_are_rejected(key):
    broken = Linear(jnp.full((1, 2), jnp.nan), jnp.zeros((1, 2, 2)))
    estimate = reconstruct(broken, jnp.ones((1, 1)), key=key, num_samples=2)
    assert not bool(jnp.any(certify(broken, jnp.ones((1, 1)), estimate, radius=1.0).accepted))


@pytest.mark.parametrize("radius", [float("nan"), -0.1])
def test_radii_that_cannot_be_used_are_refused(counterexample, key, radius):
    estimate = reconstruct(counterexample, jnp.eye(2), key=key, num_samples=2)
    with pytest.raises(InputError, match="radius"):
        certify(counterexample, jnp.eye(2), estimate, radius=radius)


def test_ideal_sensors_are_accepted_and_right_and_the_assumptions_hold(key):
    denoiser = ideal_sensors(
        SensorNetwork.grid(2, 2, num_targets=1), Fixed(0.3)
    )  # compiles ten times faster than U[0, 1]
    states = denoiser.belief.states
    worth = measure_reliability(
        denoiser, joint_histories(denoiser, states), states, key=key, radius=0.05, num_samples=4, num_balls=16
    )
    assert worth.num_samples == 16
    assert worth.accepted_share == 1.0 and worth.wrong_among_accepted == 0.0 and worth.right_rejected_share == 0.0
    assert worth.wrong_interval == pytest.approx((0.0, 1 - 0.025 ** (1 / 4)))  # of joint histories
    assert worth.smallest_distance == pytest.approx(2**0.5) and worth.separated
    assert worth.stable_in_balls == 1.0 and worth.within_radius == 1.0


def test_a_team_that_ignores_what_it_sees_is_accepted_and_wrong(key):
    """The conditions do not notice a denoiser that ignores the history; the measured share does."""
    ignorant = Linear(jnp.zeros((2, 3)), jnp.zeros((2, 3, 3)))
    states = jnp.eye(3)
    histories = jnp.broadcast_to(jnp.eye(2)[None], (3, 2, 2))
    worth = measure_reliability(ignorant, histories, states, key=key, radius=0.1, num_samples=2, num_balls=4)
    assert worth.accepted_share == 1.0 and worth.wrong_among_accepted == 1.0
    assert worth.right_rejected_share is None and worth.within_radius == 0.0


def test_a_batch_of_certificates_is_its_members(spiral, key):
    histories = jnp.broadcast_to(jnp.eye(3)[None], (2, 3, 3))
    estimates = reconstruct_batch(spiral, histories, key=key, num_samples=2)
    batch = certify_batch(spiral, histories, estimates, radius=1.0)
    one = certify(spiral, histories[1], jax.tree.map(lambda leaf: leaf[1], estimates), radius=1.0)
    assert np.allclose(batch.radii[1], one.radii, rtol=1e-5) and np.array_equal(batch.agents[1], one.agents)
    assert batch.reasons()[2:] == one.reasons()
    assert bool(batch.bounded.any()) and np.array_equal(batch.bounded[1], one.bounded)


def test_without_jacobians_radii_are_the_same_while_the_sweep_still_moves(key):
    """Each agent's at what it received, and the sweep's at what the first one received."""
    layout = cf.HistoryLayout(1, 2, 2, 3)
    network = cf.Network(layout, 4, width=16, depth=2, key=key, activation="silu")
    network = jax.tree.map(lambda leaf: 2.0 * leaf, network)
    histories = jax.random.uniform(key, (3, layout.size))
    estimate = reconstruct(network, histories, key=key, num_samples=2, num_sweeps=1)
    dense = certify(network, histories, estimate, radius=1.0, exact=True)
    free = certify(network, histories, estimate, radius=1.0, dense_limit=0, depth=4)
    np.testing.assert_allclose(free.radii, dense.radii, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(free.composite_radius, dense.composite_radius, rtol=1e-3, atol=1e-5)


def test_certificates_by_active_units_are_those_of_all_units(key, monkeypatch):
    """A wide ReLU network is checked through its active units; the verdicts are the same as through all of them."""
    network = Network(5, 4, width=256, depth=3, key=key)
    histories = jax.random.uniform(key, (2, 3, 5))
    estimates = reconstruct_batch(network, histories, key=key, num_samples=2, num_sweeps=1)
    assert can_use_active_units(network)
    by_active_units = certify_batch(network, histories, estimates, radius=1.0)
    monkeypatch.setattr("composite_flow.certificate.sweep_radii.can_use_active_units", lambda *_: False)
    by_all_units = certify_batch(network, histories, estimates, radius=1.0)
    assert float(by_all_units.radii.min()) > 1e-3
    for one, other in zip(jax.tree.leaves(by_active_units), jax.tree.leaves(by_all_units), strict=True):
        assert np.allclose(one, other, rtol=1e-4)


def test_smallest_distance_is_over_distinct_states():
    assert smallest_distance(jnp.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.5]])) == 0.5
    assert smallest_distance(jnp.zeros((3, 2))) == float("inf")
