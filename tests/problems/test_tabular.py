"""Tabular problems: their classics, and the checks of their tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.errors import InputError
from composite_flow.problems import RandomPolicy, TabularProblem

GOOD = {
    "initial": np.array([0.5, 0.5]),
    "transition": np.full((2, 4, 2), 0.5),
    "observation": np.full((2, 9), 1 / 9),
    "rewards": np.zeros((2, 4)),
    "features": np.eye(2),
}


def test_xor_bits_are_fair_alone_and_decide_together():
    problem = TabularProblem.xor()
    for agent in (0, 1):
        for view in jnp.eye(2):
            np.testing.assert_allclose(jnp.exp(problem.log_likelihood(jnp.array(agent), view)), 0.5)
    equal, different = jnp.eye(2), jnp.eye(2)[::-1]
    np.testing.assert_allclose(jnp.exp(problem.joint_log_likelihood(equal)), [0, 0.5])
    np.testing.assert_allclose(jnp.exp(problem.joint_log_likelihood(jnp.stack([different[0]] * 2))), [0.5, 0])
    np.testing.assert_array_equal(problem.transition_probabilities(jnp.array([1, 0])), [[0, 1], [1, 0]])
    np.testing.assert_array_equal(problem.transition_probabilities(jnp.array([1, 1])), np.eye(2))


def test_an_agent_does_not_know_what_the_other_flips():
    """Under the random policy the other flips half of the time, whatever one does."""
    problem = TabularProblem.xor()
    moves = problem.local_transition_probabilities(jnp.array(0), jnp.eye(2)[1], jnp.array(1), RandomPolicy())
    np.testing.assert_allclose(moves, 0.5)


def test_tiger_is_the_benchmark():
    """The published numbers: hearing 0.85, rewards −2, 20, −50, −100, −101, 9."""
    problem = TabularProblem.tiger()
    left, right, listen = 0, 1, 2

    def reward(state, first, second):
        return float(problem.rewards[state, 3 * first + second])

    assert reward(0, listen, listen) == reward(3, listen, listen) == -2
    assert reward(0, left, left) == reward(2, right, right) == -50
    assert reward(0, right, right) == reward(2, left, left) == 20
    assert reward(0, left, right) == reward(2, left, right) == -100
    assert reward(0, left, listen) == reward(2, listen, right) == -101
    assert reward(0, listen, right) == reward(2, left, listen) == 9
    heard_left = jnp.exp(problem.joint_log_likelihood(jnp.eye(2)[jnp.array([0, 0])]))
    np.testing.assert_allclose(heard_left, [0.25, 0.85**2, 0.25, 0.15**2], rtol=1e-6)
    np.testing.assert_array_equal(problem.transition_probabilities(jnp.array([2, 2])), np.eye(4)[[1, 1, 3, 3]])
    np.testing.assert_allclose(problem.transition_probabilities(jnp.array([2, 0])), np.tile([0.5, 0, 0.5, 0], (4, 1)))


def test_steps_follow_the_tables(key):
    problem = TabularProblem.tiger()
    world = problem.reset(key)
    world, reward, over = problem.step(key, world, jnp.array([2, 2]))
    assert float(reward) == -2 and not bool(over) and int(world.index) % 2 == 1
    short = TabularProblem.xor(num_steps=1)
    assert bool(short.step(key, short.reset(key), jnp.array([0, 0]))[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transition": np.full((2, 4, 2), 0.4)}, "transition must be a distribution"),
        ({"initial": np.array([1.5, -0.5])}, "initial must be a distribution"),
        ({"observation": np.full((2, 8), 1 / 8)}, "8 joint observations"),
        ({"rewards": np.zeros((2, 3))}, "shapes"),
        ({"features": np.full((2, 2), np.nan)}, "finite"),
        ({"num_steps": 0}, "at least one"),
        ({"state_names": ["only one"]}, "names"),
    ],
)
def test_bad_tables_are_refused(change, message):
    TabularProblem(2, **GOOD)
    with pytest.raises(InputError, match=message):
        TabularProblem(2, **(GOOD | change))


def test_keys_decide():
    problem = TabularProblem.tiger()
    draws = [problem.observe(jax.random.key(seed), problem.reset(jax.random.key(1))) for seed in (3, 3)]
    np.testing.assert_array_equal(draws[0], draws[1])
