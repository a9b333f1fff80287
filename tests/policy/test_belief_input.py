"""A policy that acts on what the team carries over time: the filter's steps, shared messages, files, refusals."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.errors import InputError, MismatchError
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.over_time import build_filter, follow
from composite_flow.fusion.over_time.segments import Segment, segment_losses
from composite_flow.policy.belief import belief_of
from composite_flow.policy.config import InferenceConfig
from composite_flow.policy.inference import Inference, after_actions, fresh_recollection, infer
from composite_flow.policy.run import train_policy
from composite_flow.policy.setup import prepare
from composite_flow.policy.teaching import chain_losses

PROBLEM = cf.problem_from_text("sensor:2x2,targets=1,miss=0.3,steps=4")
SMALL = dict(steps=64, worlds=4, rollout=8, piece=4, width=8, memory="none", epochs=1)


@pytest.fixture(scope="module")
def model():
    """A chain that was hardly trained, and says something all the same."""
    key = jax.random.key(0)
    episodes = cf.collect(PROBLEM, 40, key=key)
    train, validation, _ = cf.HistoryDataset(episodes).split(key=key)
    settings = cf.TrainingConfig(
        learn="fusion", team_denoiser=False, width=12, depth=2, steps=40, over_time="residual", learning_rate=1e-2
    )
    about = {"problem": PROBLEM.description}
    return cf.fit(train, validation, settings, key=key, progress=False, description=about)


def acted(model, observations, key, **options):
    """What the team infers in each step of an episode, and the order in which agents spoke."""
    denoiser, rule = belief_of(model)
    options = {"together": True, **options}
    inference = Inference(model.layout, model.scaling, 1, 1, rule=rule, **options)
    recollection, samples, orders = fresh_recollection(inference), [], []
    for step, seen in enumerate(observations):
        key_step = jax.random.fold_in(key, step)
        recollection = infer(inference, denoiser, recollection, seen, key_step)
        _, key_hops = jax.random.split(key_step)
        agents = jnp.arange(len(seen), dtype=jnp.int32)[None]
        orders.append(jax.random.permutation(jax.random.split(key_hops)[0], agents, axis=1, independent=True)[0])
        samples.append(recollection.y[:, 0])
        recollection = after_actions(recollection, jnp.zeros(len(seen), jnp.int32))
    return jnp.stack(samples), orders


def test_a_step_of_the_team_is_a_step_of_the_filter(model, key):
    """Hop by hop in the order drawn; the first of a step knows that the message is old."""
    observations = jax.random.uniform(key, (3, 4, PROBLEM.observation_size))
    samples, orders = acted(model, observations, key, shared=True)
    chain, y = model.fusion.over_time, model.fusion.over_time.prior.mean
    for step, order in enumerate(orders):
        window = np.concatenate([observations[step], np.ones((4, 1)), np.eye(4)], axis=1)
        for place, agent in enumerate(order.tolist()):
            context = chain.reader.condition(jnp.array(window[agent], jnp.float32))
            y = chain.hop(context, y, jnp.float32(place == 0))
        np.testing.assert_allclose(samples[step], jnp.broadcast_to(y, (4, 4)), atol=1e-5)


def test_one_agent_alone_filters_as_the_model_does(key):
    """With one agent there is one order, so that whole episodes can be compared."""
    problem = cf.SensorNetwork(coverage=np.array([[True, True, False]]), num_targets=1)
    episodes = cf.collect(problem, 40, key=key)
    train, _, _ = cf.HistoryDataset(episodes).split(key=key)
    settings = cf.TrainingConfig(
        learn="fusion", team_denoiser=False, width=8, depth=1, steps=20, over_time="gated", learning_rate=1e-2
    )
    model = cf.fit(train, None, settings, key=key, progress=False)
    steps = np.arange(int(episodes.stops[0]))
    histories = train.windows.joint(jnp.asarray(steps)).histories
    samples, _ = acted(model, jnp.asarray(episodes.observations[steps]), key)
    team_filter = model.fusion.over_time
    first, heard = jnp.asarray(steps == 0), jnp.ones((len(steps), 1), bool)
    known = follow(team_filter, histories, heard, first, team_filter.initial, key)[0]
    np.testing.assert_allclose(samples[:, 0], known.mean, atol=1e-5)


def test_all_act_on_the_last_message_or_each_on_its_own(model, key):
    observations = jax.random.uniform(key, (2, 4, PROBLEM.observation_size))
    shared, orders = acted(model, observations, key, shared=True)
    own, _ = acted(model, observations, key)
    assert bool(jnp.all(shared == shared[:, :1])) and not bool(jnp.all(own == own[:, :1]))
    for step, order in enumerate(orders):
        np.testing.assert_array_equal(own[step, order[-1]], shared[step, 0])


def context_of(model, seen, agent):
    """What an agent of the four makes of its observation."""
    row = np.concatenate([seen[agent], np.ones(1), np.eye(4)[agent]])
    return model.fusion.over_time.reader.condition(jnp.array(row, jnp.float32))


@pytest.mark.parametrize("options", [{"lost": 0.999999}, {"lost": 0.999999, "shared": True}, {"together": False}])
def test_who_hears_nobody_carries_what_it_knew(model, key, options):
    """Where all messages are lost, and by `own-belief`: from the prior's mean on, not from noise."""
    observations = jax.random.uniform(key, (3, 4, PROBLEM.observation_size))
    samples, _ = acted(model, observations, key, **options)
    chain = model.fusion.over_time
    for agent in range(4):
        y = chain.prior.mean
        for step in range(3):
            y = chain.hop(context_of(model, observations[step], agent), y, jnp.float32(1.0))
            np.testing.assert_allclose(samples[step, agent], y, atol=1e-5)


def test_each_goes_on_from_the_last_message_that_it_heard(model, key):
    """Half of what is sent to all is lost, to each by itself; followed here one by one, with the same draws."""
    observations = jax.random.uniform(key, (3, 4, PROBLEM.observation_size))
    samples, orders = acted(model, observations, key, shared=True, lost=0.5)
    chain, y = model.fusion.over_time, np.tile(model.fusion.over_time.prior.mean, (4, 1))
    for step, order in enumerate(orders):
        spoken = np.zeros(4, bool)
        key_hops = jax.random.split(jax.random.fold_in(key, step))[1]
        keys = jax.random.split(jax.random.split(key_hops)[1], 4)
        for agent, key_hop in zip(order.tolist(), keys, strict=True):
            first = jnp.float32(not spoken[agent])
            sent = chain.hop(context_of(model, observations[step], agent), jnp.asarray(y[agent]), first)
            hears = ~np.asarray(jax.random.bernoulli(key_hop, 0.5, (4,)))
            hears[agent] = True
            y[hears], spoken[hears] = sent, True
        np.testing.assert_allclose(samples[step], y, atol=1e-5)
    assert len(np.unique(samples[-1].round(5), axis=0)) > 1


def test_where_nothing_is_lost_to_all_is_to_the_next(model, key):
    observations = jax.random.uniform(key, (3, 4, PROBLEM.observation_size))
    to_all, _ = acted(model, observations, key, shared=True, lost=1e-12)
    np.testing.assert_allclose(to_all, acted(model, observations, key, shared=True)[0], atol=1e-6)


def test_what_is_sent_is_counted(model, key):
    setup = prepare(PROBLEM, cf.MappoConfig(inputs="belief"), key, model)
    assert setup.inputs.inference.messages == 4 + 3 and setup.inputs.inference.message_bytes == 4 * 4 + 1
    assert setup.inputs.inference.layout.length == 1
    lossy = cf.MappoConfig(inputs="belief", inference=InferenceConfig(lost=0.1))
    assert prepare(PROBLEM, lossy, key, model).inputs.inference.messages == 4 * 3
    assert prepare(PROBLEM, cf.MappoConfig(inputs="own-belief"), key, model).inputs.inference.messages == 0


@pytest.mark.parametrize("kind", ["agent", "denoised", "own-belief"])
def test_who_sends_nothing_loses_nothing(model, key, kind):
    config = cf.MappoConfig(inputs=kind, inference=InferenceConfig(lost=0.1))
    with pytest.raises(InputError, match="no messages are sent that could be lost"):
        prepare(PROBLEM, config, key, model)


@pytest.mark.parametrize("kind", ["agent", "composite"])
def test_who_carries_no_chain_has_none_that_learns(key, kind):
    config = cf.MappoConfig(inputs=kind, inference=InferenceConfig(chain_updates=0.1))
    with pytest.raises(InputError, match="no chain is carried that could learn; leave chain_updates out"):
        prepare(PROBLEM, config, key)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "messages", "updates"), [("belief", 7, 0.1), ("own-belief", 0, 0.0)])
def test_a_policy_on_a_belief_comes_back_from_its_folder(model, key, tmp_path, kind, messages, updates):
    """With its chain, which has learned beside it where that was asked for, but for what an episode begins with."""
    config = cf.MappoConfig(inputs=kind, discount=0.0, inference=InferenceConfig(chain_updates=updates), **SMALL)
    trained = train_policy(PROBLEM, config, key=key, denoiser=model, folder=tmp_path, progress=None)
    loaded = cf.load_policy(tmp_path)
    scores = [
        cf.evaluate_policy(PROBLEM, policy, key=key, num_episodes=8).summary() for policy in (trained.policy, loaded)
    ]
    assert scores[0] == scores[1]
    assert scores[0]["messages"] == messages and scores[0]["certain"] is None and scores[0]["psnr"] > 0
    before, after = model.fusion.over_time, cf.load(tmp_path).fusion.over_time
    np.testing.assert_array_equal(after.prior.mean, before.prior.mean)
    changed = {np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, (before.reader, after.reader)), strict=True)}
    assert changed == ({True, False} if updates else {True}), "the range of the histories stays"
    assert (trained.curves[-1]["denoiser_loss"] or 0.0) > 0.0 or not updates


def test_a_chain_learns_beside_a_policy_what_an_agent_hears_as_it_is_used(model, key):
    """By the loss of filters, of the team or of each agent alone; gradients leave what an episode begins with."""
    chain = model.fusion.over_time
    histories = jax.random.uniform(key, (3, 2, 4, model.layout.size))
    segments, states = Segment(histories, jnp.ones((3, 2), bool)), jax.random.uniform(key, (3, 2, 4))
    for alone in (0.0, 1.0):
        expected = segment_losses(chain, segments, states, key, 0.5, alone)
        np.testing.assert_allclose(chain_losses(chain, segments, states, key, 0.5, alone), expected)
    gradient = eqx.filter_grad(lambda one: jnp.sum(chain_losses(one, segments, states, key)))(chain)
    assert not np.any(gradient.prior.mean) and np.any(gradient.change_weights)


@pytest.mark.slow
def test_a_shared_composite_comes_back_from_its_folder(key, tmp_path):
    config = cf.MappoConfig(inputs="composite-shared", **SMALL)
    train_policy(PROBLEM, config, key=key, folder=tmp_path, progress=None)
    inference = cf.load_policy(tmp_path).team.inputs.inference
    assert inference.shared and inference.messages == 4 * 4 + 3


def test_faults_of_a_belief(model, key):
    config = cf.MappoConfig(inputs="belief")
    size = model.layout.size
    product = build_filter("product", (jnp.zeros(size), jnp.ones(size)), model.answers.prior, 8, 1, key=key)
    others = {
        "none": (None, InputError, "needs a chain that was learned over time"),
        "no chain": (dataclasses.replace(model, fusion=None), InputError, "needs a chain"),
        "product": (
            dataclasses.replace(model, fusion=LearnedFusion(model.answers, over_time=product)),
            InputError,
            "needs a chain",
        ),
    }
    for other, kind, sentence in others.values():
        with pytest.raises(kind, match=sentence):
            prepare(PROBLEM, config, key, other)
    with pytest.raises(MismatchError, match="of 4 agents, the policy of 9"):
        prepare(cf.problem_from_text("sensor:3x3,targets=1"), config, key, model)
    with pytest.raises(MismatchError, match="another problem"):
        prepare(cf.problem_from_text("sensor:2x2,targets=1,miss=0.1,steps=4"), config, key, model)
