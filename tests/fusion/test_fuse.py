"""Sums of answers against closed forms: an information filter, exact beliefs, products of independent features."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answer, Prior, prior_of
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.fuse import fuse, taking_part
from composite_flow.fusion.ideal import IdealAnswers, LinearGaussianAnswers, fuse_beliefs

MIXED = FeatureTypes((0, 1), ((2, 5),), 7)  # two binary features, one of three, two numbers


@pytest.fixture
def prior(key):
    mean = jnp.array([0.2, 0.7, 0.5, 0.3, 0.2, 0.4, 0.6])
    return Prior(mean, jnp.full(7, 9.0), MIXED)


@pytest.fixture
def answers(key):
    keys = jax.random.split(key, 4)
    positive = [jnp.exp(jax.random.normal(k, (6, 7))) for k in keys[:2]]
    return Answer(jax.random.normal(keys[2], (6, 7)), *positive, jax.random.normal(keys[3], (6, 2)))


def all_of(count):
    return jnp.ones(count, bool)


def test_order_changes_nothing_but_rounding(prior, answers):
    whole = fuse(prior, answers, all_of(6))
    for order in itertools.islice(itertools.permutations(range(6)), 0, 720, 101):
        other = fuse(prior, jax.tree.map(lambda part, order=order: part[jnp.array(order)], answers), all_of(6))
        np.testing.assert_allclose(other.mean, whole.mean, rtol=1e-5)
        np.testing.assert_allclose(other.variance, whole.variance, rtol=1e-5)


def test_a_subset_by_mask_is_a_subset_by_removal(prior, answers):
    chosen = [1, 2, 5]
    masked = fuse(prior, answers, jnp.asarray(taking_part(6, chosen)))
    removed = fuse(prior, jax.tree.map(lambda part: part[jnp.array(chosen)], answers), all_of(3))
    np.testing.assert_allclose(masked.mean, removed.mean, rtol=1e-6)
    np.testing.assert_allclose(masked.variance, removed.variance, rtol=1e-6)
    assert int(masked.messages) == 3 and masked.message_bytes == 4 * (3 * 2 + 5 + 2)


def test_who_does_not_take_part_is_not_read(prior, answers):
    broken = jax.tree.map(lambda part: part.at[0].set(jnp.nan), answers)
    assert jnp.all(jnp.isfinite(fuse(prior, broken, jnp.asarray(taking_part(6, [3, 1]))).mean))


def test_logits_of_the_prior_are_log_odds_and_log_probabilities(prior):
    mean = np.asarray(prior.mean, np.float64)
    expected = [*np.log(mean[:2] / (1 - mean[:2])), *np.log(mean[2:5]), 0.0, 0.0]
    np.testing.assert_allclose(prior.logits, expected, rtol=1e-5, atol=1e-6)


def test_formulas_by_type(prior, answers):
    found = fuse(prior, answers, all_of(6))
    total = np.asarray(answers.evidence, np.float64).sum(axis=0)
    mean = np.asarray(prior.mean, np.float64)
    np.testing.assert_allclose(found.mean[:2], 1 / (1 + (1 - mean[:2]) / mean[:2] * np.exp(-total[:2])), rtol=1e-5)
    weighed = mean[2:5] * np.exp(total[2:5])
    np.testing.assert_allclose(found.mean[2:5], weighed / weighed.sum(), rtol=1e-5)
    weight = np.asarray(answers.weight, np.float64).sum(axis=0)[5:]
    np.testing.assert_allclose(found.mean[5:], mean[5:] + total[5:] / (9 + weight), rtol=1e-5)
    precision = np.asarray(answers.precision, np.float64).sum(axis=0)[5:]
    np.testing.assert_allclose(found.variance[5:], 1 / (9 + precision), rtol=1e-5)
    np.testing.assert_allclose(found.variance[:2], found.mean[:2] * (1 - found.mean[:2]), rtol=1e-5)


def test_silence_leaves_the_prior(prior):
    nothing = Answer(*(jnp.zeros((6, size)) for size in (7, 7, 7, 0)))
    np.testing.assert_allclose(fuse(prior, nothing, all_of(6)).mean, prior.mean, rtol=1e-5)


def test_the_information_filter_is_fusion_where_information_is_diagonal(key):
    """H_i picks features, R_i is diagonal: float64 least squares on all observations gives the same."""
    generator = np.random.default_rng(1)
    mean, precision = generator.normal(size=3), generator.uniform(0.5, 2.0, 3)
    maps = np.stack([np.diag([1.5, 0, 0]), np.diag([0, 2.0, 0.5]), np.diag([0.3, 1, 1])])
    noise = np.stack([np.diag(generator.uniform(0.5, 4.0, 3)) for _ in maps])
    seen = generator.normal(size=(3, 3))
    information = np.diag(precision) + sum(h.T @ r @ h for h, r in zip(maps, noise, strict=True))
    vector = precision * mean + sum(h.T @ r @ o for h, r, o in zip(maps, noise, seen, strict=True))
    prior = Prior(jnp.asarray(mean, jnp.float32), jnp.asarray(precision, jnp.float32), FeatureTypes((), (), 3))
    team = LinearGaussianAnswers(prior, jnp.asarray(maps, jnp.float32), jnp.asarray(noise, jnp.float32))
    found = fuse(
        prior, team.answer_each(jnp.asarray(np.concatenate([seen, np.eye(3)], axis=1), jnp.float32)), all_of(3)
    )
    np.testing.assert_allclose(found.mean, np.linalg.solve(information, vector), rtol=1e-5)
    np.testing.assert_allclose(found.variance, np.diag(np.linalg.inv(information)), rtol=1e-5)


@pytest.mark.parametrize("miss", [0.0, 0.3])
def test_whole_beliefs_add_up_to_the_joint_belief(key, miss):
    problem = cf.SensorNetwork.grid(2, 3, num_targets=2, miss=miss)
    batch = cf.HistoryDataset(cf.collect(problem, 32, key=key)).joint(np.arange(32))
    each = cf.exact_belief(problem, batch.structured).log_probabilities
    joint = cf.exact_belief(problem, batch.structured, joint=True).probabilities
    prior = jnp.log(problem.initial_probabilities())
    found = jax.vmap(lambda beliefs: fuse_beliefs(beliefs, prior, all_of(6)))(each)
    np.testing.assert_allclose(jnp.exp(found), joint, atol=1e-5)


def test_a_whole_belief_alone_is_the_agents_own(key):
    problem = cf.SensorNetwork.grid(2, 2, num_targets=1, miss=0.2)
    batch = cf.HistoryDataset(cf.collect(problem, 8, key=key)).joint(np.arange(8))
    each = cf.exact_belief(problem, batch.structured).log_probabilities
    found = fuse_beliefs(each[0], jnp.log(problem.initial_probabilities()), jnp.asarray(taking_part(4, [2])))
    np.testing.assert_allclose(jnp.exp(found), jnp.exp(each[0, 2]), atol=1e-6)


def test_an_ideal_agent_alone_says_its_exact_marginals(key):
    problem = cf.SensorNetwork.grid(3, 3, num_targets=2, miss=0.3)
    dataset = cf.HistoryDataset(cf.collect(problem, 8, key=key))
    batch, states = dataset.joint(np.arange(8)), np.asarray(problem.states())
    prior = prior_of(states, FeatureTypes(tuple(range(states.shape[1])), (), states.shape[1]))
    ideal = IdealAnswers(cf.BeliefModel(problem, dataset.layout), prior)
    belief = cf.exact_belief(problem, batch.structured)
    for agent in range(9):
        found = fuse(prior, ideal.answer_each(batch.histories[0]), jnp.asarray(taking_part(9, [agent])))
        np.testing.assert_allclose(found.mean, belief.probabilities[0, agent] @ belief.states, atol=1e-5)


@pytest.mark.parametrize(("wrong", "said"), [([], "empty"), ([9], "agent 9"), ([-1], "agent -1"), ([1, 1], "twice")])
def test_participants_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(InputError, match=said):
        taking_part(6, wrong)
