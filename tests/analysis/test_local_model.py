"""Local models of many pairs: closed forms, flags, and the same answers dense, matrix-free and in any batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from teams import Linear, ideal_sets

from composite_flow.analysis.local_model import local_models
from composite_flow.data import Episodes, HistoryDataset
from composite_flow.data.pairs import distinct_pairs
from composite_flow.denoiser import Fixed, IdealDenoiser
from composite_flow.errors import InputError
from composite_flow.history import HistoryLayout
from composite_flow.linear_gaussian import LinearGaussianDenoiser
from composite_flow.network import Network

LAYOUT = HistoryLayout(length=1, observation_size=3, num_actions=2, num_agents=2)  # 3 + 1 mask + 2 agents


def gaussian(key, state_size=5):
    """A singular covariance of rank two and a posterior mean that the history moves."""
    key_map, key_root = jax.random.split(key)
    root = jax.random.normal(key_root, (state_size, 2))
    return LinearGaussianDenoiser(
        jax.random.normal(key_map, (state_size, LAYOUT.size)), jnp.full(state_size, 0.1), root @ root.T, 0.7
    )


def test_the_linear_gaussian_denoiser_has_its_closed_form(key):
    """y* = m(τ) whatever the start, ρ = λ/(λ + σ²), J⁺ = A: the Jacobians' part Σ(Σ + σ²I)^{-1} cancels."""
    denoiser = gaussian(key)
    histories, states = jax.random.uniform(key, (7, LAYOUT.size)), jax.random.uniform(key, (7, 5))
    found = local_models(denoiser, LAYOUT, histories, states, batch_size=3)
    means = histories @ denoiser.history_map.T + denoiser.offset[None]
    assert bool(found.stable.all()) and found.jacobians is not None
    assert found.values is not None and found.values_without_constant_columns is not None
    # A step below 1e-5 leaves at most 1e-5 ρ/(1 − ρ), some 2e-4 here.
    np.testing.assert_allclose(found.points, means, atol=5e-4)
    np.testing.assert_allclose(found.deviations, states - means, atol=5e-4)
    largest = np.linalg.eigvalsh(denoiser.covariance)[-1]
    np.testing.assert_allclose(found.radii, largest / (largest + 0.49), rtol=1e-4)
    np.testing.assert_allclose(found.jacobians, np.broadcast_to(denoiser.gain, (7, 5, 5)), atol=1e-5)
    expected = np.linalg.svd(denoiser.history_map, compute_uv=False)
    np.testing.assert_allclose(found.values, np.broadcast_to(expected, (7, 5)), rtol=1e-3)
    observed = np.linalg.svd(denoiser.history_map[:, :3], compute_uv=False)
    np.testing.assert_allclose(found.values_without_constant_columns, np.broadcast_to(observed, (7, 3)), rtol=1e-3)


def test_the_ideal_denoisers_jacobian_is_the_covariance_over_the_noise_and_needs_no_derivative_by_the_history():
    """J_f = Cov(s given y, τ)/σ² at every fixed point of a known σ."""
    states = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    denoiser = IdealDenoiser(ideal_sets(states, 1).belief, Fixed(0.4))
    layout = denoiser.belief.layout
    sets = jnp.array([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 1.0]])
    histories = jnp.concatenate([sets, jnp.ones((2, layout.size - 4))], axis=1)
    found = local_models(denoiser, layout, histories, states[:2], with_values=False)
    assert found.values is None and found.jacobians is not None and bool(found.stable.all())
    for history, point, jacobian in zip(histories, found.points, found.jacobians, strict=True):
        weights = denoiser.probabilities(denoiser.condition(history), point)
        np.testing.assert_allclose(jacobian, jnp.cov(states.T, aweights=weights, ddof=0) / 0.16, atol=1e-5)


def test_dense_and_matrix_free_agree_on_a_network(key):
    network = Network(LAYOUT, 8, 16, 2, "every_layer", "tanh", key=key)
    histories, states = jax.random.uniform(key, (3, LAYOUT.size)), jax.random.uniform(key, (3, 8))
    dense = local_models(network, LAYOUT, histories, states)
    free = local_models(network, LAYOUT, histories, states, dense_limit=0, num_values=3)
    assert dense.values is not None and dense.values_without_constant_columns is not None
    assert free.values is not None and free.values_without_constant_columns is not None
    assert free.jacobians is None and float(free.residuals.max()) < 1e-4
    np.testing.assert_allclose(free.points, dense.points)
    np.testing.assert_allclose(free.radii, dense.radii, rtol=1e-2)
    np.testing.assert_allclose(free.values, dense.values[:, :3], rtol=1e-3)
    np.testing.assert_allclose(
        free.values_without_constant_columns, dense.values_without_constant_columns[:, :3], rtol=1e-3
    )


def test_what_is_unstable_slow_or_not_finite_is_flagged_and_never_nan():
    """Agent 0 contracts, agent 1 doubles its distance, agent 2 creeps; a huge start overflows."""
    layout = HistoryLayout(1, 1, 1, 2)  # its four columns serve as four agents here
    team = Linear(jnp.zeros((4, 2)), jnp.array([0.5, 2.0, 0.9999, 1e5])[:, None, None] * jnp.eye(2)[None])
    states = jnp.full((4, 2), 0.5)
    found = local_models(team, layout, jnp.eye(4), states, max_steps=64)
    np.testing.assert_array_equal(found.stable, [True, False, False, False])
    np.testing.assert_array_equal(found.converged, [True, False, False, False])
    np.testing.assert_allclose(found.radii, [0.5, 2.0, 0.9999, 1e5], rtol=1e-4)
    np.testing.assert_array_equal(found.points[3], states[3])  # the flow overflowed
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(found))


def test_pairs_that_do_not_fit_are_refused(key):
    denoiser = gaussian(key)
    with pytest.raises(InputError, match="columns"):
        local_models(denoiser, HistoryLayout(1, 4, 2, 2), jnp.zeros((2, 6)), jnp.zeros((2, 5)))
    with pytest.raises(InputError, match="shape"):
        local_models(denoiser, LAYOUT, jnp.zeros((2, 6)), jnp.zeros((3, 5)))


def test_distinct_pairs_count_what_occurs_and_where():
    """Two episodes of two steps: the states 0, 1 and 1, 1; agent 0 sees the state, agent 1 nothing."""
    states = np.array([[0.0], [1.0], [1.0], [1.0]], np.float32)
    observations = np.stack([states, np.zeros_like(states)], axis=1)
    episodes = Episodes.from_arrays(
        observations=observations,
        actions=np.zeros((4, 2), np.int32),
        states=states,
        ends=np.array([False, True, False, True]),
    )
    found = distinct_pairs(HistoryDataset(episodes))
    assert found.counts.sum() == 8
    assert sorted(found.counts.tolist()) == [1, 1, 3, 3]
    rows = np.concatenate([found.histories, found.states], axis=1)
    assert len(np.unique(rows, axis=0)) == 4
    seen = {
        (int(found.states[p, 0]), int(e))
        for p, e in zip(found.pair_of_occurrence, found.episode_of_occurrence, strict=True)
    }
    assert seen == {(0, 0), (1, 0), (1, 1)}
    assert len(distinct_pairs(HistoryDataset(episodes), limit=2).counts) == 2
