"""Clipped losses against hand-computed numbers; choices among available actions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.policy.ppo.loss import divergences, huber_losses, policy_losses, value_losses, weighted_mean
from composite_flow.policy.team import choose, choose_best, entropy, has_choice, log_probability

LOGITS = jnp.array([0.3, 5.0, -0.2, 1.1])
AVAILABLE = jnp.array([True, False, True, True])


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.1, 2.0, -2.2, -2.0),  # within the clip
        (1.5, 2.0, -2.4, 0.0),  # a good action, likelier than 1 + ε: no more reason to go on
        (0.5, 2.0, -1.0, -2.0),  # a good action that became rare: brought back
        (0.5, -2.0, 1.6, 0.0),  # a bad action, rarer than 1 − ε
        (1.5, -2.0, 3.0, 2.0),  # a bad action that became likely: brought back
    ],
)
def test_policy_loss_is_clipped_where_it_would_gain(ratio, advantage, loss, slope):
    def of_ratio(ratio):
        return policy_losses(jnp.log(ratio), jnp.float32(advantage), 0.2)

    value, gradient = jax.value_and_grad(of_ratio)(jnp.float32(ratio))
    np.testing.assert_allclose((value, gradient), (loss, slope), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("value", "old", "target", "loss", "slope"),
    [
        (1.1, 1.0, 2.0, 0.405, -0.9),  # within the clip: (0.9)² / 2
        (1.5, 1.0, 2.0, 0.32, 0.0),  # it moved too far towards the target: the loss at 1.2
        (0.5, 1.0, 2.0, 1.125, -1.5),  # it moved away: the free loss is the larger one
        (0.0, 0.0, 30.0, 250.0, -10.0),  # far off: 10 · (30 − 5)
    ],
)
def test_value_loss_is_the_larger_of_free_and_clipped(value, old, target, loss, slope):
    def of_value(value):
        return value_losses(value, jnp.float32(old), jnp.float32(target), 0.2, 10.0)

    result, gradient = jax.value_and_grad(of_value)(jnp.float32(value))
    np.testing.assert_allclose((result, gradient), (loss, slope), rtol=1e-5, atol=1e-6)


def test_huber_is_square_then_linear_with_one_slope():
    np.testing.assert_allclose(huber_losses(jnp.array([0.0, -2.0, 3.0, -5.0]), 2.0), [0.0, 2.0, 4.0, 8.0])


def test_divergence_is_that_of_the_distributions():
    old, new = jnp.log(jnp.array([0.5, 0.3, 0.2])), jnp.log(jnp.array([0.2, 0.2, 0.6]))
    mean = jnp.sum(jnp.exp(old) * divergences(new - old))
    np.testing.assert_allclose(mean, jnp.sum(jnp.exp(old) * (old - new)), rtol=1e-5)
    assert bool(jnp.all(divergences(new - old) > 0))


def test_weighted_mean_leaves_out_what_has_no_weight():
    assert float(weighted_mean(jnp.array([1.0, 3.0, 99.0]), jnp.array([1.0, 1.0, 0.0]))) == 2.0
    assert float(weighted_mean(jnp.ones(2), jnp.zeros(2))) == 0.0


def test_masked_actions_have_no_probability_and_no_share_in_the_entropy():
    chances = np.exp([float(log_probability(LOGITS, AVAILABLE, jnp.int32(action))) for action in range(4)])
    expected = np.exp(np.asarray(LOGITS)) * np.asarray(AVAILABLE)
    expected = expected / expected.sum()
    np.testing.assert_allclose(chances, expected, rtol=1e-5)
    assert chances[1] == 0.0
    kept = expected[expected > 0]
    np.testing.assert_allclose(entropy(LOGITS, AVAILABLE), -np.sum(kept * np.log(kept)), rtol=1e-5)
    # the likeliest action of all is not available
    assert int(choose_best(LOGITS, AVAILABLE)) == 3
    drawn = jax.vmap(lambda key: choose(key, LOGITS, AVAILABLE))(jax.random.split(jax.random.key(0), 4_000))
    # five standard deviations of a share of 4,000 draws are at most 0.04
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 4_000, expected, atol=0.04)
    assert not bool(jnp.any(drawn == 1))


def test_gradients_pass_by_masked_actions():
    for function in (lambda x: entropy(x, AVAILABLE), lambda x: log_probability(x, AVAILABLE, jnp.int32(2))):
        gradient = jax.grad(function)(LOGITS)
        assert bool(jnp.all(jnp.isfinite(gradient))) and float(gradient[1]) == 0.0
        assert float(jnp.sum(jnp.abs(gradient))) > 0.1


def test_an_only_action_is_certain_and_no_choice():
    only = jnp.array([False, False, True, False])
    assert float(log_probability(LOGITS, only, jnp.int32(2))) == 0.0 == float(entropy(LOGITS, only))
    assert has_choice(jnp.stack([only, AVAILABLE])).tolist() == [False, True]
