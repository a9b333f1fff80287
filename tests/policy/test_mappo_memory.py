"""A memory solves what no policy without one can; an agent without a choice counts nothing."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.policy.mappo import Lesson, _actor_loss, new_networks
from composite_flow.policy.rollout import Piece, Step
from composite_flow.policy.team import entropy
from composite_flow.problems import TabularProblem

pytestmark = pytest.mark.slow

CONFIG = cf.MappoConfig(
    steps=12_800,
    width=16,
    depth=1,
    worlds=64,
    rollout=10,
    piece=5,
    epochs=4,
    minibatches=2,
    learning_rate=5e-3,
    critic_learning_rate=5e-3,
    schedule="linear",
)


def remembered_bit():
    """Two agents see a fair coin, then nothing; both naming the coin in the second step earns 1.

    Hidden states: heads seen, tails seen, heads hidden, tails hidden. Observations: heads, tails, nothing.
    """
    names_coin = np.zeros((4, 2, 2))
    names_coin[2, 0, 0] = names_coin[3, 1, 1] = 1.0
    observation = np.zeros((4, 3, 3))
    observation[[0, 1, 2, 3], [0, 1, 2, 2], [0, 1, 2, 2]] = 1.0
    return TabularProblem(
        2,
        initial=[0.5, 0.5, 0.0, 0.0],
        transition=np.repeat(np.eye(4)[[2, 3, 2, 3]][:, None], 4, axis=1),
        observation=observation.reshape(4, 9),
        rewards=names_coin.reshape(4, 4),
        features=np.eye(4),
        num_steps=2,
    )


def test_memory_solves_what_no_memoryless_policy_can(key):
    problem = remembered_bit()
    # Without a memory an agent in the second step has seen nothing, so its action is one for both sides of the coin.
    # A team's best is reached without chance (the return is linear in each agent's chances), so listing is enough.
    hidden = np.asarray(problem.rewards).reshape(4, 2, 2)[2:]
    memoryless = max(hidden[:, first, second].mean() for first in range(2) for second in range(2))
    assert memoryless == 0.5
    result = cf.train_policy(problem, CONFIG, key=key)
    greedy = dataclasses.replace(result.policy, greedy=True)
    # the third record of an episode is its end, in which nothing is earned
    episodes = cf.collect(problem, 64, key=key, policy=greedy, num_steps=3)
    np.testing.assert_array_equal(np.asarray(episodes.rewards).reshape(64, 3), np.tile([0.0, 1.0, 0.0], (64, 1)))


def test_an_agent_without_a_choice_counts_nothing(key):
    problem = cf.problem_from_text("sensor:2x2,steps=4")
    actor = new_networks(problem, dataclasses.replace(CONFIG, memory="none"), key).actor
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(6, 1, 4, problem.observation_size + 4)).astype(np.float32)
    available = np.ones((6, 1, 4, 3), bool)
    available[:, :, 3, 1:] = False
    flat = jnp.zeros((6, 1))

    @eqx.filter_jit
    def loss(actor, inputs, old):
        actions = jnp.zeros((6, 1, 4), jnp.int32)
        nothing = (None, flat, jnp.zeros((6, 1), jnp.int32))
        steps = Step(
            inputs, *nothing, jnp.asarray(available), actions, old, jnp.zeros((6, 1, 4)), flat, flat, flat > 0, flat > 0
        )
        lesson = Lesson(Piece(jnp.zeros((6, 4, 0)), jnp.zeros((6, 0)), steps), jnp.arange(6.0)[:, None], flat)
        logits = jax.vmap(jax.vmap(actor.step))(jnp.zeros((6, 4, 0)), inputs[:, 0])[1]
        entropies = jax.vmap(jax.vmap(entropy))(logits, jnp.asarray(available[:, 0]))
        return eqx.filter_value_and_grad(_actor_loss, has_aux=True)(actor, lesson, CONFIG), entropies

    old = np.full((6, 1, 4), -1.0, np.float32)
    plain, entropies = loss(actor, jnp.asarray(inputs), jnp.asarray(old))
    # the mean over the three who choose
    np.testing.assert_allclose(plain[0][1][0], np.asarray(entropies)[:, :3].mean(), rtol=1e-5)
    inputs[:, :, 3], old[:, :, 3] = 5.0 * inputs[:, :, 3], -7.0
    other, _ = loss(actor, jnp.asarray(inputs), jnp.asarray(old))
    jax.tree.map(np.testing.assert_array_equal, plain, other)
