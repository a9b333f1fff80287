"""The ideal denoiser against quadrature over the noise level, its limits, and the contract that all denoisers keep."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from composite_flow.denoiser import Fixed, IdealDenoiser, Uniform, check_denoiser
from composite_flow.errors import InputError
from composite_flow.history import HistoryLayout
from composite_flow.linear_gaussian import LinearGaussianDenoiser

LAYOUT = HistoryLayout(length=1, observation_size=1, num_actions=2, num_agents=2)
HISTORY = jnp.array([0.0, 1.0, 1.0, 0.0])  # observation 0, one step, agent 0


class Table(eqx.Module):
    """A belief that depends on the agent alone: one row of log-probabilities for each."""

    states: Float[Array, "states state"]
    log_probabilities: Float[Array, "agents states"]
    layout: HistoryLayout = LAYOUT

    def __call__(self, history):
        return self.log_probabilities[history.agent]


def ideal(states, probabilities, noise=None):
    """The ideal denoiser of a single belief, held by both agents."""
    rows = jnp.log(jnp.stack([jnp.asarray(probabilities)] * 2))
    return IdealDenoiser(Table(jnp.asarray(states), rows), noise or Uniform())


@eqx.filter_jit
def denoise(denoiser, context, y):
    return denoiser.denoise(context, y)


@eqx.filter_jit
def jacobian(denoiser, context, y):
    return jax.jacfwd(lambda point: denoiser.denoise(context, point))(y)


SIMPLEX = [[0.0, 0.0], [1.0, 0.0], [0.2, 1.0]]
PRIOR = [0.5, 0.3, 0.2]


@pytest.mark.parametrize("noise", [Uniform(), Uniform(0.1), Fixed(0.4)])
def test_denoise_is_the_posterior_mean(noise):
    """E[s | y] by summing the joint density of (s, σ, y) over a fine grid of noise levels."""
    states, prior = np.array(SIMPLEX), np.array(PRIOR)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    low = noise.minimum if isinstance(noise, Uniform) else None
    sigma = np.array([0.4]) if low is None else low + (1 - low) * (nodes + 1) / 2
    weights = np.ones(1) if low is None else weights
    denoiser = ideal(SIMPLEX, PRIOR, noise)
    context = denoiser.condition(HISTORY)
    for y in ([0.3, 0.4], [-1.0, 2.0], [0.9, 0.1]):
        squared = np.sum((np.array(y) - states) ** 2, axis=1)
        density = np.exp(-squared[:, None] / (2 * sigma**2)) / sigma**2
        joint = prior * (density @ weights)
        expected = joint @ states / joint.sum()
        np.testing.assert_allclose(denoise(denoiser, context, jnp.array(y)), expected, atol=2e-6)


@pytest.mark.parametrize("dimension", [1, 2, 3, 40])
def test_a_state_is_its_own_fixed_point_and_nothing_is_nan_there(dimension):
    states = jnp.eye(dimension)[: max(1, dimension // 2)]
    denoiser = ideal(
        jnp.concatenate([jnp.zeros((1, dimension)), states]), np.full(len(states) + 1, 1 / (len(states) + 1))
    )
    context = denoiser.condition(HISTORY)
    value = denoise(denoiser, context, states[0])
    matrix = jacobian(denoiser, context, states[0])
    assert np.isfinite(matrix).all()
    # E₁ grows like the logarithm only, so in one dimension a distance that counts as 1e-15 still leaves 1% of weight.
    np.testing.assert_allclose(value, states[0], atol=2e-2 if dimension == 1 else 1e-6)
    if dimension >= 3:
        np.testing.assert_allclose(matrix, 0.0, atol=1e-6)


def test_jacobian_matches_finite_differences():
    with jax.enable_x64():
        states = jax.random.uniform(jax.random.key(1), (6, 4))
        denoiser = ideal(states, np.full(6, 1 / 6))
        context = denoiser.condition(HISTORY.astype(float))
        y, step = jnp.array([0.1, 0.9, -0.3, 0.5]), 1e-5
        columns = [
            (denoise(denoiser, context, y + e) - denoise(denoiser, context, y - e)) / (2 * step)
            for e in step * jnp.eye(4)
        ]
        matrix = jacobian(denoiser, context, y)
        np.testing.assert_allclose(matrix, jnp.stack(columns, axis=1), atol=1e-8)


def test_jacobian_at_a_known_level_is_the_posterior_covariance():
    """∂f/∂y = Cov[s | y, σ]/σ²: symmetric, positive, so that the map is the gradient of a convex function."""
    denoiser = ideal(SIMPLEX, PRIOR, Fixed(0.5))
    context, y = denoiser.condition(HISTORY), jnp.array([0.4, 0.3])
    weights, states = denoiser.probabilities(context, y), jnp.array(SIMPLEX)
    covariance = jnp.cov(states.T, aweights=weights, ddof=0)
    np.testing.assert_allclose(jacobian(denoiser, context, y), covariance / 0.25, atol=1e-5)


def test_the_loss_of_the_two_by_two_network():
    """One target in four areas: an agent that sees two of them knows the state, or is left with two states.

    0.0680 came from 40,000 samples with every weight integrated over σ by Gauss-Legendre (standard error 0.0009).
    """
    denoiser = ideal(np.eye(4), [0.0, 0.0, 0.5, 0.5])
    key_sigma, key_noise = jax.random.split(jax.random.key(0))
    noise = jax.random.uniform(key_sigma, (200_000, 1)) * jax.random.normal(key_noise, (200_000, 4))
    state = jnp.eye(4)[2]
    denoise_each = eqx.filter_jit(jax.vmap(lambda context, y: denoiser.denoise(context, y), in_axes=(None, 0)))
    denoised = denoise_each(denoiser.condition(HISTORY), state[None] + noise)
    unsure = jnp.mean(jnp.sum((denoised - state[None]) ** 2, axis=1))
    assert abs(0.5 * float(unsure) - 0.068) < 0.003  # three standard errors


def test_the_centre_of_the_hypercube_is_a_spurious_stable_point():
    """States that span the space can leave a stable fixed point that is no state: λ = 0.90 for 4 bits."""
    corners = np.stack(np.meshgrid(*[[0.0, 1.0]] * 4), axis=-1).reshape(-1, 4)
    denoiser = ideal(corners, np.full(16, 1 / 16))
    context, centre = denoiser.condition(HISTORY), jnp.full(4, 0.5)
    np.testing.assert_allclose(denoise(denoiser, context, centre), centre, atol=1e-6)
    eigenvalues = jnp.linalg.eigvalsh(jacobian(denoiser, context, centre))
    np.testing.assert_allclose(eigenvalues, 0.90, atol=0.01)


def test_an_impossible_history_gives_nan():
    denoiser = IdealDenoiser(Table(jnp.array(SIMPLEX), jnp.full((2, 3), -jnp.inf)))
    assert np.isnan(denoiser.denoise(denoiser.condition(HISTORY), jnp.zeros(2))).all()


def test_noise_levels_are_checked():
    for make in (lambda: Uniform(1.0), lambda: Uniform(-0.1), lambda: Fixed(0.0), lambda: Fixed(float("nan"))):
        with pytest.raises(InputError):
            make()


def test_the_linear_gaussian_denoiser_is_the_limit_of_many_states():
    """N(m, v) as 2,001 states on a line has the same posterior mean."""
    points = np.linspace(-6, 6, 2001)
    denoiser = ideal(0.3 + 0.5 * points[:, None], np.exp(-(points**2) / 2) / np.exp(-(points**2) / 2).sum(), Fixed(0.7))
    gaussian = LinearGaussianDenoiser(jnp.zeros((1, 4)), jnp.array([0.3]), jnp.array([[0.25]]), 0.7)
    for y in ([-1.0], [0.3], [2.0]):
        exact = gaussian.denoise(gaussian.condition(HISTORY), jnp.array(y))
        np.testing.assert_allclose(denoise(denoiser, denoiser.condition(HISTORY), jnp.array(y)), exact, atol=1e-4)


@jax.custom_batching.custom_vmap
def differs_under_vmap(y):
    """y for one example, −y under `vmap`."""
    return y


@differs_under_vmap.def_vmap
def _(axis_size, in_batched, y):
    return -y, True


class Broken(eqx.Module):
    """Breaks one rule of the contract, by name."""

    fault: str
    weights: Float[Array, "state state"]
    state_size: int = 3

    def condition(self, history):
        return {"weights": self.weights, "number": 1.0}.get(self.fault, history[:1])

    def denoise(self, context, y):
        if self.fault == "shape":
            return y[:2]
        if self.fault == "type":
            return y.astype(jnp.float16)
        if self.fault == "finite":
            return jnp.log(y)
        if self.fault == "random":
            return y * np.random.default_rng().normal()
        if self.fault == "batched":
            return differs_under_vmap(y)
        return self.weights @ y


def test_check_denoiser_accepts_what_keeps_the_contract(key):
    check_denoiser(ideal(SIMPLEX, PRIOR), HISTORY, key)
    check_denoiser(LinearGaussianDenoiser(jnp.ones((2, 4)), jnp.zeros(2), jnp.eye(2), 0.5), HISTORY, key)
    check_denoiser(Broken("nothing", jnp.eye(3)), HISTORY, key)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("shape", "must return shape"),
        ("type", "and type float32"),
        ("finite", "not finite"),
        ("random", "deterministic"),
        ("batched", "vmap"),
        ("weights", "weights belong"),
        ("number", "pytree of JAX arrays"),
    ],
)
def test_check_denoiser_names_what_is_broken(fault, sentence, key):
    with pytest.raises(InputError, match=sentence):
        check_denoiser(Broken(fault, jnp.eye(3)), HISTORY, key)


def test_check_denoiser_wants_the_members(key):
    with pytest.raises(InputError, match="state_size"):
        check_denoiser(jnp.tanh, HISTORY, key)  # type: ignore[arg-type]
