"""What every problem must keep, whatever its world: shapes, bounds of probability, one result for one key."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from composite_flow.problems import Problem, RandomPolicy


@eqx.filter_jit
def drawn(problem: Problem, key, count: int):
    """One step from a fixed world, `count` times: worlds, rewards, ends, observations of the fixed world."""
    key_reset, key_act, key_draw = jax.random.split(key, 3)
    world = problem.reset(key_reset)
    view = problem.observe(key_reset, world)
    _, actions = RandomPolicy().act(key_act, (), view, problem.available(world))

    def draw(key):
        key_step, key_observe = jax.random.split(key)
        moved, reward, over = problem.step(key_step, world, actions)
        return problem.state(moved), reward, over, problem.observe(key_observe, world)

    return world, actions, jax.vmap(draw)(jax.random.split(key_draw, count))


def assert_contract(problem: Problem, key, count: int):
    """Hold a problem to its contract; returns what `drawn` gave."""
    world, actions, (states, rewards, ends, views) = result = drawn(problem, key, count)
    assert views.shape == (count, problem.num_agents, problem.observation_size)
    assert states.shape == (count, problem.state_size) == (count, len(problem.state_names))
    assert len(set(problem.state_names)) == problem.state_size
    assert rewards.shape == ends.shape == (count,) and ends.dtype == bool
    for features in (states, rewards, views):
        assert features.dtype == jnp.float32 and bool(jnp.all(jnp.isfinite(features)))
    available = problem.available(world)
    assert available.shape == (problem.num_agents, problem.num_actions) and available.dtype == bool
    assert bool(jnp.all(jnp.any(available, axis=1)))
    assert bool(jnp.all(available[jnp.arange(problem.num_agents), actions]))

    again = drawn(problem, key, count)
    for first, second in zip(jax.tree.leaves(result), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(first, second)
    return result
