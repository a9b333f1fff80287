"""Flows against closed forms: linear-Gaussian posteriors, preserved quantiles, densities that integrate to one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from jaxtyping import Array, Float
from scipy.stats import multivariate_normal

from composite_flow.denoiser import Fixed, IdealDenoiser, Uniform
from composite_flow.errors import InputError
from composite_flow.flow import converge, flow
from composite_flow.history import HistoryLayout
from composite_flow.linear_gaussian import LinearGaussianDenoiser
from composite_flow.numerics.kernel import log_uniform_kernel
from composite_flow.probability_ode import discretisation_error, probability_flow, scheduled_probability_flow, score
from composite_flow.push_forward import push_forward_log_density

COVARIANCE = np.array([[0.5, 0.2, 0.0], [0.2, 0.3, 0.1], [0.0, 0.1, 0.4]])
MEAN = np.array([0.2, -0.1, 0.6])
START = np.array([1.0, -0.5, 0.3])
SIGMA = 0.7


class Known(eqx.Module):
    """Equally likely states, whatever the history."""

    states: Float[Array, "states state"]
    layout: HistoryLayout = HistoryLayout(length=1, observation_size=1, num_actions=2, num_agents=1)

    def __call__(self, history):
        return jnp.zeros(self.states.shape[0], self.states.dtype)


def ideal(states, noise):
    """The ideal denoiser of equally likely states and its only context."""
    states = jnp.asarray(states, float)
    return IdealDenoiser(Known(states), noise), jnp.zeros(len(states))


def gaussian(covariance=COVARIANCE, mean=MEAN, sigma=SIGMA):
    """A linear-Gaussian denoiser and its context."""
    mean = jnp.asarray(mean, float)
    denoiser = LinearGaussianDenoiser(jnp.zeros((len(mean), 2)), mean, jnp.asarray(covariance, float), sigma)
    return denoiser, denoiser.condition(jnp.zeros(2))


def spectral(function):
    """The function of COVARIANCE that acts on its eigenvalues, applied to START − MEAN, from MEAN."""
    values, vectors = np.linalg.eigh(COVARIANCE)
    return MEAN + vectors @ (function(values) * (vectors.T @ (START - MEAN)))


def test_iterating_a_linear_map_is_its_power():
    trajectory = eqx.filter_jit(flow)(*gaussian(), jnp.array(START, jnp.float32), 5)
    assert trajectory.shape == (6, 3)
    for step, y in enumerate(trajectory):
        np.testing.assert_allclose(y, spectral(lambda v, k=step: (v / (v + SIGMA**2)) ** k), atol=1e-6)


def test_convergence_stops_early_and_says_how():
    """Under `vmap` each start reports its own count, the first k with ‖J^k (y − m)‖ (1 − J) below the tolerance."""
    denoiser, context = gaussian(covariance=[[1.0]], mean=[0.0], sigma=1.0)  # y ← y/2
    run = eqx.filter_jit(
        jax.vmap(lambda y, limit: converge(denoiser, context, y, tolerance=1e-3, max_steps=limit), in_axes=(0, 0))
    )
    end = run(jnp.array([[1.0], [8.0], [0.0], [8.0]]), jnp.array([50, 50, 50, 4]))
    np.testing.assert_array_equal(end.num_steps, [10, 13, 1, 4])
    np.testing.assert_allclose(end.change, [2.0**-10, 2.0**-10, 0.0, 0.5])
    np.testing.assert_allclose(end.y[:, 0], [2.0**-10, 2.0**-10, 0.0, 0.5])


def test_score_is_the_gradient_of_the_log_marginal():
    """Miyasawa (A.1), for five states in three dimensions at a known noise level."""
    with jax.enable_x64():
        states = jax.random.uniform(jax.random.key(0), (5, 3))
        denoiser, context = ideal(states, Fixed(0.4))

        def log_marginal(y):
            return logsumexp(-jnp.sum((y[None] - states) ** 2, axis=1) / (2 * 0.4**2))

        y = jnp.array(START)
        np.testing.assert_allclose(score(denoiser, context, y, 0.4), jax.grad(log_marginal)(y), rtol=1e-12)


def test_what_the_blind_iteration_climbs():
    """Σ_s p(s) ∫ σ^{2−d} exp(−‖y − s‖²/2σ²) dσ never falls; the marginal, which A.2 says is climbed, does."""
    with jax.enable_x64():
        corners = np.stack(np.meshgrid(*[[0.0, 1.0]] * 4), axis=-1).reshape(-1, 4)
        denoiser, context = ideal(corners, Uniform())

        def heights(y):
            squared = jnp.sum((y[None] - denoiser.belief.states) ** 2, axis=1)
            return jnp.stack([logsumexp(log_uniform_kernel(squared, d, 0.0)) for d in (2, 4)])

        starts = jax.random.normal(jax.random.key(0), (64, 4))
        paths = jax.vmap(lambda y: jax.vmap(heights)(flow(denoiser, context, y, 20)))
        climbs = np.diff(jax.jit(paths)(starts), axis=1)
    assert climbs[..., 0].min() > -1e-9
    assert climbs[..., 1].min() < -0.01


def test_blind_probability_flow_of_a_linear_map():
    """dy/dt' = (B − I)(y − m) ends at m + exp((B − I) t)(y − m); a tighter tolerance comes nearer."""
    with jax.enable_x64():
        denoiser, context = gaussian()
        solve = eqx.filter_jit(
            lambda tolerance: probability_flow(denoiser, context, jnp.array(START), time=3.0, tolerance=tolerance)
        )
        expected = spectral(lambda v: np.exp(3.0 * (v / (v + SIGMA**2) - 1)))
        errors = [np.max(np.abs(solve(tolerance) - expected)) for tolerance in (1e-4, 1e-7, 1e-10)]
    assert errors[0] < 1e-3 and errors[1] < errors[0] / 30 and errors[2] < errors[1] / 30


def test_the_euler_step_of_length_one_is_the_iteration():
    """y + h (f − y) tends to the solution with order one as h falls, and is f itself at h = 1."""
    with jax.enable_x64():
        denoiser, context = gaussian()
        y, solved = jnp.array(START), spectral(lambda v: np.exp(v / (v + SIGMA**2) - 1))
        velocity = (probability_flow(denoiser, context, y, time=1e-6, tolerance=1e-12) - y) / 1e-6
        np.testing.assert_allclose(y + velocity, flow(denoiser, context, y, 1)[1], atol=1e-5)
        ends = []
        for pieces in (8, 16, 32):
            point = y
            for _ in range(pieces):
                point = point + (denoiser.denoise(context, point) - point) / pieces
            ends.append(np.linalg.norm(point - solved))
    assert 1.8 < ends[0] / ends[1] < 2.2 and 1.8 < ends[1] / ends[2] < 2.2


def test_scheduled_probability_flow_scales_a_gaussian():
    """It carries N(m, Σ + σ₀²I) to N(m, Σ + σ₁²I) along the eigenvectors of Σ."""
    with jax.enable_x64():
        denoiser, context = gaussian()
        end = scheduled_probability_flow(
            denoiser, context, jnp.array(START), sigma_start=1.5, sigma_end=0.01, tolerance=1e-9
        )
        np.testing.assert_allclose(end, spectral(lambda v: np.sqrt((v + 0.01**2) / (v + 1.5**2))), atol=1e-7)


def test_scheduled_probability_flow_preserves_quantiles():
    """In one dimension the flow that carries p_σ₀ to p_σ₁ keeps every point's distribution function."""
    with jax.enable_x64():
        states = jnp.array([0.0, 0.3, 1.0])
        denoiser, context = ideal(states[:, None], Fixed(1.0))
        starts = jnp.linspace(-1.5, 2.5, 9)[:, None]
        solve = jax.vmap(
            lambda y: scheduled_probability_flow(denoiser, context, y, sigma_start=1.0, sigma_end=0.1, tolerance=1e-9)
        )
        ends = jax.jit(solve)(starts)

        def distribution(y, sigma):
            return jnp.mean(norm.cdf((y - states[None]) / sigma), axis=1)

        np.testing.assert_allclose(distribution(ends, 0.1), distribution(starts, 1.0), atol=1e-6)


def test_discretisation_error_of_a_linear_map():
    """|J^ℓ − exp((J − 1) ℓ)| |y| for y ← J y, and against the schedule |J^ℓ − √((v + σ₁²)/(v + σ₀²))| |y|."""
    denoiser, context = gaussian(covariance=[[1.0]], mean=[0.0], sigma=1.0)
    starts = jnp.array([[1.0], [4.0]])
    blind = discretisation_error(denoiser, context, starts, num_steps=2, radius=0.25)
    np.testing.assert_allclose(blind.distances, (np.exp(-1.0) - 0.25) * np.array([1, 4]), atol=1e-3)
    assert blind.share_apart == 0.5
    narrow = discretisation_error(denoiser, context, starts, num_steps=2, radius=0.6)
    assert narrow.share_apart == 0.0
    scheduled = discretisation_error(denoiser, context, starts, num_steps=2, radius=0.25, sigma_start=1.0)
    exact = np.sqrt((1 + np.exp(-4.0)) / 2) - 0.25
    np.testing.assert_allclose(scheduled.distances, exact * np.array([1, 4]), atol=1e-3)
    with pytest.raises(InputError, match="leave `sigma_start` out"):
        discretisation_error(Folding(), jnp.zeros(1), starts, num_steps=2, radius=0.25, sigma_start=1.0)


class Folding(eqx.Module):
    """y ← |y| − 1 in every feature, as a ReLU network can."""

    state_size: int = 1

    def condition(self, history):
        return history

    def denoise(self, context, y):
        return jnp.abs(y) - 1


def test_push_forward_of_a_gaussian_is_a_gaussian():
    """N(0, I) through ℓ affine maps of matrix B and fixed point m is N(m − B^ℓ m, B^2ℓ)."""
    with jax.enable_x64():
        denoiser, context = gaussian()
        starts = jax.random.normal(jax.random.key(0), (5, 3))
        result = push_forward_log_density(denoiser, context, starts, lambda y: jnp.sum(norm.logpdf(y)), 3)
        power = np.linalg.matrix_power(np.asarray(denoiser.gain), 3)
        expected = multivariate_normal.logpdf(result.y, MEAN - power @ MEAN, power @ power.T)
        np.testing.assert_allclose(result.log_density, expected, rtol=1e-9)


def inverse(denoiser, context, outputs, num_steps):
    """Starts whose flow ends at the outputs; each step's map is the gradient of a convex function.

    Newton from the output, halving any step that does not bring the image nearer.
    """

    def undo(z):
        def newton(y, _):
            residual = denoiser.denoise(context, y) - z
            jacobian = jax.jacfwd(lambda point: denoiser.denoise(context, point))(y)
            trials = y[None] - 0.5 ** jnp.arange(12.0)[:, None] * jnp.linalg.solve(jacobian, residual)[None]
            sizes = jnp.linalg.norm(jax.vmap(lambda t: denoiser.denoise(context, t))(trials) - z[None], axis=1)
            return trials[jnp.argmin(sizes)], None

        return jax.lax.scan(newton, jnp.mean(denoiser.belief.states, axis=0), length=40)[0]

    for _ in range(num_steps):
        outputs = jax.jit(jax.vmap(undo))(outputs)
    return outputs


def log_narrow(y):
    """N(0.3, 0.4² I): narrow, so that the density of end points falls to zero at the edge of the hull."""
    return jnp.sum(norm.logpdf(y, 0.3, 0.4))


@pytest.mark.parametrize("num_steps", [1, 2])
def test_push_forward_density_integrates_to_one_on_an_interval(num_steps):
    """The flow of states 0, 0.4, 1 at a fixed σ maps the line onto an interval inside (0, 1)."""
    with jax.enable_x64():
        denoiser, context = ideal([[0.0], [0.4], [1.0]], Fixed(0.6))
        far = jnp.array([[-3.0], [3.5]])  # eight standard deviations of the start
        low, high = np.asarray(jax.vmap(lambda y: flow(denoiser, context, y, num_steps)[-1])(far))[:, 0]
        nodes, weights = np.polynomial.legendre.leggauss(300)
        outputs = jnp.asarray(low + (high - low) * (nodes[:, None] + 1) / 2)
        result = push_forward_log_density(
            denoiser, context, inverse(denoiser, context, outputs, num_steps), log_narrow, num_steps
        )
        np.testing.assert_allclose(result.y, outputs, atol=1e-9)
        total = np.sum(weights * np.exp(result.log_density)) * (high - low) / 2
    np.testing.assert_allclose(total, 1.0, atol=1e-4)


def test_push_forward_density_integrates_to_one_on_a_triangle():
    """Three states in general position in the plane: the map's image is the inside of their triangle."""
    with jax.enable_x64():
        corners = np.array([[0.0, 0.0], [1.0, 0.1], [0.3, 0.9]])
        denoiser, context = ideal(corners, Fixed(0.8))
        nodes, weights = np.polynomial.legendre.leggauss(40)
        u, v = np.meshgrid((nodes + 1) / 2, (nodes + 1) / 2)
        edges = corners[1:] - corners[0]
        # Duffy's map of the unit square: corner + u (first edge + v (second − first)), of Jacobian u · 2 · area
        outputs = corners[0] + u[..., None] * ((1 - v)[..., None] * edges[0] + v[..., None] * edges[1])
        weights = np.outer(weights, weights) / 4 * u * abs(np.linalg.det(edges))
        outputs = jnp.asarray(outputs.reshape(-1, 2))
        result = push_forward_log_density(denoiser, context, inverse(denoiser, context, outputs, 1), log_narrow, 1)
        np.testing.assert_allclose(result.y, outputs, atol=1e-9)
        total = np.sum(weights.ravel() * np.exp(result.log_density))
    np.testing.assert_allclose(total, 1.0, atol=1e-3)


def test_push_forward_says_where_there_is_no_density(key):
    starts = jax.random.normal(key, (16, 2))
    with pytest.raises(InputError, match="not of full rank"):  # one-hot states lie on a line
        push_forward_log_density(*ideal(np.eye(2), Fixed(0.5)), starts, log_narrow, 1)
    with pytest.raises(InputError, match="folds"):
        push_forward_log_density(Folding(), jnp.zeros(1), starts[:, :1], log_narrow, 1)
