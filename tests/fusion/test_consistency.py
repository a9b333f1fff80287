"""Whether a history goes with what the others say: learned, beside the exact ratio of probabilities."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from composite_flow.data import Episodes, HistoryDataset
from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answer, Prior, prior_of
from composite_flow.fusion.consistency import Consistency, others_of
from composite_flow.fusion.familiar import Familiar
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.training.consistency import Elsewhen, Learning, consistency_losses, learn_consistency
from composite_flow.training.familiarity import familiar_histories, learn_watch

AGENTS, SEEN, LENGTH = 3, 8, 6


def one_of_eight(num_episodes, seed):
    """Every agent sees which of eight things there is, rightly in 9 of 10 steps, and the things change at random."""
    random = np.random.default_rng(seed)
    steps = num_episodes * LENGTH
    truth = random.integers(0, SEEN, steps)
    wrong = random.random((steps, AGENTS)) < 0.1
    seen = np.where(wrong, random.integers(0, SEEN, (steps, AGENTS)), truth[:, None])
    episodes = Episodes.from_arrays(
        observations=np.eye(SEEN, dtype=np.float32)[seen],
        actions=np.zeros((steps, AGENTS), np.int32),
        states=np.eye(SEEN, dtype=np.float32)[truth],
        ends=np.arange(steps) % LENGTH == LENGTH - 1,
    )
    return HistoryDataset(episodes)


@pytest.fixture(scope="module")
def seeing():
    """Answers that tell what their agent sees: the right weights, set by hand."""
    data = one_of_eight(2000, 0)
    states = np.asarray(data.windows.states)
    prior = prior_of(states, FeatureTypes((), ((0, SEEN),), SEEN))
    layout = data.layout
    limits = jnp.zeros(layout.size), jnp.ones(layout.size)
    means = jnp.zeros((AGENTS, layout.size)).at[:, -AGENTS:].set(jnp.eye(AGENTS))
    network = AnswerNetwork(means, limits, prior, width=SEEN, depth=1, key=jax.random.key(0))
    right = np.log(0.9 + 0.1 / SEEN) - np.log(0.1 / SEEN)
    history = jnp.zeros_like(network.history_weights).at[:SEEN].set(jnp.eye(SEEN))

    parts = lambda n: (n.history_weights, n.evidence_weights)  # noqa: E731
    return eqx.tree_at(parts, network, (history, right * jnp.eye(SEEN))), data


@pytest.fixture(scope="module")
def learned(seeing):
    answers, data = seeing
    familiar = familiar_histories(data, 10**9)
    return learn_consistency(answers, familiar, data, 500, key=jax.random.key(1))


def test_the_learned_ratio_is_that_of_the_probabilities(seeing, learned):
    """A mismatched observation is anything, so that T = log 8 p(o_i | what the others see)."""
    answers, data = seeing
    histories = data.joint(np.arange(600)).histories
    each = jax.vmap(answers.answer_each)(histories)
    everyone = jnp.ones(AGENTS, bool)
    others = jax.vmap(lambda one: others_of(one, everyone))(each)
    found = np.asarray(jax.vmap(jax.vmap(learned.logit))(histories, each, others))
    seen = np.asarray(histories[:, :, :SEEN]).argmax(axis=2)
    likelihood = 0.9 * np.eye(SEEN) + 0.1 / SEEN  # p(o | truth)
    exact = np.empty(found.shape)
    for agent in range(AGENTS):
        one, two = (seen[:, other] for other in range(AGENTS) if other != agent)
        belief = likelihood[:, one].T * likelihood[:, two].T
        belief /= belief.sum(axis=1, keepdims=True)
        exact[:, agent] = np.log(SEEN * (belief @ likelihood)[np.arange(len(seen)), seen[:, agent]])
    # a third of the mismatches are the history of another agent of the same step, who mostly sees the same
    mixed = -np.log(2 / 3 * np.exp(-exact) + 1 / 3)
    values, counts = np.unique(exact.round(4), return_counts=True)
    often = [exact.round(4) == value for value in values[counts > 60]]
    assert len(often) >= 2
    for where in often:
        assert abs(np.mean(found[where]) - np.mean(mixed[where])) < 1.0
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.8
    surprise = np.asarray(jax.vmap(learned.surprise)(histories, each, others))
    np.testing.assert_allclose(surprise, -special.log_expit(found), rtol=1e-3, atol=1e-5)


def test_who_sees_something_else_surprises(seeing, learned):
    answers, data = seeing
    histories = data.joint(np.arange(600)).histories
    broken = histories.at[:, 1, :SEEN].set(jnp.roll(histories[:, 1, :SEEN], 3, axis=1))
    everyone = jnp.ones(AGENTS, bool)

    def surprise(part):
        each = jax.vmap(answers.answer_each)(part)
        return np.asarray(jax.vmap(lambda h, e: learned.surprise(h, e, others_of(e, everyone)))(part, each))

    sound, lying = surprise(histories), surprise(broken)
    assert np.mean(lying[:, 1] > np.quantile(sound[:, 1], 0.8)) > 0.75
    assert np.mean(np.argmax(lying, axis=1) == 1) > 0.7


def test_its_logit_by_hand(seeing, key):
    """What it reads: the history about the middle of its range, who it is of, and both beliefs beside the prior."""
    answers, data = seeing
    prior = Prior(jnp.array([0.3, 0.6]), jnp.array([4.0, 1.0]), FeatureTypes((), (), 2))
    own = data.layout.size - AGENTS
    low, width = np.linspace(-1.0, 1.0, own), np.linspace(0.5, 2.0, own)
    columns = jnp.zeros(own)
    arrays = jnp.asarray(low, jnp.float32), jnp.asarray(width, jnp.float32)
    familiar = Familiar(*arrays, columns, jnp.zeros((own, 1)), jnp.ones(1), jnp.ones(()))
    network = Consistency(familiar, prior, AGENTS, key=key)
    keys = jax.random.split(key, len(network.biases))
    biases = tuple(jax.random.normal(one, bias.shape) for one, bias in zip(keys, network.biases, strict=True))
    network = eqx.tree_at(lambda n: n.biases, network, biases)
    history = np.concatenate([low + width * np.linspace(-6.0, 6.0, own), [0.0, 1.0, 0.0]])

    def answer(evidence, precision):
        parts = (jnp.asarray(part, jnp.float32) for part in (evidence, precision, precision, np.zeros(0)))
        return Answer(*parts)

    mine, others = ((0.4, -0.2), (2.0, 3.0)), ((-0.6, 0.1), (1.0, 8.0))
    before = np.array([4.0, 1.0])
    beliefs = []
    for evidence, precision in (mine, others):
        after = before + np.asarray(precision)
        beliefs.append((np.asarray(evidence) / after * np.sqrt(before), 0.3 * np.log(before / after)))
    (mean, sure), (told, told_sure) = beliefs
    clipped = np.clip(np.linspace(-6.0, 6.0, own), -1.0, 2.0) - 0.5
    x = np.concatenate([clipped, history[own:], mean, sure, told, told_sure, mean - told])
    for layer, (weights, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        x = (np.maximum(x, 0.0) if layer else x) @ np.asarray(weights, np.float64) + np.asarray(bias, np.float64)
    found = network.logit(jnp.asarray(history, jnp.float32), answer(*mine), answer(*others))
    assert float(found) == pytest.approx(x[0], rel=1e-4)


def test_another_moment_is_of_the_same_episode_and_never_the_same_step():
    data = one_of_eight(50, 3)
    # the step's number in the place of the observation

    numbered = eqx.tree_at(
        lambda d: d.windows.observations,
        data,
        jnp.broadcast_to(jnp.arange(300.0)[:, None, None], (300, AGENTS, SEEN)),
    )
    histories, _ = Elsewhen(numbered).sample(jax.random.key(0), 4000)
    here, there = np.asarray(histories[:, 0, 0, 0]), np.asarray(histories[:, 1, 0, 0])
    assert histories.shape == (4000, 2, AGENTS, data.layout.size)
    same = here // LENGTH == there // LENGTH
    assert np.mean(here != there) == 1.0
    near = np.abs(here - there) < LENGTH  # a shift by less than the episode's length finds it more often than not
    assert np.mean(same[near]) > 0.6 and np.mean(same) > 0.1


def test_the_loss_is_that_of_telling_own_histories_from_others(seeing):
    """Without weights every logit is 0: 2 log 2."""
    answers, data = seeing
    network = Consistency(familiar_histories(data, 10**9), answers.prior, AGENTS, key=jax.random.key(0))

    silent = eqx.tree_at(lambda n: n.weights[-1], network, jnp.zeros_like(network.weights[-1]))

    samples, states = Elsewhen(data).sample(jax.random.key(0), 16)
    found = consistency_losses(Learning(silent, answers), samples, states, jax.random.key(1))
    np.testing.assert_allclose(found, 2.0 * np.log(2.0), rtol=1e-5)
    sure = eqx.tree_at(lambda n: n.biases[-1], silent, jnp.full(1, 3.0))
    found = consistency_losses(Learning(sure, answers), samples, states, jax.random.key(1))
    np.testing.assert_allclose(found, np.log1p(np.exp(-3.0)) + np.log1p(np.exp(3.0)), rtol=1e-5)


def test_it_is_kept_with_the_model_and_refused_where_it_means_nothing(seeing):
    answers, data = seeing
    watch = learn_watch(answers, data, 2, key=jax.random.key(0), num_bytes=10**9)
    empty = type(watch).empty(**watch.settings, prior=answers.prior)
    assert [leaf.shape for leaf in jax.tree.leaves(empty)] == [leaf.shape for leaf in jax.tree.leaves(watch)]
    assert not watch.measured and watch.consistency is not None

    alone = eqx.tree_at(lambda n: n.mean_histories, answers, answers.mean_histories[:1])
    with pytest.raises(InputError, match="goes with nobody's"):
        learn_consistency(alone, watch.familiar, data, 2, key=jax.random.key(0))
