"""Learned answers: they start at the prior, agree with the contract, and learn what a team knows together."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.baselines.training import train_baseline
from composite_flow.fusion.answers import Answer, Answers, Prior, prior_of, team_sums
from composite_flow.fusion.features import FeatureTypes, find_types
from composite_flow.fusion.fuse import fuse, taking_part
from composite_flow.fusion.ideal import fuse_beliefs
from composite_flow.fusion.joint_steps import JointSteps
from composite_flow.fusion.loss import draw_teams, fusion_losses, team_losses
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.training.loss import arrays_of

TYPES = FeatureTypes((0,), ((1, 3),), 5)


@pytest.fixture
def network(key):
    """Two agents, histories of three columns and the agent's number."""
    histories = jnp.concatenate([jnp.array([[0.2, 0.4, 0.6], [0.5, 0.1, 0.3]]), jnp.eye(2)], axis=1)
    prior = Prior(jnp.array([0.3, 0.4, 0.6, 0.5, 0.2]), jnp.array([1.0, 1.0, 1.0, 4.0, 9.0]), TYPES)
    built = AnswerNetwork(histories, (jnp.zeros(5), jnp.ones(5)), prior, width=8, depth=3, num_free=2, key=key)
    said = jax.random.normal(key, built.evidence_weights.shape)
    return eqx.tree_at(lambda n: n.evidence_weights, built, said)


def test_a_mean_history_says_nothing_new(network):
    """Centring: l, η and the free numbers are 0 at the mean history of the agent."""
    answers = network.answer_each(network.mean_histories)
    np.testing.assert_allclose(answers.evidence, 0.0, atol=1e-6)
    np.testing.assert_allclose(answers.free, 0.0, atol=1e-6)
    np.testing.assert_allclose(answers.weight, jnp.array([[0, 0, 0, 4.0, 9.0]] * 2), rtol=1e-6)


def test_the_team_at_once_answers_as_each_agent_alone(network, key):
    histories = jnp.concatenate([jax.random.uniform(key, (2, 3)), jnp.eye(2)], axis=1)
    together, alone = network.answer_each(histories), Answers.answer_each(network, histories)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), together, alone)


def test_small_teams_are_prefixes_of_every_size(key):
    teams = np.asarray(draw_teams(key, 5))
    np.testing.assert_array_equal(teams.sum(axis=1), [1, 2, 3, 4, 5])
    assert np.all(teams[1:] >= teams[:-1])


def test_large_teams_are_the_whole_and_some_parts_none_of_them_empty():
    teams = np.asarray(jax.vmap(lambda k: draw_teams(k, 20))(jax.random.split(jax.random.key(3), 64)))
    assert teams[:, 0].all() and teams.any(axis=2).all()
    assert 0.2 < teams[:, 1:].mean() < 0.8


def test_sums_of_teams_are_those_of_fuse(network, key):
    histories = jnp.concatenate([jax.random.uniform(key, (2, 3)), jnp.eye(2)], axis=1)
    answers = network.answer_each(histories)
    teams = jnp.array([[True, False], [True, True]])
    sums = team_sums(answers, teams)
    for place, team in enumerate(teams):
        expected = jax.tree.map(lambda part, team=team: part[np.asarray(team)].sum(axis=0), answers)
        jax.tree.map(lambda a, b, place=place: np.testing.assert_allclose(a[place], b, rtol=1e-5), sums, expected)


def test_many_steps_at_once_are_each_alone(network, key):
    """All histories are rows of one matrix; each step keeps its own histories and teams."""
    histories = jax.random.uniform(key, (3, 2, 5)).at[:, :, 3:].set(jnp.eye(2))
    teams = jnp.array([[[True, False]], [[True, True]], [[False, True]]])
    together = network.batch_sums(histories, teams)
    for step in range(3):
        alone = team_sums(Answers.answer_each(network, histories[step]), teams[step])
        jax.tree.map(
            lambda a, b, step=step: np.testing.assert_allclose(a[step], b, rtol=1e-4, atol=1e-5), together, alone
        )


def test_the_loss_beside_numbers_is_the_squared_error_of_every_feature(network):
    """And the claim of the numbers, whose error is 0 here: s = s̄."""
    state = jnp.array([1.0, 0.0, 1.0, 0.5, 0.2])
    nothing = jax.tree.map(lambda part: jnp.zeros_like(part[:1]), network.answer_each(network.mean_histories))
    loss = float(team_losses(network.prior, nothing, state)[0])
    claim = 0.02 * 0.5 * -(np.log(4.0) + np.log(9.0))
    assert loss == pytest.approx(0.7**2 + 0.4**2 + 0.4**2 + claim, rel=1e-4)
    off = float(team_losses(network.prior, nothing, state.at[3].add(0.1))[0])
    assert off == pytest.approx(loss + 0.1**2 * (1 + 0.02 * 0.5 * 4.0), rel=1e-4)


def test_the_loss_without_numbers_is_the_negative_log_likelihood():
    prior = Prior(jnp.array([0.3, 0.4, 0.6]), jnp.ones(3), FeatureTypes((0,), ((1, 3),), 3))
    nothing = Answer(*(jnp.zeros((1, size)) for size in (3, 3, 3, 0)))
    loss = float(team_losses(prior, nothing, jnp.array([1.0, 0.0, 1.0]))[0])
    assert loss == pytest.approx(-np.log(0.3) - np.log(0.6), rel=1e-4)


@pytest.mark.slow
def test_a_team_learns_the_exact_state(key):
    """3×3 sensors, two targets: who sees both, who sees one, and who sees none say together what is so."""
    problem = cf.SensorNetwork.grid(3, 3, num_targets=2)
    dataset = cf.HistoryDataset(cf.collect(problem, 512, key=key))
    train, _, test = dataset.split(key=key)
    histories, states = eqx.filter_jit(lambda data: JointSteps(data).sample(key, 2048))(arrays_of(train))
    prior = prior_of(np.asarray(states), find_types(np.asarray(states)))
    limits = histories.min(axis=(0, 1)), histories.max(axis=(0, 1))
    settings = cf.TrainingConfig(batch=128, steps=400, learning_rate=4e-3, warmup=50, average=0.99, evaluate_every=400)
    learned = train_baseline(
        lambda key: AnswerNetwork(jnp.mean(histories, axis=0), limits, prior, width=64, depth=2, key=key),
        JointSteps(train),
        settings,
        key=key,
        losses=fusion_losses,
    ).last
    joint = test.joint(test.steps[:300])
    answers = eqx.filter_jit(lambda network, each: jax.vmap(network.answer_each)(each))(learned, joint.histories)

    def estimates(participants):
        team = jnp.asarray(taking_part(9, participants))
        return jax.vmap(lambda answer: fuse(prior, answer, team).mean)(answers)

    assert float(jnp.mean(cf.exact_states(estimates(None), joint.states))) > 0.99
    # a part of the team: as often the likeliest marginal decision as the exact belief of its histories
    some = [0, 4, 7]
    whole = cf.exact_belief(problem, joint.structured)
    log_prior = jnp.log(problem.initial_probabilities())
    exact = jax.vmap(lambda each: fuse_beliefs(each, log_prior, jnp.asarray(taking_part(9, some))))(
        whole.log_probabilities
    )
    marginals = jnp.exp(exact) @ whole.states
    assert float(jnp.mean((estimates(some) - marginals) ** 2)) < 0.01
