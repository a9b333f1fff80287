"""Combinations of singly trained agents against hand cases, and the criterion of the intersection's weights."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.baselines.singly import (
    as_product,
    covariance_intersection,
    intersection_weights,
    most_certain,
    own_estimates,
    single_losses,
)
from composite_flow.fusion.answers import Answer, Answers, Prior
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.loss import fusion_losses
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.posterior import posterior

NUMBERS = Prior(jnp.array([0.5, 0.2]), jnp.array([4.0, 10.0]), FeatureTypes((), (), 2))
MIXED = Prior(jnp.array([0.5, 0.25]), jnp.array([4.0, 5.0]), FeatureTypes((1,), (), 2))


def total(each):
    return jax.tree.map(lambda part: jnp.sum(part, axis=0), each)


def test_two_agents_that_are_sure_of_one_feature_each_share_the_weight():
    """P_1 = (9, 1), P_2 = (1, 9): by symmetry w = ½, the precision is 5, the mean nine tenths of the surer one's."""
    means, precisions = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[9.0, 1.0], [1.0, 9.0]])
    np.testing.assert_allclose(intersection_weights(precisions), [0.5, 0.5], rtol=1e-5)
    mean, precision = covariance_intersection(means, precisions)
    np.testing.assert_allclose(mean, [0.9, 0.9], rtol=1e-5)
    np.testing.assert_allclose(precision, [5.0, 5.0], rtol=1e-5)
    np.testing.assert_array_equal(most_certain(means, precisions), [1.0, 1.0])


def test_an_agent_that_is_less_sure_of_everything_is_left_out():
    weights = intersection_weights(jnp.array([[2.0, 3.0], [1.0, 1.0]]))
    np.testing.assert_allclose(weights, [1.0, 0.0], atol=1e-6)


def test_the_weights_minimise_the_determinant_of_the_intersection():
    """Σ_k log Σ_i w_i P_ik on a grid of the simplex of three agents."""
    precisions = np.array([[8.0, 1.0, 2.0], [1.0, 6.0, 1.0], [2.0, 2.0, 5.0]])
    grid = np.array([(a, b, 1 - a - b) for a in np.linspace(0, 1, 201) for b in np.linspace(0, 1 - a, 201)])
    best = grid[np.argmax(np.log(grid @ precisions).sum(axis=1))]
    np.testing.assert_allclose(intersection_weights(jnp.asarray(precisions, jnp.float32)), best, atol=0.01)


def test_agents_that_say_the_same_are_no_surer_together():
    """What the intersection is for: a product of five copies is five times as sure."""
    means, precisions = jnp.full((5, 2), 0.3), jnp.broadcast_to(jnp.array([7.0, 20.0]), (5, 2))
    mean, precision = covariance_intersection(means, precisions)
    np.testing.assert_allclose(mean, [0.3, 0.3], rtol=1e-5)
    np.testing.assert_allclose(precision, [7.0, 20.0], rtol=1e-5)


def test_the_product_is_bayes_rule_with_the_prior_counted_once():
    """Two agents measure s = (s_1, s_2) with known noise: the posterior of all measurements, by conjugacy."""
    noise, seen = np.array([[2.0, 30.0], [6.0, 10.0]]), np.array([[0.1, 0.5], [0.9, 0.3]])
    prior_mean, prior_precision = np.asarray(NUMBERS.mean), np.asarray(NUMBERS.precision)
    alone = (prior_precision * prior_mean + noise * seen) / (prior_precision + noise)
    weight = jnp.array([[3.0, 1.0], [50.0, 0.1]])  # what training on single errors leaves open
    evidence = jnp.asarray(alone - prior_mean, jnp.float32) * (NUMBERS.precision[None] + weight)
    each = Answer(evidence, weight, jnp.asarray(noise, jnp.float32), jnp.zeros((2, 0)))
    means, precisions = own_estimates(NUMBERS, each)
    np.testing.assert_allclose(means, alone, rtol=1e-5)
    np.testing.assert_allclose(precisions, prior_precision + noise, rtol=1e-5)
    mean, variance = posterior(NUMBERS, total(as_product(NUMBERS, each)))
    expected = (prior_precision * prior_mean + (noise * seen).sum(axis=0)) / (prior_precision + noise.sum(axis=0))
    np.testing.assert_allclose(mean, expected, rtol=1e-5)
    np.testing.assert_allclose(1 / variance, prior_precision + noise.sum(axis=0), rtol=1e-5)


def test_log_odds_of_binary_features_add_in_the_product():
    said = np.array([0.7, -0.4])
    evidence = jnp.stack([jnp.zeros(2), jnp.asarray(said, jnp.float32)], axis=1)
    nothing = jnp.zeros((2, 2))
    mean, _ = posterior(MIXED, total(as_product(MIXED, Answer(evidence, nothing, nothing, jnp.zeros((2, 0))))))
    np.testing.assert_allclose(mean, [0.5, 1 / (1 + np.exp(-(np.log(1 / 3) + 0.3)))], rtol=1e-5)


def network(key):
    """Answers of two agents that say something."""
    limits = jnp.zeros(4), jnp.ones(4)
    built = AnswerNetwork(jnp.eye(2, 4, 2), limits, MIXED, width=8, depth=2, key=key)
    where = lambda n: (n.evidence_weights, n.weight_weights, n.precision_weights)  # noqa: E731
    return eqx.tree_at(where, built, tuple(jax.random.normal(k, (8, 2)) for k in jax.random.split(key, 3)))


class OneAgent(Answers):
    """Answers of one of several agents, as if it were the whole team."""

    answers: Answers
    prior: Prior

    def condition(self, history):
        return self.answers.condition(history)

    def answer(self, context):
        return self.answers.answer(context)


@pytest.mark.usefixtures("permissive")
def test_the_loss_is_the_mean_of_the_losses_of_teams_of_one(key):
    answers, states = network(key), jnp.array([[0.4, 1.0], [0.9, 0.0], [0.2, 0.0]])
    histories = jnp.concatenate([jax.random.uniform(key, (3, 2, 2)), jnp.broadcast_to(jnp.eye(2), (3, 2, 2))], axis=2)
    alone = OneAgent(answers, answers.prior)
    expected = [
        eqx.filter_jit(fusion_losses)(alone, histories[:, agent : agent + 1], states, key) for agent in range(2)
    ]
    np.testing.assert_allclose(
        eqx.filter_jit(single_losses)(answers, histories, states, key), sum(expected) / 2, rtol=1e-5
    )
    assert not np.allclose(expected[0], expected[1], rtol=0.01)
