"""Composite diffusion against sets of states that are known exactly, with ideal denoisers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from teams import Linear, consistent_sets, encode_observations, ideal_sensors, ideal_sets, joint_histories

from composite_flow.baselines.flows import baseline_batch, individual_flow, parallel_mean
from composite_flow.composite.plan import make_plan, stir_scales
from composite_flow.composite.reconstruct import affordable_batch_size, composite_flow, reconstruct, reconstruct_batch
from composite_flow.composite.rule import DEFINITION_6
from composite_flow.composite.sampling import Sampling
from composite_flow.composite.turns import draw_turns
from composite_flow.errors import InputError
from composite_flow.metrics import exact_states
from composite_flow.problems.sensor import SensorNetwork

CLOSE = 0.05  # ideal denoisers end on the states up to what six sweeps of a contraction leave over


@pytest.fixture(scope="module")
def three_by_three():
    return ideal_sensors(SensorNetwork.grid(3, 3, num_targets=2))


def largest_error(samples, states):
    return float(jnp.max(jnp.linalg.norm(samples - states[:, None], axis=-1)))


@pytest.mark.parametrize(("rows", "targets", "joint"), [(2, 1, 4), (3, 1, 12), (5, 1, 4), (5, 2, 4)])
def test_every_sample_reaches_the_true_state_of_a_sensor_grid(rows, targets, joint, key):
    denoiser = ideal_sensors(SensorNetwork.grid(rows, rows, num_targets=targets))
    states = jax.random.choice(key, denoiser.belief.states, (joint,), replace=False)
    estimates = reconstruct_batch(denoiser, joint_histories(denoiser, states), key=key, num_samples=8)
    assert largest_error(estimates.samples, states) < CLOSE
    assert jnp.allclose(estimates.shares[:, 0], 1.0)


def test_composite_is_right_where_the_parallel_mean_gets_stuck(three_by_three, key):
    states = three_by_three.belief.states
    histories = joint_histories(three_by_three, states)
    settings = {"key": key, "num_samples": 4}
    composite = reconstruct_batch(three_by_three, histories, **settings)
    assert largest_error(composite.samples, states) < CLOSE
    parallel = baseline_batch(parallel_mean, three_by_three, histories, **settings)
    # 0.84 was measured over other noises; 264 samples scatter by 0.03
    assert float(jnp.mean(exact_states(parallel, states[:, None]))) < 0.93


def test_every_sample_reaches_the_true_state_on_random_coverage(key):
    rng = np.random.default_rng(0)
    num_agents, num_areas, num_targets = 5, 8, 2
    states = SensorNetwork(np.ones((1, num_areas), bool), num_targets).states()
    histories, truths = [], []
    while len(truths) < 24:
        coverage = rng.random((num_agents, num_areas)) < 0.3
        truth = states[rng.integers(len(states))]
        sets = consistent_sets(coverage, states, truth)
        if sets.all(axis=0).sum() == 1:  # else not even all agents together know the state
            histories.append(sets)
            truths.append(truth)
    denoiser, truths = ideal_sets(states, num_agents), jnp.stack(truths)
    encoded = encode_observations(denoiser, jnp.asarray(np.stack(histories), jnp.float32))
    estimates = reconstruct_batch(denoiser, encoded, key=key, num_samples=16)
    assert largest_error(estimates.samples, truths) < CLOSE
    alone = baseline_batch(individual_flow, denoiser, encoded, key=key, num_samples=16)
    ends = jnp.argmin(jnp.linalg.norm(alone[:, :, None] - states[None, None], axis=-1), axis=-1)
    allowed = np.take_along_axis(np.stack(histories).any(axis=1), np.asarray(ends), axis=1)
    assert allowed.all()  # each ended on a state that some agent allows
    assert float(jnp.max(jnp.linalg.norm(alone - states[ends], axis=-1))) < CLOSE
    assert float(jnp.mean(exact_states(alone, truths[:, None]))) < 0.8


def test_candidates_are_the_states_left_by_the_joint_history(key):
    """Corollary 7.1: nobody sees a target in the areas 3 and 4, and in 1 and 2 it may have been overlooked."""
    problem = SensorNetwork.two_by_two(miss=(0.5, 0.5, 0.0, 0.0))
    denoiser = ideal_sensors(problem)
    histories = encode_observations(denoiser, jnp.zeros((1, 4, problem.observation_size)))[0]
    estimate = reconstruct(denoiser, histories, key=key, num_samples=64)
    found = np.asarray(estimate.candidates[estimate.mask])
    assert found.shape == (2, 4)
    assert np.allclose(found[np.argsort(-found[:, 0])], np.eye(4)[:2], atol=CLOSE)
    assert float(jnp.sum(estimate.shares)) == 1.0 and bool(jnp.all(jnp.diff(estimate.shares) <= 0))
    assert jnp.array_equal(estimate.state, estimate.candidates[0])


def test_partial_flow_ends_in_the_intersection_of_the_participants_sets(three_by_three, key):
    """Corollary 7.2, with participants in two corners and the middle."""
    problem, states = three_by_three.belief.problem, three_by_three.belief.states
    participants, truths = [0, 4, 8], states[::7]
    histories = joint_histories(three_by_three, truths)
    options = {"num_samples": 8, "num_sweeps": 18, "participants": participants}  # as many hops as six full sweeps
    estimates = reconstruct_batch(three_by_three, histories, key=key, **options)
    ends = jnp.argmin(jnp.linalg.norm(estimates.samples[:, :, None] - states[None, None], axis=-1), axis=-1)
    assert float(jnp.max(jnp.linalg.norm(estimates.samples - states[ends], axis=-1))) < CLOSE
    coverage = np.asarray(problem.coverage)[participants]
    for truth, reached in zip(truths, np.asarray(ends), strict=True):
        assert consistent_sets(coverage, states, truth).all(axis=0)[reached].all()
    assert float(jnp.mean(exact_states(estimates.samples, truths[:, None]))) < 0.9  # the others are missed
    assert set(np.unique(estimates.order)) == set(participants)


def test_the_answer_does_not_depend_on_the_order(three_by_three, key):
    truth = three_by_three.belief.states[17]
    histories = joint_histories(three_by_three, truth[None])[0]
    for order in ("fixed", [8, 0, 4, 2, 6, 1, 7, 3, 5]):
        estimate = reconstruct(three_by_three, histories, key=key, num_samples=8, order=order)
        assert largest_error(estimate.samples[None], truth[None]) < CLOSE


# --- stirring


def test_stirred_flows_leave_the_points_between_states(key):
    """From y = 0 two states are alike to two agents who allow both: the flow rests halfway, where it is unstable."""
    told = ideal_sets(jnp.eye(4), num_agents=2)
    histories = encode_observations(told, jnp.tile(jnp.array([1.0, 1.0, 0.0, 0.0]), (1, 2, 1)))[0]
    options = {"key": key, "num_samples": 400, "sigma": 0.0}
    resting = reconstruct(told, histories, num_sweeps=3, **options)  # later, rounding grows
    halfway = jnp.array([0.5, 0.5, 0.0, 0.0])
    assert largest_error(resting.samples[None], halfway[None]) < CLOSE
    jacobian = jax.jacfwd(lambda y: told.denoise(told.condition(histories[0]), y))(halfway)
    assert float(jnp.max(jnp.abs(jnp.linalg.eigvals(jacobian)))) > 1.0
    stirred = reconstruct(told, histories, num_sweeps=20, stir=0.1, **options)
    ends = jnp.argmin(jnp.linalg.norm(stirred.samples[:, None] - jnp.eye(4)[None], axis=-1), axis=-1)
    assert largest_error(stirred.samples[:, None], jnp.eye(4)[ends]) < CLOSE and set(np.asarray(ends)) == {0, 1}
    # a fair coin 400 times: 4.5 standard deviations
    assert abs(int(jnp.sum(ends)) - 200) < 45


def test_what_stirs_is_drawn_apart_from_noises_and_orders(key):
    turns = draw_turns(make_plan(3, Sampling(stir=0.5)), DEFINITION_6, key)
    others = [turns.key_noise, *jax.random.split(key)]
    assert all((jax.random.key_data(turns.key_stir) != jax.random.key_data(one)).any() for one in others)


def test_the_last_sweep_is_not_stirred(linear, key):
    """So that its path is one of Definition 6, which the checks look at."""
    assert np.allclose(stir_scales(make_plan(3, Sampling(num_sweeps=5, stir=0.2))), [0.2, 0.15, 0.1, 0.05, 0])
    estimate = reconstruct(linear, jnp.eye(3), key=key, num_samples=2, stir=0.5)
    trajectories = jax.vmap(composite_flow, in_axes=(None, None, None, 0), out_axes=1)
    contexts = jax.vmap(linear.condition)(jnp.eye(3))
    path = trajectories(linear, contexts, estimate.last_order, estimate.path[0])
    assert jnp.allclose(path[:-1], estimate.path, atol=1e-6) and jnp.allclose(path[-1], estimate.samples, atol=1e-6)
    one, still = (reconstruct(linear, jnp.eye(3), key=key, num_sweeps=1, stir=stir).samples for stir in (0.5, 0.0))
    assert jnp.allclose(one, still, atol=1e-6)


# --- the recursion, on linear agents


@pytest.fixture
def linear(key):
    key_points, key_jacobians = jax.random.split(key)
    return Linear(jax.random.normal(key_points, (3, 2)), 0.3 * jax.random.normal(key_jacobians, (3, 2, 2)))


def test_the_first_agent_of_the_order_speaks_first(linear):
    contexts = jax.vmap(linear.condition)(jnp.eye(3))
    y = jnp.array([1.0, -2.0])
    trajectory = composite_flow(linear, contexts, jnp.array([2, 0, 2]), y)
    for agent in (2, 0, 2):
        y = linear.points[agent] + linear.jacobians[agent] @ (y - linear.points[agent])
    assert trajectory.shape == (4, 2)
    assert jnp.allclose(trajectory[-1], y, atol=1e-6)


def test_path_and_order_replay_the_last_sweep(linear, key):
    estimate = reconstruct(linear, jnp.eye(3), key=key, num_samples=2)
    y = estimate.path[0]
    for position, agent in enumerate(np.asarray(estimate.last_order)):
        assert jnp.allclose(y, estimate.path[position], atol=1e-6)
        y = jax.vmap(lambda y, i=agent: linear.denoise((linear.points[i], linear.jacobians[i]), y))(y)
    assert jnp.allclose(y, estimate.samples, atol=1e-6)
    assert np.array_equal(np.sort(estimate.order, axis=1), np.tile(np.arange(3), (6, 1)))
    assert int(estimate.messages) == 18 and int(estimate.denoiser_calls) == 36


def test_fixed_orders_are_followed_and_the_key_decides_the_rest(linear, key):
    settings = {"num_samples": 2}
    fixed = reconstruct(linear, jnp.eye(3), key=key, order="fixed", participants=[2, 0], **settings)
    assert np.array_equal(fixed.order, np.tile([2, 0], (6, 1)))
    first, again, other = (
        reconstruct(linear, jnp.eye(3), key=key_used, **settings) for key_used in (key, key, jax.random.key(1))
    )
    assert jnp.array_equal(first.order, again.order) and jnp.array_equal(first.samples, again.samples)
    assert not jnp.array_equal(first.order, other.order)
    assert len(np.unique(first.order, axis=0)) > 1  # fresh permutations


def test_early_stopping_stops_at_the_fixed_point_and_counts_what_it_used(linear, key):
    settings = {"key": key, "order": [0, 1, 2], "num_samples": 4}
    stopped = reconstruct(linear, jnp.eye(3), num_sweeps=200, tolerance=1e-5, **settings)
    full = reconstruct(linear, jnp.eye(3), num_sweeps=200, **settings)
    assert int(stopped.sweeps) < 200 == int(full.sweeps)
    assert int(stopped.messages) == 3 * int(stopped.sweeps)
    assert jnp.allclose(stopped.samples, full.samples, atol=1e-4)


def test_early_stopping_waits_for_the_sample_that_moves_most(key):
    """y ← y/2 moves each sample by the length of its new y, so the longest of these is the last change."""
    halving = Linear(jnp.zeros((1, 2)), 0.5 * jnp.eye(2)[None])
    estimate = reconstruct(halving, jnp.ones((1, 1)), key=key, num_samples=16, num_sweeps=40, tolerance=1e-3)
    last_change = float(jnp.max(jnp.linalg.norm(estimate.samples, axis=-1)))
    assert last_change < 1e-3 <= 2 * last_change


def test_the_last_order_is_that_of_the_last_sweep_made(key):
    """Agents who answer with their own point: each receives the one before it, and the flow is still where two sweeps
    in a row end with the same speaker."""
    points = jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    stubborn = Linear(points, jnp.zeros((3, 2, 2)))
    histories = jnp.broadcast_to(jnp.eye(3)[None], (8, 3, 3))
    found = reconstruct_batch(stubborn, histories, key=key, num_samples=1, num_sweeps=50, tolerance=1e-3)
    for one in range(8):
        estimate = jax.tree.map(lambda leaf, one=one: leaf[one], found)
        speakers = np.asarray(estimate.order)[:, -1]
        assert int(estimate.sweeps) == 2 + np.argmax(speakers[1:] == speakers[:-1])
        assert jnp.array_equal(estimate.path[1:, 0], points[estimate.last_order[:-1]])
        assert jnp.array_equal(estimate.samples[0], points[estimate.last_order[-1]])


def test_samples_start_from_noise_of_the_given_scale(key):
    """An agent who changes nothing leaves the noise, σ times that of σ = 1."""
    silent = Linear(jnp.zeros((1, 2)), jnp.eye(2)[None])
    half, one = (reconstruct(silent, jnp.ones((1, 1)), key=key, sigma=sigma).samples for sigma in (0.5, 1.0))
    assert jnp.array_equal(half, 0.5 * one)


def test_a_batch_is_its_members_with_split_keys(linear, key):
    histories = jnp.stack([jnp.eye(3), jnp.eye(3)[::-1], jnp.eye(3)])
    batch = reconstruct_batch(linear, histories, key=key, num_samples=2, batch_size=2)
    for index, key_one in enumerate(jax.random.split(key, 3)):
        one = reconstruct(linear, histories[index], key=key_one, num_samples=2)
        assert jnp.allclose(batch.samples[index], one.samples, atol=1e-6)
        assert jnp.array_equal(batch.order[index], one.order)


def test_a_batch_holds_as_many_paths_as_fit_into_256_mebibytes():
    """4 participants, 16 samples and 32 features make a path of 8 KiB, which a sweep holds twice: before and after."""
    assert affordable_batch_size(4, 16, 32) == 2**28 // 2**14
    assert affordable_batch_size(1024, 1024, 1024) == 1


def test_candidates_beyond_the_limit_are_missing_from_the_shares(key):
    lone = Linear(jnp.zeros((1, 2)), jnp.eye(2)[None])  # the identity: every sample is a candidate
    estimate = reconstruct(lone, jnp.ones((1, 1)), key=key, num_samples=8, max_candidates=3, merge_radius=1e-3)
    assert bool(jnp.all(estimate.mask)) and float(jnp.sum(estimate.shares)) == pytest.approx(3 / 8)


def test_samples_that_are_not_finite_leave_no_candidate(key):
    broken = Linear(jnp.full((1, 2), jnp.nan), jnp.zeros((1, 2, 2)))
    estimate = reconstruct(broken, jnp.ones((1, 1)), key=key, num_samples=2)
    assert not bool(jnp.any(estimate.mask)) and bool(jnp.all(jnp.isnan(estimate.state)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": [0, 3]}, "agents are 0 to 2"),
        ({"order": [0, -1]}, "agents are 0 to 2"),
        ({"order": [0, 0]}, "twice"),
        ({"order": [0, 1], "participants": [0, 2]}, "but participants"),
        ({"order": []}, "empty"),
        ({"order": "backwards"}, "backwards"),
        ({"participants": []}, "empty"),
        ({"num_samples": 0}, "num_samples"),
        ({"num_sweeps": 0}, "num_sweeps"),
        ({"sigma": float("nan")}, "sigma"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"stir": -1.0}, "stir"),
        ({"stir": 0.1, "tolerance": 0.1}, "do not rest"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(linear, key, options, message):
    with pytest.raises(InputError, match=message):
        reconstruct(linear, jnp.eye(3), key=key, **options)


@pytest.mark.parametrize(
    ("histories", "message"),
    [
        (jnp.zeros((0, 3)), "empty"),
        (jnp.eye(3).at[1, 1].set(jnp.nan), "NaN or infinite"),
        (jnp.eye(3).at[1, 1].set(jnp.inf), "NaN or infinite"),
        (jnp.eye(4), "4 columns"),
    ],
)
def test_histories_that_cannot_be_used_are_refused(linear, key, histories, message):
    with pytest.raises(InputError, match=message):
        reconstruct(linear, histories, key=key)
