"""Given features stay given; what is given to a team of ideal denoisers, and what that saves."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from teams import Linear, ideal_sensors, joint_histories

from composite_flow.composite.given import Given, give
from composite_flow.composite.reconstruct import reconstruct_batch
from composite_flow.denoiser import check_denoiser
from composite_flow.errors import InputError
from composite_flow.metrics import exact_states
from composite_flow.problems import SMAX, SensorNetwork
from composite_flow.problems.seen_by_all import common_areas, common_features
from composite_flow_paper.table1.common_information import errors_by_sweep

NUM_COMMON = 4
SAMPLES, SWEEPS = 8, 4


@pytest.fixture(scope="module")
def team():
    """Four sensors that all cover four areas, and two of four more each: histories, states, what is common."""
    coverage = np.zeros((4, 8), bool)
    coverage[:, :NUM_COMMON] = True
    for agent in range(4):
        coverage[agent, [NUM_COMMON + agent, NUM_COMMON + (agent + 1) % 4]] = True
    problem = SensorNetwork(coverage, num_targets=2)
    denoiser, states = ideal_sensors(problem), problem.states()
    known = jnp.broadcast_to(common_areas(problem)[None], states.shape)
    return denoiser, joint_histories(denoiser, states), states, known


@pytest.fixture(scope="module")
def samples(team):
    """End points of composite diffusion, with and without what is common."""
    denoiser, histories, states, known = team
    options = {"key": jax.random.key(1), "num_samples": SAMPLES, "num_sweeps": SWEEPS}
    with_given = reconstruct_batch(Given(denoiser), give(histories, known, states), **options).samples
    return reconstruct_batch(denoiser, histories, **options).samples, with_given


def test_common_areas_are_those_of_every_sensor(team):
    assert common_areas(team[0].belief.problem).tolist() == [True] * NUM_COMMON + [False] * 4
    assert not common_areas(SensorNetwork.grid(2, 2)).any()
    unsure = SensorNetwork(np.ones((2, 3), bool), miss=(0.0, 0.5, 0.0))
    assert common_areas(unsure).tolist() == [True, False, True]


def test_it_keeps_the_contract(team, key):
    denoiser, histories, states, known = team
    check_denoiser(Given(denoiser), give(histories, known, states)[3, 0], key)


def test_given_features_are_exact_and_the_rest_is_the_wrapped_denoisers(team, key):
    denoiser, histories, states, known = team
    y = jax.random.normal(key, states.shape)

    @eqx.filter_jit
    def denoise(denoiser, histories, y):
        return jax.vmap(lambda history, y: denoiser.denoise(denoiser.condition(history), y))(histories, y)

    found = denoise(Given(denoiser), give(histories, known, states)[:, 1], y)
    expected = denoise(denoiser, histories[:, 1], jnp.where(known, states, y))
    assert np.array_equal(found, jnp.where(known, states, expected))
    nothing = give(histories, jnp.zeros_like(known), states)
    # 1e-6: the same products, compiled apart
    assert np.allclose(denoise(Given(denoiser), nothing[:, 1], y), denoise(denoiser, histories[:, 1], y), atol=1e-6)
    everything = give(histories, jnp.ones_like(known), states)
    assert np.array_equal(denoise(Given(denoiser), everything[:, 1], y), states)


def test_states_stay_fixed_points(team):
    """s = f(τ, s) for every agent of an ideal team, and so s = f_c(τ, s)."""
    denoiser, histories, states, known = team
    extended = give(histories, known, states)

    @eqx.filter_jit
    def moved(denoiser, histories, state):
        return jax.vmap(lambda history: denoiser.denoise(denoiser.condition(history), state) - state)(histories)

    for row in (0, 9, 27):
        assert np.max(np.abs(moved(Given(denoiser), extended[row], states[row]))) < 1e-6  # float32


def test_composite_diffusion_on_the_private_rest_reaches_the_state(team, samples):
    _, _, states, known = team
    plain, given = samples
    assert np.all(exact_states(given, states[:, None])) and np.all(exact_states(plain, states[:, None]))
    assert np.array_equal(jnp.where(known[:, None], given, 0.0), jnp.where(known, states, 0.0)[:, None] + 0.0 * given)


def test_errors_of_common_features_no_longer_reach_the_private_ones(key):
    """Linear agents, f(τ, y) = s + J (y − s): a common feature that shrinks by 0.9 a hop, and passes 0.4 of it on."""
    state = jnp.array([0.3, 0.7])
    jacobian = jnp.array([[0.9, 0.0], [0.4, 0.5]])
    denoiser = Linear(jnp.tile(state[None], (3, 1)), jnp.tile(jacobian[None], (3, 1, 1)))
    histories, states = jnp.tile(jnp.eye(3)[None], (2, 1, 1)), jnp.tile(state[None], (2, 1))
    known = jnp.array([[True, False]] * 2)
    options = {"key": key, "num_samples": 5, "num_sweeps": 3}
    given = errors_by_sweep(Given(denoiser), give(histories, known, states), states, ~known, **options)
    # what is private shrinks by itself alone: three hops a sweep, squared; 1e-3: float32
    assert np.allclose(given[1:] / given[:-1], 0.5**6, rtol=1e-3)
    plain = errors_by_sweep(denoiser, histories, states, ~known, **options)
    assert np.all(plain > given) and plain[-1] > 100 * given[-1]


def test_what_does_not_fit_is_refused(team):
    _, histories, states, known = team
    with pytest.raises(InputError, match="one row for each joint history"):
        give(histories, known[:3], states[:3])


def test_units_that_every_living_ally_sees():
    """Two zerg allies and three enemies on a line: 4 apart, sight 5."""
    problem = SMAX("zerg_2_vs_3", sight=5.0)
    features = problem.state_size // 5
    problem_features = jax.jit(lambda state: common_features(problem, state))

    def state_of(places, alive):
        units = np.zeros((5, features), np.float32)
        units[:, 0], units[:, 1] = np.array(places) / 32, 0.5
        units[:, 2] = units[:, 4] = units[:, 5] = 1.0
        return jnp.asarray((units * np.array(alive)[:, None]).astype(np.float32).ravel())

    def units_of(places, alive=(1, 1, 1, 1, 1)):
        common = np.asarray(problem_features(state_of(places, alive))).reshape(5, features)
        assert np.array_equal(common.any(axis=1), common.all(axis=1))
        return common[:, 0].tolist()

    places = (10, 14, 12, 17, 18)
    # the enemy at 12 is near both, those at 17 and 18 near the second ally alone
    assert units_of(places) == [True, True, True, False, False]
    # the dead see nothing, and are not seen
    assert units_of(places, (0, 1, 1, 1, 0)) == [False, True, True, True, False]
    assert units_of(places, (0, 0, 1, 1, 1)) == [False] * 5
    assert units_of((1, 30, 2, 3, 4)) == [False] * 5
