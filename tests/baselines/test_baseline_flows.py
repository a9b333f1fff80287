"""Baselines against the closed forms that linear agents give, and their number of denoiser calls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from teams import Linear

from composite_flow.baselines.flows import BASELINES, baseline_batch, one_step
from composite_flow.composite.reconstruct import reconstruct
from composite_flow.errors import InputError

NUM_AGENTS, NUM_SAMPLES, NUM_SWEEPS = 3, 5, 4


@pytest.fixture(scope="module")
def linear():
    key_points, key_jacobians = jax.random.split(jax.random.key(0))
    jacobians = 0.4 * jax.random.normal(key_jacobians, (NUM_AGENTS, 2, 2))
    return Linear(jax.random.normal(key_points, (NUM_AGENTS, 2)), jacobians)


def run(name, denoiser, key):
    return BASELINES[name](denoiser, jnp.eye(NUM_AGENTS), key=key, num_samples=NUM_SAMPLES, num_sweeps=NUM_SWEEPS)


def flow(denoiser, agent, y, steps):
    """p + J^ℓ (y − p)."""
    power = np.linalg.matrix_power(np.asarray(denoiser.jacobians[agent]), steps)
    point = denoiser.points[agent][None]
    return point + (y - point) @ power.T


@pytest.fixture(scope="module")
def noise(linear):
    """The noise that `reconstruct` starts from with the same key: what its first agent received in a single sweep."""
    options = {"num_samples": NUM_SAMPLES, "num_sweeps": 1, "order": "fixed"}
    return reconstruct(linear, jnp.eye(NUM_AGENTS), key=jax.random.key(0), **options).path[0]


def test_individual_flows_follow_one_agent_each_for_all_calls_and_agents_take_even_turns(linear, noise, key):
    samples = run("individual_flow", linear, key)
    alone = jnp.stack([flow(linear, agent, noise, NUM_AGENTS * NUM_SWEEPS) for agent in range(NUM_AGENTS)])
    match = np.linalg.norm(np.asarray(alone - samples[None]), axis=-1) < 1e-4
    assert match.any(axis=0).all()
    assert set(match.sum(axis=1)) <= {1, 2}  # five samples over three agents


def test_mean_of_individual_flows_in_closed_form(linear, noise, key):
    expected = sum(flow(linear, agent, noise, NUM_SWEEPS) for agent in range(NUM_AGENTS)) / NUM_AGENTS
    assert np.allclose(run("mean_of_individual_flows", linear, key), expected, atol=1e-4)


def test_parallel_mean_in_closed_form(linear, noise, key):
    """The mean of linear maps is linear: y ← J̄ y + mean((I − J_i) p_i)."""
    mean = jnp.mean(linear.jacobians, axis=0)
    offset = jnp.mean(linear.points - jnp.einsum("ijk,ik->ij", linear.jacobians, linear.points), axis=0)
    y = noise
    for _ in range(NUM_SWEEPS):
        y = y @ mean.T + offset[None]
    assert np.allclose(run("parallel_mean", linear, key), y, atol=1e-4)


def test_one_step_averages_over_agents_and_fresh_noises(linear, noise, key):
    """A single round starts from the shared noise; many rounds tend to the answer at the mean noise, 0."""
    once = one_step(linear, jnp.eye(NUM_AGENTS), key=key, num_samples=NUM_SAMPLES, num_sweeps=1)
    expected = sum(flow(linear, agent, noise, 1) for agent in range(NUM_AGENTS)) / NUM_AGENTS
    assert np.allclose(once, expected, atol=1e-5)
    many = one_step(linear, jnp.eye(NUM_AGENTS), key=key, num_samples=NUM_SAMPLES, num_sweeps=4096)
    center = sum(flow(linear, agent, jnp.zeros((1, 2)), 1) for agent in range(NUM_AGENTS)) / NUM_AGENTS
    scale = np.linalg.norm(np.mean(np.asarray(linear.jacobians), axis=0))
    assert np.allclose(many, center, atol=5 * scale / 4096**0.5)  # five standard errors


@pytest.mark.parametrize("name", BASELINES)
def test_a_batch_is_its_members_with_split_keys(linear, name, key):
    histories = jnp.broadcast_to(jnp.eye(NUM_AGENTS)[None], (2, NUM_AGENTS, NUM_AGENTS))
    options = {"num_samples": NUM_SAMPLES, "num_sweeps": NUM_SWEEPS}
    batch = baseline_batch(BASELINES[name], linear, histories, key=key, **options)
    for samples, key_one in zip(batch, jax.random.split(key, 2), strict=True):
        assert np.allclose(samples, run(name, linear, key_one), atol=1e-5)


def test_unusable_input_is_refused(linear, key):
    with pytest.raises(InputError, match="num_sweeps"):
        baseline_batch(one_step, linear, jnp.zeros((1, 3, 3)), key=key, num_sweeps=0)
    with pytest.raises(InputError, match="empty"):
        baseline_batch(one_step, linear, jnp.zeros((0, 3, 3)), key=key)
