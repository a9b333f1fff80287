"""An agent alone, with what others sent, says what the joint functions say of all histories."""

import dataclasses
from collections import Counter
from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runtime.fused_team import (
    ACTIONS,
    AGENTS,
    LENGTH,
    OBSERVATION,
    STATE,
    calibrated,
    dense_answers,
    episodes,
    replay,
    sparse_answers,
    strange,
    suspicious,
    team_model,
)

import composite_flow as cf
from composite_flow.certificate.checks import certify
from composite_flow.composite.plan import make_plan
from composite_flow.composite.rule import ParallelMean
from composite_flow.composite.turns import draw_turns
from composite_flow.errors import InputError
from composite_flow.fusion.contradictions import unusual


@pytest.fixture(params=[dense_answers, sparse_answers], ids=["dense", "sparse"])
def model(request, key):
    return team_model(key, request.param(key))


def team_of(model, **options):
    return [cf.Agent(model, number, **options) for number in range(AGENTS)]


def observed(model, steps=5, **options):
    """A team that has seen some steps of an episode, and its joint history there."""
    agents = team_of(model, **options)
    histories = [history for _, history in islice(replay(agents, episodes(8)), steps)][-1]
    return agents, histories


def exchange(agents, lost=()):
    """Every agent's answer reaches every other, but for the pairs (sender, listener) that are lost."""
    for sender in agents:
        for listener in agents:
            if listener is not sender and (sender.number, listener.number) not in lost:
                assert listener.receive(sender.number, sender.step, sender.answer())


def test_an_agents_history_is_the_one_of_the_joint_array(model):
    agents = team_of(model)
    for _, histories in replay(agents, episodes(24)):
        np.testing.assert_array_equal(np.stack([agent.history for agent in agents]), histories)


def test_estimates_are_those_of_the_joint_call_from_the_answers_that_arrived(model):
    """Over three episodes, with a third of the messages lost."""
    agents, random = team_of(model), np.random.default_rng(1)
    for _, histories in replay(agents, episodes(24)):
        lost = {(i, j) for i in range(AGENTS) for j in range(AGENTS) if random.random() < 0.3}
        exchange(agents, lost)
        for agent in agents:
            heard = [i for i in range(AGENTS) if i == agent.number or (i, agent.number) not in lost]
            expected, found = model.fuse(histories, heard), agent.estimate()
            np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(found.variance, expected.variance, rtol=1e-5, atol=1e-7)
            assert np.flatnonzero(found.participants).tolist() == heard == sorted([*agent.heard(), agent.number])
            np.testing.assert_allclose(found.interval("heat", 0.9), expected.interval("heat", 0.9), rtol=1e-5)


def test_robust_estimates_are_those_of_the_joint_call(model):
    agents, histories = observed(model)
    exchange(agents)
    found, expected = agents[1].estimate(robust=0.5), model.fuse(histories, robust=0.5)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found.doubts.left_out, expected.doubts.left_out)


@pytest.mark.parametrize("robust", [False, 0.5])
def test_verdicts_are_those_of_the_joint_call_from_the_answers_that_arrived(model, robust):
    """Who is in doubt and why, or that the estimate is too wide: over three episodes, with messages lost."""
    model = suspicious(calibrated(model, [1.0, 0.9, 0.9, 0.7]))
    agents, random, reasons = team_of(model), np.random.default_rng(1), Counter()
    for _, histories in replay(agents, strange(episodes(24))):
        lost = {(i, j) for i in range(AGENTS) for j in range(AGENTS) if random.random() < 0.3}
        exchange(agents, lost)
        for agent in agents:
            heard = [i for i in range(AGENTS) if i == agent.number or (i, agent.number) not in lost]
            expected, found = model.fuse(histories, heard, robust=robust), agent.estimate(robust=robust)
            assert dataclasses.astuple(found.verdict)[:3] == dataclasses.astuple(expected.verdict)[:3]  # two tie
            np.testing.assert_array_equal(found.doubts.left_out, expected.doubts.left_out)
            np.testing.assert_allclose(found.doubts.values, expected.doubts.values, rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(found.uncertainty, expected.uncertainty, rtol=1e-5)
            reasons[found.verdict.reason] += 1
    assert set(reasons) >= {"", "sensors in doubt", "too wide"} and robust or reasons["unlike training"]


def test_an_answer_counts_once_and_the_first_one_counts(model):
    agents, _ = observed(model)
    exchange(agents)
    before = agents[0].estimate().mean
    other = jax.tree.map(lambda part: 2.0 * part, agents[1].answer())
    assert not agents[0].receive(1, agents[1].step, other)
    np.testing.assert_array_equal(agents[0].estimate().mean, before)


def test_answers_count_up_to_their_age_and_not_ahead_of_time(model):
    agents, histories = observed(model, max_age=1)
    listener, old, ahead = agents[:3]
    listener.receive(1, listener.step - 1, old.answer())
    listener.receive(2, listener.step + 1, ahead.answer())
    assert listener.heard() == {1: listener.step - 1} and listener.heard(within=0) == {}
    np.testing.assert_allclose(listener.estimate().mean, model.fuse(histories, [0, 1]).mean, rtol=1e-5, atol=1e-5)
    listener.observe(np.zeros(OBSERVATION), 0)
    assert listener.heard() == {2: listener.step}  # now its turn has come, and the old one is two steps old
    with pytest.raises(InputError, match="from 0 to max_age, 1, not 2"):
        listener.estimate(within=2)


def test_answers_of_an_episode_do_not_count_in_the_next(model):
    agents, _ = observed(model, max_age=1)
    exchange(agents)
    agents[0].receive(1, 5, agents[1].answer())  # its sender is ahead, and in the next episode already
    agents[0].observe(np.zeros(OBSERVATION), begins=True)
    assert agents[0].heard() == {1: 5}


def test_a_step_without_an_observation_is_a_step_without_an_answer(model):
    agents, histories = observed(model)
    silent = agents[2]
    silent.miss()
    with pytest.raises(InputError, match="observed nothing at this step"):
        silent.answer()
    with pytest.raises(InputError, match="Nobody has answered"):
        silent.estimate()
    silent.receive(0, silent.step, agents[0].answer())
    np.testing.assert_allclose(silent.estimate().mean, model.fuse(histories, [0]).mean, rtol=1e-5, atol=1e-5)


def test_a_gap_begins_the_history_anew(model):
    one, other = cf.Agent(model, 0), cf.Agent(model, 0)
    for step in (0, 1, 2):
        one.observe(np.full(OBSERVATION, step), 0, step)
    one.observe(np.ones(OBSERVATION), 1, 4)
    other.observe(np.ones(OBSERVATION))
    np.testing.assert_array_equal(one.history, other.history)


@pytest.mark.parametrize(
    ("observation", "action", "step", "sentence"),
    [
        (np.zeros(OBSERVATION + 1), 0, None, "An observation has the shape"),
        (np.full(OBSERVATION, np.nan), 0, None, "NaN or infinite"),
        (np.zeros(OBSERVATION), None, None, "The action since the last observation"),
        (np.zeros(OBSERVATION), ACTIONS, None, "from 0 to 2, not 3"),
        (np.zeros(OBSERVATION), 0, 4, "Step 4 is not after step 4"),
    ],
)
def test_what_cannot_be_observed_changes_nothing(model, observation, action, step, sentence):
    agents, _ = observed(model)
    before = agents[0].history
    with pytest.raises(InputError, match=sentence):
        agents[0].observe(observation, action, step)
    np.testing.assert_array_equal(agents[0].history, before)
    assert agents[0].step == 4


def test_what_is_no_answer_is_refused(model):
    agents, _ = observed(model)
    sent = agents[1].answer()
    for broken in (sent._replace(evidence=sent.evidence[:-1]), sent._replace(evidence=sent.evidence * np.nan)):
        with pytest.raises(InputError, match="agent 1 sent is no answer"):
            agents[0].receive(1, 4, broken)
    with pytest.raises(InputError, match="agent 1 sent is no answer"):
        agents[0].receive(1, 4, sent._replace(weight=sent.weight - 100.0))
    for stranger in (AGENTS, -1, 0):  # an agent hears nothing from itself
        with pytest.raises(InputError, match=f"no other agent {stranger}"):
            agents[0].receive(stranger, 4, sent)
    for name in ("seven", "4", 4, -1):
        with pytest.raises(InputError, match="the agents are 0 to 3"):
            cf.Agent(model, name)
    assert cf.Agent(model, "3").number == 3


def test_a_reset_agent_is_a_new_one(model):
    agents, _ = observed(model)
    exchange(agents)
    agents[0].reset()
    assert agents[0].step == -1 and agents[0].heard() == {}
    agents[0].observe(np.ones(OBSERVATION))
    fresh = cf.Agent(model, 0)
    fresh.observe(np.ones(OBSERVATION))
    np.testing.assert_array_equal(agents[0].estimate().mean, fresh.estimate().mean)


@pytest.mark.parametrize("options", [{}, {"stir": 0.3}, {"participants": [2, 0]}])
@pytest.mark.parametrize("rule", [cf.CompositeDiffusion(), ParallelMean()])
def test_a_ring_of_hops_is_composite_diffusion_for_the_same_key(key, rule, options):
    model = team_model(key)
    agents, histories = observed(model, rule=rule)
    sampling = cf.Sampling(num_samples=5, num_sweeps=3, **options)
    expected = cf.reconstruct(model.denoiser, jnp.asarray(histories), key=key, sampling=sampling, rule=rule)
    turns, hops = draw_turns(make_plan(AGENTS, sampling), rule, key), 0
    messages = turns.start(STATE)
    for number, speakers in enumerate(turns.speakers):
        noise = turns.noise(number, STATE)
        for place, speaker in enumerate(speakers.tolist()):
            messages = agents[speaker].hop(messages, None if noise is None else noise[place])
            hops += 1
        messages = jax.vmap(rule.end_sweep)(messages)
    np.testing.assert_allclose(jax.vmap(rule.state)(messages), expected.samples, atol=1e-5)
    assert hops == int(expected.messages)
    np.testing.assert_array_equal(turns.speakers, expected.order)


def test_an_agents_share_of_the_checks_is_its_part_of_the_certificate(key):
    model = team_model(key)
    agents, histories = observed(model)
    sampling = cf.Sampling(num_samples=3, num_sweeps=2)
    estimate = cf.reconstruct(model.denoiser, jnp.asarray(histories), key=key, sampling=sampling)
    whole = certify(model.denoiser, jnp.asarray(histories), estimate, radius=model.radius)
    turns = draw_turns(make_plan(AGENTS, sampling), cf.CompositeDiffusion(), key)
    messages = turns.start(STATE)
    for speaker in turns.speakers.reshape(-1).tolist():
        messages = agents[speaker].hop(messages)
    for place, speaker in enumerate(whole.agents.tolist()):
        share = agents[speaker].check(messages).certificate
        assert share.agents.tolist() == [speaker]
        np.testing.assert_allclose(share.radii[:, 0], whole.radii[:, place], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(share.distances[:, 0], whole.distances[:, place], rtol=1e-3, atol=1e-4)
        assert float(share.radius) == float(whole.radius)


def test_an_agents_doubt_is_that_of_the_team(model):
    agents, histories = observed(model)
    assert agents[0].check(jnp.zeros((1, STATE))).doubt is None  # of nobody else anything is known
    exchange(agents)
    answers, watch, everyone = model.fusion.answers, model.fusion.watch, jnp.ones(AGENTS, bool)
    each = answers.answer_each(jnp.asarray(histories))
    together = unusual(watch, answers.prior, each, jnp.asarray(histories), everyone)
    for agent in agents:
        agent.estimate()
        checked = agent.check()
        expected = float(jnp.max(together[agent.number] / watch.scale))
        assert checked.doubt == pytest.approx(expected, rel=1e-3, abs=1e-4)
        assert checked.certificate.distances.shape == (1, 1)


def test_what_a_model_did_not_learn_is_said(key):
    model = team_model(key)
    blind = cf.Agent(cf.Model(model.denoiser, model.layout, model.scaling, None, (), model.state_names, {}), 0)
    blind.observe(np.zeros(OBSERVATION))
    with pytest.raises(InputError, match="learned no fusion"):
        blind.answer()
    with pytest.raises(InputError, match="radius was not measured"):
        blind.check(jnp.zeros((1, STATE)))
    with pytest.raises(InputError, match="nothing to check"):
        blind.check(radius=1.0)
    assert LENGTH > 1 and blind.hop(jnp.zeros((2, STATE))).shape == (2, STATE)
