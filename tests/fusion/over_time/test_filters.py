"""Filters of every kind: who is heard, what segments are, and what a model says of an episode."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import config

import composite_flow as cf
from composite_flow.errors import InputError, MismatchError
from composite_flow.fusion.answers import Prior, prior_of
from composite_flow.fusion.features import FeatureTypes, find_types
from composite_flow.fusion.network import LARGEST_EXPONENT
from composite_flow.fusion.over_time import Carried, build_filter, empty_filter, filter_settings, follow
from composite_flow.fusion.over_time.product import PredictorNetwork
from composite_flow.fusion.over_time.segments import Segment, Segments, follow_segment, known_losses, segment_losses
from composite_flow.problems.tabular import TabularProblem

KINDS = ("residual", "gated", "product")
PROBLEM = "sensor:2x2,targets=1,miss=0.5,steps=8"


def shaken(tree, key):
    """The same structure with other weights: outputs that start at 0 say something."""
    found, structure = jax.tree_util.tree_flatten_with_path(tree)
    keys = jax.random.split(key, len(found))
    trained = ["prior" not in str(path) and "history_m" not in str(path) for path, _ in found]
    return structure.unflatten(
        [x + 0.1 * t * jax.random.normal(k, x.shape) for (_, x), k, t in zip(found, keys, trained, strict=True)]
    )


def some_filter(kind, key, num_agents=4, types=None):
    types = types or FeatureTypes((0,), ((1, 3),), 5)
    prior = Prior(jnp.array([0.3, 0.6, 0.4, 0.5, 0.2]), jnp.array([1.0, 1.0, 1.0, 4.0, 9.0]), types)
    size = 2 + num_agents
    return shaken(build_filter(kind, (jnp.zeros(size), jnp.ones(size)), prior, 12, 2, key=key), key)


def heard(team_filter, histories, participants, key):
    now, after_each = team_filter.hear(team_filter.initial, histories, jnp.array(participants), key)
    return now, after_each


@pytest.fixture
def histories(key):
    return jnp.concatenate([jax.random.uniform(key, (4, 2)), jnp.eye(4)], axis=1)


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_not_heard_changes_nothing(kind, histories, key):
    team_filter = some_filter(kind, key)
    others = histories.at[2].set(7.0)
    one, _ = heard(team_filter, histories, [True, True, False, True], key)
    two, _ = heard(team_filter, others, [True, True, False, True], key)
    everybody, _ = heard(team_filter, histories, [True] * 4, key)
    np.testing.assert_array_equal(one.mean, two.mean)
    assert float(jnp.max(jnp.abs(everybody.mean - one.mean))) > 1e-3
    nobody, _ = heard(team_filter, histories, [False] * 4, key)
    np.testing.assert_allclose(nobody.mean, team_filter.initial.mean, atol=1e-6)


def test_the_order_does_not_matter_to_the_product_and_does_to_chains(histories, key):
    turned = jnp.array([2, 0, 3, 1])
    for kind in KINDS:
        team_filter = some_filter(kind, key)
        one, other = (heard(team_filter, each, [True] * 4, key)[0].mean for each in (histories, histories[turned]))
        gap = float(jnp.max(jnp.abs(one - other)))
        assert gap < 2e-6 if kind == "product" else gap > 1e-4, (kind, gap)


def test_a_gate_opens_by_its_logit_of_minus_one_until_it_learns(key):
    """y + σ(4 (w·x + b) − 1) (prior + change − y)."""
    chain, y, first = some_filter("gated", key), jnp.linspace(0.1, 0.9, 5), jnp.zeros(())
    context = chain.reader.condition(jnp.full(6, 0.3))
    x = chain.reader.read(context, jnp.append(y, first))
    target = chain.prior.mean + x @ chain.change_weights
    for closed in (True, False):
        weights, bias = (
            (jnp.zeros_like(chain.gate_weights), jnp.zeros(5)) if closed else (chain.gate_weights, chain.gate_bias)
        )
        made = eqx.tree_at(lambda c: (c.gate_weights, c.gate_bias), chain, (weights, bias))
        gate = 1.0 / (1.0 + np.exp(1.0 - 4.0 * np.asarray(x @ weights + bias)))
        np.testing.assert_allclose(made.hop(context, y, first), y + gate * (target - y), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_first_speaker_of_a_step_knows_that_the_world_has_moved(kind, histories, key):
    """A second step in which nobody speaks: chains keep their message, a product still predicts."""
    team_filter = some_filter(kind, key)
    steps, nobody = jnp.stack([histories] * 2), jnp.array([[True] * 4, [False] * 4])
    known, _ = follow(team_filter, steps, nobody, jnp.array([True, False]), team_filter.initial, key)
    same = bool(jnp.allclose(known.mean[0], known.mean[1]))
    assert same == (kind != "product")
    assert bool(jnp.all(known.precision == 0)) == (kind != "product")
    if kind == "product":
        predicted = team_filter.predict(jax.tree.map(lambda leaf: leaf[0], known))
        np.testing.assert_allclose(known.mean[1], predicted.mean, atol=1e-6)
    else:  # a first speaker's hop is another one than a later speaker's
        context = team_filter.reader.condition(histories[0])
        hops = [team_filter.hop(context, team_filter.initial.mean, first) for first in (jnp.array(1.0), jnp.array(0.0))]
        assert float(jnp.max(jnp.abs(hops[0] - hops[1]))) > 1e-4


def test_probabilities_stay_probabilities_and_variances_positive(histories, key):
    team_filter = some_filter("product", key)
    steps = jnp.stack([histories] * 20)
    known, _ = follow(team_filter, steps, jnp.ones((20, 4), bool), jnp.arange(20) == 0, team_filter.initial, key)
    binary, group, weight = known.mean[:, 0], known.mean[:, 1:3], known.weight[:, 3:]
    assert bool(jnp.all((binary >= 0) & (binary <= 1))) and bool(jnp.all(weight > 0))
    np.testing.assert_allclose(jnp.sum(group, axis=1), 1.0, atol=1e-5)
    assert bool(jnp.all(known.weight[:, :3] == 0))


@pytest.mark.parametrize("kind", KINDS)
def test_its_structure_as_json_makes_the_same_shapes(kind, key):
    team_filter = some_filter(kind, key)
    empty = empty_filter(**filter_settings(team_filter), prior=team_filter.prior)
    assert jax.tree.structure(empty) == jax.tree.structure(team_filter)
    assert [x.shape for x in jax.tree.leaves(empty)] == [x.shape for x in jax.tree.leaves(team_filter)]
    with pytest.raises(InputError, match="one of residual, gated, product, not 'sum'"):
        config.update("jaxtyping_disable", True)
        try:
            build_filter("sum", (jnp.zeros(3), jnp.ones(3)), team_filter.prior, key=key)
        finally:
            config.update("jaxtyping_disable", False)


# --- what they learn from


@pytest.fixture(scope="module")
def episodes():
    return cf.collect(cf.problem_from_text(PROBLEM), 200, key=jax.random.key(0))


def test_segments_are_of_one_episode_and_of_their_part(episodes, key):
    train, _, _ = cf.HistoryDataset(episodes).split(key=key, withhold_states=0.25)
    segments, states = Segments(train, 5).sample(key, 400)
    own = set(np.asarray(train.steps).tolist())
    begins = np.asarray(train.drawn_steps(key, 400))
    for row, begin in enumerate(begins.tolist()):
        steps = range(begin, begin + 5)
        counts = [step in own and step // 8 == begin // 8 for step in steps]
        assert segments.counts[row].tolist() == counts
        joint = train.windows.joint(jnp.array([step for step, c in zip(steps, counts, strict=True) if c]))
        np.testing.assert_array_equal(segments.histories[row][np.array(counts)], joint.histories)
        np.testing.assert_array_equal(states[row][np.array(counts)], joint.states)
    assert len({tuple(row) for row in segments.counts.tolist()}) > 5


def test_segments_end_with_the_data(episodes, key):
    """Those that begin in the last steps of the last episode count no step twice."""
    whole = cf.HistoryDataset(episodes)
    last = eqx.tree_at(lambda data: data.listed_steps, whole, whole.listed_steps[-3:])
    segments, _ = Segments(last, 5).sample(key, 60)
    assert {tuple(row) for row in segments.counts.astype(int).tolist()} == {
        (1, 0, 0, 0, 0),
        (1, 1, 0, 0, 0),
        (1, 1, 1, 0, 0),
    }


def test_the_loss_of_a_segment_is_the_mean_of_what_counts(episodes, key):
    """Of a segment that ends early: over its steps and agents, ‖s − ŝ‖² after each agent, heard by everybody."""
    team_filter = shaken(some_filter_of(episodes, key), key)
    segments, states = Segments(cf.HistoryDataset(episodes), 5).sample(key, 50)
    place = int(np.argmin(segments.counts.sum(axis=1)))
    one, state = jax.tree.map(lambda leaf: leaf[place : place + 1], segments), states[place : place + 1]
    count = int(one.counts.sum())
    assert 0 < count < 5
    _, after_each = follow_segment(team_filter, one.histories[0], jax.random.split(key, 1)[0])
    squares = np.sum((np.asarray(state[0])[:, None] - np.asarray(after_each.mean)) ** 2, axis=2)
    found = segment_losses(team_filter, one, state, key)
    np.testing.assert_allclose(found, [squares[:count].mean()], rtol=1e-4)


def test_what_does_not_count_teaches_nothing(episodes, key):
    team_filter = some_filter_of(episodes, key)
    segments, states = Segments(cf.HistoryDataset(episodes), 5).sample(key, 50)
    other = jnp.where(segments.counts[..., None], states, 1.0 - states)
    assert not bool(jnp.all(other == states))
    one, two = (segment_losses(team_filter, segments, each, key) for each in (states, other))
    np.testing.assert_array_equal(one, two)


def some_filter_of(episodes, key, kind="residual"):
    states = np.asarray(episodes.states)
    size = cf.HistoryDataset(episodes).layout.size
    return build_filter(kind, (jnp.zeros(size), jnp.ones(size)), prior_of(states, find_types(states)), 16, 2, key=key)


def test_lost_answers_are_drawn_for_each_step(episodes, key):
    """What is lost changes what is known."""
    team_filter = shaken(some_filter_of(episodes, key), key)
    segments, states = Segments(cf.HistoryDataset(episodes), 5).sample(key, 200)
    losses = [float(jnp.mean(segment_losses(team_filter, segments, states, key, lost))) for lost in (0.0, 0.5)]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("kind", KINDS)
def test_alone_one_agent_is_heard_throughout_a_segment(kind, key):
    """Another one in each segment: what all others see changes nothing."""
    team_filter, heard = some_filter(kind, key), set()
    histories = jax.random.uniform(jax.random.fold_in(key, 1), (3, 4, 6))

    @jax.jit
    def known(histories, draw):
        return follow_segment(team_filter, histories, draw, alone=1.0)[0].mean

    for draw in jax.random.split(key, 12):
        found = known(histories, draw)
        changed = [known(histories.at[:, agent].add(0.3), draw) != found for agent in range(4)]
        felt = [int(jnp.sum(jnp.any(one, axis=1))) for one in changed]
        assert sorted(felt) == [0, 0, 0, 3]
        heard.add(felt.index(3))
    assert len(heard) > 1


def some_known():
    """Of the five features of `some_filter`: means, weights and precisions."""
    parts = (0.7, 0.2, 0.8, 0.4, 0.6), (0.0, 0.0, 0.0, 6.0, 30.0), (0.0, 0.0, 0.0, 5.0, 20.0)
    return Carried(*(jnp.array(part) for part in parts))


def as_numbers(known):
    """What networks read, by hand: means, and ¼ log of the numbers' weights over those of the prior, 4 and 9."""
    return np.concatenate([known.mean, 0.25 * np.log(np.asarray(known.weight[3:]) / [4.0, 9.0])])


@pytest.mark.parametrize("depth", [1, 3])
def test_a_prediction_by_hand(depth, key):
    """Means and log-odds moved; 1/P' = exp(gain)/P + exp(noise)/P_0."""
    types = FeatureTypes((0,), ((1, 3),), 5)
    prior = Prior(jnp.array([0.3, 0.6, 0.4, 0.5, 0.2]), jnp.array([1.0, 1.0, 1.0, 4.0, 9.0]), types)
    network, known = shaken(PredictorNetwork(prior, 6, depth, key=key), key), some_known()
    x = as_numbers(known)
    for weights, bias in zip(network.weights[:-1], network.biases[:-1], strict=True):
        x = np.maximum(x @ np.asarray(weights, np.float64) + np.asarray(bias), 0.0)
    move, *parts = (x @ np.asarray(network.weights[-1]) + np.asarray(network.biases[-1])).reshape(5, 5)
    odds = np.exp(np.log(0.7 / 0.3) + move[0])
    group = np.exp(np.log([0.2, 0.8]) + move[1:3])
    mean = [odds / (1 + odds), *(group / group.sum()), 0.4 + move[3], 0.6 + move[4]]
    before = np.array([4.0, 9.0])
    weight, precision = (
        1.0 / (np.exp(gain[3:]) / np.asarray(told[3:]) + np.exp(noise[3:]) / before)
        for gain, noise, told in zip(parts[:2], parts[2:], (known.weight, known.precision), strict=True)
    )
    found = network.predict(known)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-4)
    np.testing.assert_allclose(found.weight, [0.0] * 3 + list(weight), rtol=1e-4)
    np.testing.assert_allclose(found.precision, [0.0] * 3 + list(precision), rtol=1e-4)


def test_answers_over_time_by_hand(histories, key):
    """η = λ (w·x), l = w·x; λ and ρ in multiples of the prior's precision, by at most the largest exponent."""
    speaker, known = some_filter("product", key).speaker, some_known()
    speaker = eqx.tree_at(lambda s: s.sureness_bias, speaker, jnp.linspace(-9.0, 9.0, 10))
    found = speaker.answer_each(histories, known)
    for agent, history in enumerate(histories):
        read = jnp.asarray(as_numbers(known), jnp.float32)
        x = np.asarray(speaker.reader.read(speaker.reader.condition(history), read))
        exponent = np.asarray(4.0 * (x @ speaker.sureness_weights + speaker.sureness_bias))
        assert exponent.min() < -LARGEST_EXPONENT and exponent.max() > LARGEST_EXPONENT
        exponent = np.clip(exponent, -LARGEST_EXPONENT, LARGEST_EXPONENT)
        weight, precision = np.array([4.0, 9.0]) * np.exp(exponent.reshape(2, 5)[:, 3:])
        said = x @ np.asarray(speaker.evidence_weights)
        np.testing.assert_allclose(found.evidence[agent], [*said[:3], *(weight * said[3:])], rtol=1e-4)
        np.testing.assert_allclose(found.weight[agent], [0.0] * 3 + list(weight), rtol=1e-4)
        np.testing.assert_allclose(found.precision[agent], [0.0] * 3 + list(precision), rtol=1e-4)


@pytest.mark.parametrize("precisions", [(0.25, 4.0), (4.0, 0.25), (0.0, 0.5)])
def test_the_loss_of_what_is_known_by_hand(precisions, key):
    """Squared errors, and for the two numbers that claim a precision 0.02 · ½ (e² P − log P)."""
    team_filter = some_filter("product", key)
    assert team_filter.prior.types.is_number.tolist() == [False, False, False, True, True]
    state, mean = np.array([1.0, 0.0, 1.0, 0.8, 0.1]), np.array([0.7, 0.2, 0.6, 0.5, 0.3])
    precision = np.array([9.0, 9.0, 9.0, *precisions])
    known = Carried(*(jnp.asarray(part, jnp.float32)[None] for part in (mean, precision, precision)))
    squares = (state - mean) ** 2
    claims = [
        0.5 * (square * one - np.log(one)) for square, one in zip(squares[3:], precisions, strict=True) if one > 0
    ]
    found = known_losses(team_filter, known, jnp.asarray(state, jnp.float32))
    np.testing.assert_allclose(found, [squares.sum() + 0.02 * sum(claims)], rtol=1e-5)


def test_the_claim_of_numbers_is_fitted_beside_the_error(key):
    """½ (e² P − log P) is least at P = 1/e²; what claims nothing has the squared error alone."""
    team_filter = some_filter("product", key)
    state = jnp.array([1.0, 0.0, 1.0, 0.7, 0.2])
    mean = jnp.array([0.8, 0.1, 0.9, 0.5, 0.3])

    def loss(precision):
        known = Carried(mean[None], precision[None], precision[None])
        return float(known_losses(team_filter, known, state)[0])

    best = jnp.array([0.0, 0.0, 0.0, 25.0, 100.0])
    assert loss(best) < min(loss(best * 1.2), loss(best * 0.8))
    assert loss(jnp.zeros(5)) == pytest.approx(float(jnp.sum((state - mean) ** 2)))


# --- what a model says


@pytest.fixture(scope="module")
def model(episodes):
    train, validation, _ = cf.HistoryDataset(episodes).split(key=jax.random.key(1))
    options = dict(learn="fusion", team_denoiser=False, width=32, depth=2, learning_rate=4e-3, average=0.99)
    settings = cf.TrainingConfig(**options, fusion_steps=20, over_time="residual")
    return cf.fit(train, validation, settings, key=jax.random.key(2), progress=False)


def resting(num_steps=12):
    """A coin that rests as it fell; two agents see its side rightly with probability 0.7, at each step anew."""
    right = np.array([[0.7, 0.3], [0.3, 0.7]])
    seen = np.einsum("si,sj->sij", right, right).reshape(2, 4)
    transition, rewards = np.tile(np.eye(2)[:, None], (1, 1, 1)), np.zeros((2, 1))
    return TabularProblem(2, [0.5, 0.5], transition, seen, rewards, [[0.0], [1.0]], num_steps=num_steps)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_memory_reaches_further_than_histories_and_comes_near_the_exact_filter(kind, key):
    """From histories of one step the error of the exact filter, which sees all steps, is far below that of fusion."""
    train, validation, _ = cf.HistoryDataset(cf.collect(resting(), 400, key=key)).split(key=key)
    options = dict(learn="fusion", team_denoiser=False, width=24, depth=2, learning_rate=4e-3, average=0.99)
    settings = cf.TrainingConfig(**options, steps=500, over_time=kind, segment=6)
    model = cf.fit(train, validation, settings, key=key, progress=False)
    test = cf.collect(resting(), 200, key=jax.random.key(7))
    steps = np.arange(test.num_steps)
    now, whole = cf.HistoryDataset(test, 1).joint(steps), cf.HistoryDataset(test, 12).joint(steps)
    exact = cf.exact_belief(resting(), whole.structured, joint=True)
    exact = exact.probabilities @ exact.states
    each = now.histories.reshape(200, 12, *now.histories.shape[1:])
    filtered = jnp.concatenate([model.filter(episode).mean for episode in each])
    fused = model.fuse_batch(now.histories).mean
    errors = [float(jnp.mean((found - now.states) ** 2)) for found in (exact, filtered, fused)]
    assert errors[1] - errors[0] < 0.02 and errors[2] - errors[0] > 0.08, errors


def test_a_model_with_a_filter_comes_back_from_its_file(model, episodes, tmp_path):
    model.save(tmp_path)
    history = cf.HistoryDataset(episodes).joint(np.arange(8)).histories
    one, other = model.filter(history), cf.load(tmp_path).filter(history)
    np.testing.assert_array_equal(one.mean, other.mean)
    assert one.messages.tolist() == [4] * 8 and one.message_bytes == 16
    found = model.filter(history, np.eye(8, 4, dtype=bool))
    assert found.messages.tolist() == [1] * 4 + [0] * 4


def test_faults_of_an_episode(model, episodes):
    config.update("jaxtyping_disable", True)
    history = cf.HistoryDataset(episodes).joint(np.arange(8)).histories
    try:
        for call, kind, sentence in (
            (lambda: model.filter(history[0]), InputError, r"axes \(joint, agents, columns\)"),
            (lambda: model.filter(history[:, :3]), MismatchError, "of 4 agents, not of 3"),
            (lambda: model.filter(history[:0]), InputError, "at least one step"),
            (lambda: model.filter(history, np.ones((7, 4), bool)), InputError, r"shape \(steps, agents\) = \(8, 4\)"),
            (lambda: model.filter(history, np.ones((8, 4))), InputError, "must be booleans"),
            (lambda: model.filter(history, key=3), InputError, "key must be a random key"),
        ):
            with pytest.raises(kind, match=sentence):
                call()
    finally:
        config.update("jaxtyping_disable", False)


def test_training_leaves_the_priors_precision_as_it_is(key):
    """Steps of one size in every number would drive small precisions below zero."""
    types = FeatureTypes((), (), 2)
    prior = Prior(jnp.array([0.4, 0.6]), jnp.array([4.0, 9.0]), types)
    size = 6
    team_filter = shaken(build_filter("product", (jnp.zeros(size), jnp.ones(size)), prior, 8, 1, key=key), key)
    segments = Segment(jax.random.uniform(key, (3, 4, 4, size)), jnp.ones((3, 4), bool))
    states = jax.random.uniform(key, (3, 4, 2))
    gradient = jax.grad(lambda f: jnp.mean(segment_losses(f, segments, states, key)))(team_filter)
    assert not bool(jnp.any(gradient.prior.precision)) and bool(jnp.any(gradient.prior.mean))
    assert not any(bool(jnp.any(part.prior.precision)) for part in (gradient.speaker, gradient.predictor))
