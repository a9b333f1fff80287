"""Holding a problem to its contract, for tests that look at what was drawn as well."""

import jax.numpy as jnp

from composite_flow.problems import Problem
from composite_flow.problems.check import check_problem, draw_steps


def assert_contract(problem: Problem, key, count: int):
    """Hold a problem to its contract; returns what `draw_steps` gave: world, actions, draws."""
    check_problem(problem, key, count)
    world, actions, _ = result = draw_steps(problem, key, count)
    assert bool(jnp.all(problem.available(world)[jnp.arange(problem.num_agents), actions]))
    return result
