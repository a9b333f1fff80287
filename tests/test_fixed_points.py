"""Fixed points against closed forms: linear-Gaussian maps, two states at a fixed noise level, exact beliefs."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float
from scipy import stats

from composite_flow.errors import InputError
from composite_flow.fixed_points import FixedPoints, find_fixed_points, polish, shared_fixed_points


class LinearGaussian(eqx.Module):
    """The posterior mean of s ~ N(τ, Σ) given y = s + N(0, I): f(y) = τ + Σ (Σ + I)^{-1} (y − τ)."""

    covariance: Float[Array, "state state"]

    @property
    def state_size(self) -> int:
        return self.covariance.shape[0]

    def condition(self, history):
        return history

    def denoise(self, context, y):
        noisy = self.covariance + jnp.eye(self.state_size)
        return context + self.covariance @ jnp.linalg.solve(noisy, y - context)


class TwoStates(eqx.Module):
    """The posterior mean of s = ±1 given y = s + N(0, σ²): f(y) = tanh(y/σ² + τ), τ half the log-odds."""

    sigma: float
    state_size: int = 1

    def condition(self, history):
        return history

    def denoise(self, context, y):
        return jnp.tanh(y / self.sigma**2 + context)


def test_a_gaussian_posterior_has_one_fixed_point_its_mean(key):
    root = jax.random.normal(key, (3, 3))
    covariance, mean = root @ root.T, jnp.array([0.3, -0.2, 0.9])
    found = find_fixed_points(LinearGaussian(covariance), mean, key=key, num_starts=64, max_steps=2000, max_points=8)
    largest = jnp.linalg.eigvalsh(covariance)[-1]
    assert found.num_stable == 1
    np.testing.assert_allclose(found.points[0], mean, atol=1e-5)
    np.testing.assert_allclose(found.radii[0], largest / (largest + 1), rtol=1e-5)
    assert (found.masses[0], found.unassigned) == (1, 0)
    assert not found.mask[1:].any() and (found.radii[1:] == jnp.inf).all()


def test_two_states_at_a_fixed_noise_level(key):
    """Stable points solve y = tanh(y/σ²), each gets half the starts, its radius is f'(y) = (1 − y²)/σ²."""
    found = find_fixed_points(TwoStates(0.8), jnp.zeros(1), key=key, num_starts=2000, max_points=8)
    point = 0.9
    for _ in range(200):
        point = np.tanh(point / 0.64)
    assert found.num_stable == 2
    np.testing.assert_allclose(np.sort(found.points[:2, 0]), [-point, point], atol=1e-6)
    np.testing.assert_allclose(found.radii[:2], (1 - point**2) / 0.64, rtol=1e-5)
    assert np.abs(found.masses[0] - 0.5) < 3 * found.mass_errors[0]
    np.testing.assert_allclose(found.mass_errors[0], np.sqrt(0.25 / 2000), rtol=1e-2)


def test_histories_are_found_as_if_alone_and_shared_points_are_the_intersection(key):
    """Odds of the first agent leave both states, those of the second one state alone."""
    denoiser, histories = TwoStates(0.8), jnp.array([[0.0], [2.0]])
    both = find_fixed_points(denoiser, histories, key=key, num_starts=500, max_points=8)
    np.testing.assert_array_equal(both.num_stable, [2, 1])
    shared = shared_fixed_points(both, radius=0.2)
    assert jnp.sum(shared.mask) == 1
    pair = (jnp.max(both.points[0]), both.points[1, 0, 0])
    np.testing.assert_allclose(shared.points[shared.mask][0, 0], np.mean(pair), rtol=1e-6)
    np.testing.assert_allclose(shared.spreads[shared.mask][0], pair[1] - pair[0], rtol=1e-4)
    assert not shared_fixed_points(both, radius=0.01).mask.any()


def test_shares_that_are_not_assigned_are_told(key):
    still = find_fixed_points(
        LinearGaussian(10.0 * jnp.eye(3)), jnp.zeros(3), key=key, num_starts=64, max_steps=3, max_points=8
    )
    assert (still.unconverged, still.unassigned, still.num_stable) == (1, 1, 0)
    full = find_fixed_points(TwoStates(0.8), jnp.zeros(1), key=key, num_starts=500, max_points=1)
    assert full.unconverged == 0
    np.testing.assert_allclose(full.unassigned + full.masses[0], 1, rtol=1e-6)
    assert 0.4 < full.unassigned < 0.6


@pytest.mark.parametrize("dense_limit", [512, 0])
def test_polishing_lowers_the_residual(key, dense_limit):
    denoiser, mean = LinearGaussian(jnp.diag(jnp.array([2.0, 0.1]))), jnp.array([0.5, 0.5])
    start = mean + 0.01
    polished = polish(denoiser, mean, start, key=key, dense_limit=dense_limit)
    # Newton is exact on a linear map; four plain steps shrink the error by the radius 2/3 each.
    expected = 0.0 if dense_limit else 0.01 * (2 / 3) ** 4
    np.testing.assert_allclose(polished.y[0] - mean[0], expected, atol=1e-7)
    np.testing.assert_allclose(polished.radius, 2 / 3, rtol=1e-5)
    np.testing.assert_allclose(
        polished.residual, jnp.linalg.norm(denoiser.denoise(mean, polished.y) - polished.y), atol=1e-7
    )


def test_masses_are_those_of_starts_of_the_given_spread(key):
    """The unstable point −u parts the basins, so that starts N(0, σ²) end above it with probability Φ(u/σ)."""
    unstable = 0.2
    drift = np.arctanh(-unstable) + unstable / 0.64  # half the log-odds with f(−u) = −u
    found = find_fixed_points(
        TwoStates(0.8), jnp.array([drift], jnp.float32), key=key, num_starts=2000, sigma=0.3, max_points=8
    )
    above = found.masses[jnp.argmax(found.points[:, 0])]
    np.testing.assert_allclose(above, stats.norm.cdf(unstable / 0.3), atol=4 * np.sqrt(0.19 / 2000))


class Jumping(eqx.Module):
    """f(y) = −1/16 but 0 at −1/16 and 5 at 0: a flow that has made a short step, and then leaves."""

    state_size: int = 1

    def condition(self, history):
        return history

    def denoise(self, context, y):
        return jnp.where(y == 0, 5.0, jnp.where(y == -1 / 16, 0.0, -1 / 16))


def test_a_short_step_to_a_point_that_the_flow_leaves_is_no_fixed_point(key):
    """All starts rest at 0 with a zero Jacobian and the residual 5."""
    found = find_fixed_points(Jumping(), jnp.zeros(1), key=key, num_starts=16, tolerance=0.1, max_points=2)
    assert (found.masses[0], found.points[0, 0], found.radii[0], found.residuals[0]) == (1, 0, 0, 5)
    assert found.num_stable == 0


@pytest.mark.parametrize("dense_limit, steps", [(512, 0), (0, 1)])
def test_polishing_stays_near_where_it_began(key, dense_limit, steps):
    """From 0.1 away, Newton would leave for the fixed point; of the plain steps by 2/3, the first stays within 0.05."""
    denoiser, mean = LinearGaussian(jnp.diag(jnp.array([2.0, 0.1]))), jnp.array([0.5, 0.5])
    start = mean.at[0].add(0.1)
    polished = polish(denoiser, mean, start, key=key, max_shift=0.05, dense_limit=dense_limit)
    np.testing.assert_allclose(polished.y, mean.at[0].add(0.1 * (2 / 3) ** steps), atol=1e-6)


def by_hand(points, stable):
    """Fixed points of two agents, all rows used."""
    rows = jnp.zeros(stable.shape)
    return FixedPoints(
        points=points,
        mask=jnp.ones(stable.shape, bool),
        stable=stable,
        radii=jnp.where(stable, 0.5, 2.0),
        residuals=rows,
        masses=rows + 1 / 3,
        mass_errors=rows,
        num_starts=jnp.full(2, 30, jnp.int32),
        unassigned=jnp.zeros(2),
        unconverged=jnp.zeros(2),
    )


def test_points_that_are_not_stable_for_every_agent_are_not_shared():
    """Of the points 1, 2 and 2.05 of both agents, only 2 is stable for both; 2.05 lies beside it."""
    points = jnp.tile(jnp.array([[1.0], [2.0], [2.05]])[None], (2, 1, 1))
    agents = by_hand(points, jnp.array([[True, True, False], [False, True, True]]))
    assert shared_fixed_points(agents, radius=0.1).mask.tolist() == [False, True, False]


def test_bad_input_is_answered_by_a_sentence(key):
    denoiser = TwoStates(0.8)
    with pytest.raises(InputError, match="num_starts must be positive, not 0"):
        find_fixed_points(denoiser, jnp.zeros(1), key=key, num_starts=0)
    with pytest.raises(InputError, match="finite"):
        find_fixed_points(denoiser, jnp.array([jnp.nan]), key=key)
