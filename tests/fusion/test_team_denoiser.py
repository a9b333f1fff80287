"""The team denoiser: Bayes' rule where features are independent, messages that add up, and XOR."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.baselines.training import train_baseline
from composite_flow.errors import InputError
from composite_flow.fusion import team_loss
from composite_flow.fusion.answers import Prior, prior_of
from composite_flow.fusion.features import FeatureTypes, find_types
from composite_flow.fusion.fuse import fuse
from composite_flow.fusion.joint_steps import JointSteps
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.team_denoiser import build_team_denoiser
from composite_flow.fusion.team_loss import draw_small_teams, state_loss, team_denoiser_losses
from composite_flow.fusion.team_sampling import sample_blind, sample_conditional
from composite_flow.problems.tabular import TabularProblem
from composite_flow.training.loss import arrays_of

MEAN = jnp.array([0.3, 0.2, 0.5, 0.3, 0.6])  # one binary feature, one of three, one number
PRIOR = Prior(MEAN, jnp.array([4.0, 4.0, 4.0, 4.0, 9.0]), FeatureTypes((0,), ((1, 4),), 5))


def random_like(key, tree):
    """The same shapes with values from N(0, 0.09)."""
    leaves, shape = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(
        shape, [0.3 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    )


@pytest.fixture
def histories(key):
    """Three agents, histories of two columns and the agent's number."""
    return jnp.concatenate([jax.random.uniform(key, (3, 2)), jnp.eye(3)], axis=1)


@pytest.fixture
def team(key):
    """Answers, L and c that say something; the network of g still says nothing."""
    usual = jnp.concatenate([jnp.full((3, 2), 0.5), jnp.eye(3)], axis=1)
    answers = AnswerNetwork(usual, (jnp.zeros(5), jnp.ones(5)), PRIOR, width=8, depth=2, key=key)
    built = build_team_denoiser(answers, width=16, rounds=2, num_free=2, speaker_width=8, key=key)
    spoken = lambda t: (t.answers.evidence_weights, t.answers.weight_weights, t.speaker.evidence_weights)  # noqa: E731
    return eqx.tree_at(spoken, built, random_like(key, spoken(built)))


@pytest.fixture
def trained(team, key):
    """Any weights everywhere; small ones where four rounds would make them grow."""
    network, sigma_network = random_like(key, (team.network, team.sigma_network))
    network = jax.tree.map(lambda leaf: 0.4 * leaf, network)
    return eqx.tree_at(lambda t: (t.network, t.sigma_network), team, (network, sigma_network))


def all_of(count):
    return jnp.ones(count, bool)


def test_independent_features_follow_bayes_rule(team, histories):
    """By enumeration in float64: p(s) exp(L·s) N(y; s, σ² I), for numbers the product of two Gaussians."""
    message = team.message(histories, all_of(3))
    mean, scale, ratios = np.split(np.asarray(message, np.float64)[:15], 3)
    y, sigma, prior = np.array([0.7, 0.1, 0.6, 0.2, 0.9]), 0.8, np.asarray(MEAN, np.float64)
    found = team.at(sigma).denoise(team.condition(message), jnp.asarray(y, jnp.float32))

    def kernel(states):
        return np.exp(-((y[: states.shape[1]] - states) ** 2).sum(axis=1) / (2 * sigma**2))

    binary = np.array([1 - prior[0], prior[0] * np.exp(ratios[0])]) * np.exp(-((y[0] - np.arange(2)) ** 2) / 1.28)
    assert found[0] == pytest.approx(binary[1] / binary.sum(), rel=1e-4)
    group = prior[1:4] * np.exp(ratios[1:4]) * np.exp(-((y[None, 1:4] - np.eye(3)) ** 2).sum(axis=1) / 1.28)
    np.testing.assert_allclose(found[1:4], group / group.sum(), rtol=1e-4)
    precision = np.exp(4 * scale[4])
    assert found[4] == pytest.approx((precision * mean[4] + y[4] / 0.64) / (precision + 1 / 0.64), rel=1e-4)


def test_the_message_is_the_fused_answer_and_the_sums(team, histories):
    some = jnp.array([True, False, True])
    message = team.message(histories, some)
    alone = [team.answer(histories[agent]) for agent in (0, 2)]
    fused = fuse(PRIOR, team.answers.answer_each(histories), some)
    np.testing.assert_allclose(message[:5], fused.mean, rtol=1e-5)
    np.testing.assert_allclose(
        np.exp(4 * message[5:10]), PRIOR.precision + alone[0].weight + alone[1].weight, rtol=1e-4
    )
    np.testing.assert_allclose(message[10:], alone[0].free + alone[1].free, rtol=1e-4, atol=1e-5)
    assert message[14] == 0  # L of a number
    assert len(message) == 17


def test_a_usual_history_adds_nothing_to_the_sums(team):
    message = team.message(team.answers.mean_histories, all_of(3))
    np.testing.assert_allclose(message[10:], 0.0, atol=1e-5)


def test_no_feature_alone_is_more_than_so_sure(team, histories):
    """Near a state at little noise, where y says all: log-odds of 15, before what g adds, which is nothing yet."""
    context = team.condition(team.message(histories, all_of(3)))
    logits = team.logits(context, jnp.array([1.0, 0.0, 1.0, 0.0, 0.6]), jnp.float32(0.05))
    np.testing.assert_allclose(logits[:4], [15.0, -15.0, 15.0, -15.0], rtol=1e-5)


def test_the_sigma_that_is_read_by_hand(trained, histories):
    """From how far y lies outside [0, 1], from the nearest corner, and from the message's mean."""
    context, y = trained.condition(trained.message(histories, all_of(3))), np.array([1.4, -0.3, 0.6, 0.2, 0.9])
    off, corner = np.array([0.4, -0.3, 0.0, 0.0, 0.0]), np.array([0.4, 0.3, 0.4, 0.2, 0.1])
    sizes = [np.mean(part**2) for part in (off, corner, y - np.asarray(context.mean))]
    logs = 0.5 * np.log(np.array(sizes) + 0.02**2)
    said = trained.sigma_network(context.sigma_biases, jnp.asarray(np.concatenate([y, logs]), jnp.float32))
    found = trained.log_sigma(context, jnp.asarray(y, jnp.float32))
    assert float(found) == pytest.approx(logs[2] + float(said[0]), rel=1e-4)


def test_its_logits_by_hand(trained, histories):
    """What the network refines, and what it reads: y in its own deviation, tanh(r/4), log σ, and that it is known."""
    context, y, sigma = (
        trained.condition(trained.message(histories, all_of(3))),
        np.array([0.7, 0.1, 0.6, 0.2, 0.9]),
        0.4,
    )
    weight, evidence = sigma**-2, np.asarray(context.evidence)
    ratios = evidence + weight * (y - 0.5)
    mean = np.asarray(PRIOR.mean)
    alone = np.append([np.log(mean[0] / (1 - mean[0])), *np.log(mean[1:4])] + ratios[:4], 0.0)
    precision = float(context.precision[4])
    alone[4] = (precision * float(context.mean[4]) + weight * y[4]) / (precision + weight)
    read = np.append(np.tanh(ratios[:4] / 4), y[4] / np.sqrt(1 + sigma**2))
    parts = (jnp.asarray(part, jnp.float32) for part in (alone, read, [np.log(sigma), 1.0]))
    expected = trained.network(context.biases, *parts, PRIOR.types.probabilities)
    found = trained.logits(context, jnp.asarray(y, jnp.float32), sigma)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_its_usual_size(team, key):
    built = eqx.filter_eval_shape(lambda key: build_team_denoiser(team.answers, key=key), key)
    assert (built.network.width, built.network.rounds, built.speaker.num_free) == (128, 4, 16)


def test_no_agent_is_more_than_so_sure(team, histories):
    """Certainty would be infinite: L is kept within 10."""
    sure = eqx.tree_at(lambda t: t.speaker.evidence_weights, team, 1e6 * team.speaker.evidence_weights)
    np.testing.assert_allclose(np.abs(sure.answer(histories[0]).free[:4]), 10.0, rtol=1e-4)


@pytest.mark.parametrize("sigma", [None, 0.4])
def test_it_is_a_denoiser_of_messages(trained, histories, key, sigma):
    denoiser = trained if sigma is None else trained.at(sigma)
    cf.check_denoiser(denoiser, trained.message(histories, all_of(3)), key)


def test_fixed_points_take_a_message_for_a_history(team, histories, key):
    message = team.message(histories, all_of(3))
    found = cf.find_fixed_points(team, message, key=key, num_starts=16, max_points=4)
    assert found.points.shape == (4, 5)


def test_answers_stay_as_they_are(trained, histories, key):
    def loss(team):
        return jnp.sum(team_denoiser_losses(team, histories[None], MEAN[None], key))

    gradient = eqx.filter_jit(eqx.filter_grad(loss))(trained)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradient.answers))
    for part in (gradient.speaker.evidence_weights, gradient.speaker.free_weights, gradient.sigma_network.biases):
        assert np.any(part)


def test_the_loss_of_the_sigma_that_is_read_trains_its_reader_alone(trained, histories, key, monkeypatch):
    """A thousand times the weight of that loss: the same gradient of all else."""
    message = trained.message(histories, all_of(3))

    def gradient(share):
        monkeypatch.setattr(team_loss, "SIGMA_SHARE", share)
        return eqx.filter_jit(eqx.filter_grad(lambda team: team_loss.blind_loss(team, message, MEAN, key)))(trained)

    once, often, never = gradient(0.1), gradient(100.0), gradient(0.0)
    jax.tree.map(np.testing.assert_array_equal, once.network, often.network)
    assert np.any(once.network.biases) and np.any(once.sigma_network.biases)
    assert not np.any(never.sigma_network.biases)


@pytest.mark.parametrize("sigma", [None, 0.4])
def test_the_state_jacobian_is_that_of_finite_differences(trained, histories, sigma):
    """Also by way of the σ that is read from y."""
    denoiser = trained if sigma is None else trained.at(sigma)
    context, y = denoiser.condition(trained.message(histories, all_of(3))), MEAN + 0.33
    found = jax.jit(jax.jacfwd(lambda y: denoiser.denoise(context, y)))(y)
    moved = jax.jit(jax.vmap(lambda step: denoiser.denoise(context, y + step) - denoiser.denoise(context, y - step)))
    np.testing.assert_allclose(found, moved(1e-2 * jnp.eye(5)).T / 2e-2, atol=0.05 * float(jnp.max(jnp.abs(found))))


def test_the_loss_is_the_negative_log_likelihood_and_the_squared_error(team):
    logits, state = jnp.array([0.4, 0.1, -0.2, 0.3, 0.5]), jnp.array([1.0, 0.0, 1.0, 0.0, 0.2])
    group = np.exp([0.1, -0.2, 0.3])
    expected = np.log1p(np.exp(-0.4)) - np.log(group[1] / group.sum()) + 0.3**2
    assert float(state_loss(team, logits, state)) == pytest.approx(expected, rel=1e-5)


def test_sizes_of_teams_are_even_in_their_logarithm(key):
    """P(size ≥ k) = 1 − log k / log(n + 1), each to 4 standard errors."""
    teams = np.asarray(draw_small_teams(key, 7, 8000))
    sizes = teams.sum(axis=1)
    expected = [1 - np.log(k) / np.log(8) for k in range(1, 8)]
    np.testing.assert_allclose([(sizes >= k).mean() for k in range(1, 8)], expected, atol=0.023)
    np.testing.assert_allclose(teams.mean(axis=0), sizes.mean() / 7, atol=0.023)


def learn(problem, num_free, steps, key):
    """A team denoiser of a problem, over answers that say nothing, and joint histories with their states."""
    dataset = cf.HistoryDataset(cf.collect(problem, 256, key=key))
    histories, states = eqx.filter_jit(lambda data: JointSteps(data).sample(key, 512))(arrays_of(dataset))
    prior = prior_of(np.asarray(states), find_types(np.asarray(states)))
    limits = histories.min(axis=(0, 1)), histories.max(axis=(0, 1))
    answers = AnswerNetwork(jnp.mean(histories, axis=0), limits, prior, width=8, depth=1, key=key)
    settings = cf.TrainingConfig(
        batch=128, steps=steps, learning_rate=4e-3, warmup=50, average=0.98, evaluate_every=steps, record_every=steps
    )
    learned = train_baseline(
        lambda key: build_team_denoiser(answers, 64, 2, num_free, speaker_width=64, key=key),
        JointSteps(dataset),
        settings,
        key=key,
        losses=team_denoiser_losses,
    ).last
    return learned, histories, states


@pytest.mark.slow
def test_free_numbers_tell_what_no_history_tells_alone(key):
    """XOR: with free numbers every sample is the state; without, half of them are."""
    learned, histories, states = learn(TabularProblem.xor(), 16, 500, key)
    without, _, _ = learn(TabularProblem.xor(), 0, 50, key)

    @eqx.filter_jit
    def share(team, sampler):
        messages = jax.vmap(lambda each: team.message(each, all_of(2)))(histories[:32])
        samples = jax.vmap(lambda message: sampler(team, message, 64, key=key))(messages)
        return jnp.mean(cf.exact_states(samples, states[:32, None]))

    assert float(share(learned, sample_conditional)) > 0.99 and float(share(learned, sample_blind)) > 0.99
    assert 0.35 < float(share(without, sample_conditional)) < 0.65
    found = cf.find_fixed_points(learned, learned.message(histories[0], all_of(2)), key=key, num_starts=64)
    largest = jnp.argmax(jnp.where(found.stable, found.masses, 0.0))  # a training may leave another, of a small basin
    assert float(found.masses[largest]) > 0.9
    np.testing.assert_allclose(found.points[largest], states[0], atol=0.05)
    # one agent alone knows nothing, and says so
    alone = sample_conditional(learned, learned.message(histories[0], jnp.array([True, False])), 400, key=key)
    assert float(jnp.mean(alone[:, 0] > 0.5)) == pytest.approx(0.5, abs=0.12)


def test_many_joint_histories_are_sampled_each_with_its_own_key(trained, histories, key):
    """The same draws as of one alone, all different."""
    many = jnp.stack([histories, 0.5 * histories])
    found = LearnedFusion(trained.answers, team_denoiser=trained).sample_each(many, 3, key)
    keys = jax.random.split(key, 2)
    for place in range(2):
        message = trained.message(many[place], jnp.ones(3, bool))
        alone = sample_conditional(trained, message, 3, key=keys[place])
        np.testing.assert_allclose(found[place], alone, rtol=1e-4, atol=1e-4)
    assert len(np.unique(np.asarray(found).reshape(6, -1).round(5), axis=0)) == 6
    with pytest.raises(InputError, match="num_samples"):
        LearnedFusion(trained.answers, team_denoiser=trained).sample_each(many, 0, key)
    with pytest.raises(InputError, match="no team denoiser"):
        LearnedFusion(trained.answers).sample_each(many, 3, key)
