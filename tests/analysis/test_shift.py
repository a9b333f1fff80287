"""Theorem 5 on smooth networks: first-order predictions, second-order errors, both bounds; errors by distance."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from composite_flow.analysis.shift import compare_shifts, errors_by_distance
from composite_flow.analysis.shift_bound import shift_error_bound
from composite_flow.errors import InputError
from composite_flow.flow import MAX_STEPS, converge, settle
from composite_flow.linear_gaussian import LinearGaussianDenoiser
from composite_flow.network import Network

KEY = jax.random.key(0)


class Bent(eqx.Module):
    """f(τ, y) = N y + τ² e_0 / 2: a nilpotent N, without eigenvalues but 0, and the constant second derivative 1."""

    jacobian: Float[Array, "state state"]

    @property
    def state_size(self):
        return self.jacobian.shape[0]

    def condition(self, history):
        return jnp.zeros(self.state_size).at[0].set(history[0] ** 2 / 2)

    def denoise(self, context, y):
        return self.jacobian @ y + context


def network(activation):
    """Widened weights, so that fixed points move and second derivatives count."""
    built = Network(3, 4, 16, 2, "every_layer", activation, key=KEY)
    return eqx.tree_at(lambda n: n.state_weights, built, tuple(1.6 * weights for weights in built.state_weights))


def points_on_a_ray(denoiser):
    """Fixed points for histories at growing distance from the first, along one direction."""
    shares = np.array([0.0, 0.05, 0.1, 0.4], np.float32)
    histories = jnp.array([[0.2, 0.5, 0.8]]) + shares[:, None] * jnp.array([[1.0, -0.5, 0.7]])
    points, converged = settle(denoiser, histories, jnp.full((4, 4), 0.5), tolerance=1e-6, max_steps=2048)
    assert converged.all()
    return histories, jnp.asarray(points)


def test_a_linear_denoisers_prediction_is_exact():
    slope = jax.random.normal(KEY, (4, 3))
    denoiser = LinearGaussianDenoiser(slope, jnp.zeros(4), 0.5 * jnp.eye(4), 1.0)
    histories = jax.random.normal(KEY, (3, 3))
    found = compare_shifts(denoiser, histories, histories @ slope.T, np.array([[0, 1], [1, 2], [2, 2]]), batch_size=2)
    np.testing.assert_array_equal(found.valid, [True, True, False])  # no shift, no relative error
    np.testing.assert_allclose(found.predicted[:2], (histories[1:] - histories[:2]) @ slope.T, atol=1e-4)
    assert float(found.errors.max()) < 1e-4 and float(found.jacobian_distances.max()) < 1e-6
    assert found.relative_errors[2] == 0


def test_errors_are_of_second_order_and_below_the_corrected_bound():
    denoiser = network("tanh")
    histories, points = points_on_a_ray(denoiser)
    found = compare_shifts(denoiser, histories, points, np.array([[0, 1], [0, 2], [0, 3]]), tolerance=1e-6)
    assert bool(found.valid.all())
    bound = eqx.filter_jit(shift_error_bound)
    bounds = [bound(denoiser, histories[0], histories[k], points[0], points[k]) for k in (1, 2, 3)]
    for row, (error, one) in enumerate(zip(found.errors, bounds, strict=True)):
        np.testing.assert_allclose(one.error, error, atol=2e-5)
        squared = found.history_distances[row] ** 2 + jnp.sum(found.real[row] ** 2)
        np.testing.assert_allclose(one.distance**2, squared, rtol=1e-5)
        assert one.error <= one.bound
        assert one.error > 1e-4  # far above the fixed points' accuracy, so that the bound is tested at all
    # Doubling the distance multiplies a second-order error by about four.
    assert 2.8 < bounds[1].error / bounds[0].error < 5.2
    reached = converge(denoiser, denoiser.condition(histories[2]), points[0], tolerance=1e-6, max_steps=MAX_STEPS)
    np.testing.assert_allclose(reached.y, points[2], atol=1e-4)


def test_the_bound_is_attained_where_the_second_derivative_is_constant_and_the_printed_one_is_not_a_bound():
    """With a nilpotent N, ‖(I − N)^{-1}‖ is above 1/(1 − λ_max) = 1: the printed bound lies below the error."""
    jacobian = jnp.zeros((3, 3)).at[1, 0].set(3.0).at[2, 1].set(3.0)
    denoiser = Bent(jacobian)
    resolvent = np.linalg.inv(np.eye(3) - np.asarray(jacobian))
    shifted = jnp.asarray(resolvent[:, 0] / 2, jnp.float32)  # τ goes from 0 to 1
    found = shift_error_bound(denoiser, jnp.zeros(1), jnp.ones(1), jnp.zeros(3), shifted)
    distance = np.sqrt(1 + np.sum(np.asarray(shifted) ** 2))
    np.testing.assert_allclose(found.error, np.linalg.norm(shifted), rtol=1e-5)
    np.testing.assert_allclose(found.inverse_norm, np.linalg.norm(resolvent, 2), rtol=1e-5)
    np.testing.assert_allclose(found.largest_curvature, 1 / distance, rtol=1e-5)
    np.testing.assert_allclose(found.bound, np.linalg.norm(resolvent, 2) / 2 * distance, rtol=1e-4)
    np.testing.assert_allclose(found.printed_bound, distance / 2, rtol=1e-4)
    assert found.printed_bound < found.error < found.bound


def test_a_rectified_network_is_told_why_it_has_no_bound():
    built = Network(3, 4, 8, 2, key=KEY)
    with pytest.raises(InputError, match="0/0"):
        shift_error_bound(built, jnp.zeros(3), jnp.ones(3), jnp.zeros(4), jnp.zeros(4))


def test_errors_of_a_rectified_network_by_distance():
    """The error of every group is that of its own comparisons; the nearest are predicted best."""
    denoiser = network("relu")
    histories, points = points_on_a_ray(denoiser)
    found = compare_shifts(denoiser, histories, points, np.array([[0, 1], [0, 2], [0, 3]]), tolerance=1e-6)
    assert bool(found.valid.all())
    table = errors_by_distance(found, found.history_distances, num_groups=3)
    np.testing.assert_array_equal(table.counts, [1, 1, 1])
    np.testing.assert_allclose(table.distances, found.history_distances)
    np.testing.assert_allclose(table.medians, found.relative_errors)
    together = errors_by_distance(found, found.history_distances, num_groups=1)
    np.testing.assert_allclose(together.medians, np.median(found.relative_errors))
    nothing = errors_by_distance(eqx.tree_at(lambda f: f.valid, found, jnp.zeros(3, bool)), found.history_distances)
    assert len(nothing.medians) == 0


@pytest.mark.parametrize("pairs", [np.array([[0, 4]]), np.array([[-1, 0]]), np.array([[0, 1, 2]])])
def test_pairs_that_do_not_exist_are_refused(pairs):
    with pytest.raises(InputError, match="Pairs"):
        compare_shifts(network("tanh"), jnp.zeros((4, 3)), jnp.zeros((4, 4)), pairs)
