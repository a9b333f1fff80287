"""Sparse answers: they keep the contract, add up as dense ones, and learn what a team knows together."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.baselines.training import train_baseline
from composite_flow.fusion.answers import Answer, Answers, Prior, team_sums
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.joint_steps import OwnSteps
from composite_flow.fusion.loss import fusion_losses
from composite_flow.fusion.posterior import posterior
from composite_flow.fusion.sparse import SparseAnswers, build_sparse_answers
from composite_flow.fusion.structure import answers_settings, empty_answers

MEAN, PRECISION = jnp.array([0.3, 0.4, 0.6, 0.5, 0.2]), jnp.array([1.0, 1.0, 1.0, 4.0, 9.0])
MIXED = FeatureTypes((0,), ((1, 3),), 5)  # binary, one of two, two numbers
SLOTS = np.array([[0, 4, 1], [3, 5, 3], [5, 5, 5]])  # the second speaks of 3 twice, the third of nothing


@pytest.fixture
def answers(key):
    """Three agents; histories of two columns, the mask, and the identity."""
    usual = jnp.array([[0.2, 0.4, 1.0], [0.5, 0.1, 1.0], [0.9, 0.9, 1.0]])
    limits = jnp.zeros(3), jnp.array([1.0, 2.0, 1.0])
    built = SparseAnswers(SLOTS, usual, limits, Prior(MEAN, PRECISION, MIXED), width=8, key=key)
    drawn = [jax.random.normal(k, (8, 3)) for k in jax.random.split(key, 3)]
    return eqx.tree_at(
        lambda a: (a.evidence_weights, a.weight_weights, a.precision_weights, a.everywhere_weights),
        built,
        (drawn[0], 0.1 * drawn[1], 0.1 * drawn[2], jnp.arange(8.0) / 8),
    )


@pytest.fixture
def histories(key):
    seen = jnp.append(jax.random.uniform(key, (3, 2)), jnp.ones((3, 1)), axis=1)
    return jnp.concatenate([seen, jnp.eye(3)], axis=1)


def assert_same(found: Answer, expected: Answer):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)


def test_the_contract_is_kept_and_a_mean_history_says_nothing_new(answers):
    assert isinstance(answers, Answers)
    usual = jnp.append(answers.mean_histories, jnp.eye(3), axis=1)
    said = Answers.answer_each(answers, usual)
    np.testing.assert_allclose(said.evidence, 0.0, atol=1e-5)
    np.testing.assert_array_equal(said.weight > 0, [[False] * 4 + [True], [False] * 3 + [True, False], [False] * 5])
    assert said.free.shape == (3, 0)


def test_untrained_weights_are_drawn_about_zero(key):
    """U[−1, 1] / √fan_in, of three columns beside the identity."""
    slots, own, means = np.array([[0, 1]] * 200), 3, jnp.full((200, 3), 0.5)
    drawn = SparseAnswers(
        slots, means, (jnp.zeros(own), jnp.ones(own)), Prior(MEAN, PRECISION, MIXED), 8, 2, "silu", key=key
    )
    for weights in (drawn.embeddings, drawn.history_weights):
        assert float(jnp.max(jnp.abs(weights))) <= 3**-0.5 and abs(float(jnp.mean(weights))) < 0.1
    assert drawn.embeddings.shape == (200, 16) and float(jnp.min(drawn.embeddings)) < -0.99 * 3**-0.5


def test_their_structure_as_json_makes_answers_of_the_same_shapes(answers):
    """Three agents, three columns beside the identity, three slots, and layers of eight units."""
    settings = json.loads(json.dumps(answers_settings(answers)))
    sizes = [settings[name] for name in ("num_agents", "own_size", "num_slots", "width", "depth")]
    assert sizes == [3, 3, 3, 8, len(answers.hidden_weights) + 1]
    shapes = jax.tree.map(lambda leaf: leaf.shape, answers)
    assert jax.tree.map(lambda leaf: leaf.shape, empty_answers(settings)) == shapes


def test_the_team_at_once_answers_as_each_agent_alone_with_or_without_identities(answers, histories):
    alone = Answers.answer_each(answers, histories)
    assert_same(answers.answer_each(histories), alone)
    assert_same(answers.answer_each(histories[:, :3]), alone)


def test_sums_of_teams_are_those_of_dense_answers(answers, histories):
    teams = jnp.array([[True, False, False], [True, True, True], [False, True, True]])
    assert_same(answers.team_sums(histories, teams), team_sums(answers.answer_each(histories), teams))


def test_what_is_sent_stands_for_a_whole_answer(answers, histories):
    """Slots of one feature add up, empty ones are dropped; one number is added everywhere, times P_0 for numbers."""
    sent, whole = answers.say_each(histories), answers.answer_each(histories)
    unit = np.array([1.0, 1.0, 1.0, 4.0, 9.0])
    expected = np.asarray(sent.everywhere)[:, None] * unit
    np.testing.assert_allclose(whole.evidence[2], expected[2], rtol=1e-5)
    expected[1, 3] += float(sent.evidence[1, 0] + sent.evidence[1, 2])
    np.testing.assert_allclose(whole.evidence[1], expected[1], rtol=1e-5)
    np.testing.assert_allclose(whole.weight[1, 3], sent.weight[1, 0] + sent.weight[1, 2], rtol=1e-5)
    np.testing.assert_allclose(whole.precision[0, 4], sent.precision[0, 1], rtol=1e-5)
    np.testing.assert_array_equal(sent.weight[0, jnp.array([0, 2])], 0.0)  # not of numbers


def test_formulas_against_float64(answers, histories):
    """One agent in numpy: the trunk with the agent's embedding, centred on its mean history."""

    def hidden(own):
        scaled = np.asarray(own, np.float64) / [1.0, 2.0, 1.0]
        first, second = np.split(scaled @ np.asarray(answers.history_weights) + np.asarray(answers.embeddings[0]), 2)
        return np.maximum(np.maximum(first, 0) @ np.asarray(answers.hidden_weights[0]) + second, 0)

    here, usual = hidden(histories[0, :3]), hidden(answers.mean_histories[0])
    weight = 9.0 * np.exp(4 * here @ np.asarray(answers.weight_weights))[1]
    said = (here - usual) @ np.asarray(answers.evidence_weights)
    sent = answers.say_each(histories)
    np.testing.assert_allclose(sent.weight[0, 1], weight, rtol=1e-4)
    np.testing.assert_allclose(sent.evidence[0], [said[0], weight * said[1], said[2]], rtol=1e-3)
    np.testing.assert_allclose(sent.everywhere[0], (here - usual) @ np.arange(8) / 8, rtol=1e-3)


class WithoutSums(Answers):
    """The same answers, one agent at a time."""

    prior: Prior
    inner: SparseAnswers

    def condition(self, history):
        return self.inner.condition(history)

    def answer(self, context):
        return self.inner.answer(context)


def test_the_loss_takes_any_answers(answers, histories, key):
    states = jnp.array([[1.0, 0.0, 1.0, 0.7, 0.1], [0.0, 1.0, 0.0, 0.2, 0.3]])
    batch = jnp.stack([histories, histories[::-1]]).at[1, :, 3:].set(jnp.eye(3))
    losses = [
        eqx.filter_jit(fusion_losses)(each, batch, states, key)
        for each in (answers, WithoutSums(answers.prior, answers))
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [False, True], ids=["log-odds", "numbers"])
def test_a_team_of_few_words_learns_the_exact_state(key, numbers):
    """4×4 sensors, two targets; the same features as numbers, by squared error."""
    dataset = cf.HistoryDataset(cf.collect(cf.SensorNetwork.grid(4, 4, num_targets=2), 256, key=key))
    train, _, test = dataset.split(key=key)
    untrained = build_sparse_answers(train, width=32, key=key)
    if numbers:
        untrained = eqx.tree_at(lambda a: a.prior.types, untrained, FeatureTypes((), (), 24))
    settings = cf.TrainingConfig(batch=64, steps=400, learning_rate=4e-3, warmup=50, average=0.99, evaluate_every=400)
    trained = train_baseline(lambda _: untrained, OwnSteps(train), settings, key=key, losses=fusion_losses).last
    np.testing.assert_array_equal(trained.slots, untrained.slots)
    joint = test.joint(test.steps[:300])
    teams = jnp.ones((1, 16), bool)
    sums = eqx.filter_jit(lambda a, each: jax.vmap(lambda h: a.team_sums(h, teams))(each))(trained, joint.histories)
    mean = jax.vmap(lambda total: posterior(trained.prior, total)[0])(jax.tree.map(lambda part: part[:, 0], sums))
    assert float(jnp.mean(cf.exact_states(mean, joint.states))) > 0.98
