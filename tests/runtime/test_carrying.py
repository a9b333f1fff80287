"""Agents that carry what the team knows: what `model.filter` says, of whole episodes and of what arrived."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runtime.fused_team import (
    AGENTS,
    LAYOUT,
    OBSERVATION,
    PRIOR,
    SCALING,
    STATE,
    episodes,
    replay,
    team_model,
    with_filter,
)
from runtime.simulated import SimulatedBus

import composite_flow as cf
from composite_flow import cli
from composite_flow.errors import InputError, MismatchError
from composite_flow.fusion.over_time.product import added
from composite_flow.runtime.broadcast import Broadcast
from composite_flow.runtime.identity import model_checksum, sent_shapes
from composite_flow.runtime.inference import Inference
from composite_flow.runtime.loss import Loss
from composite_flow.runtime.message import unpack
from composite_flow.runtime.report import fused_report
from composite_flow.runtime.start import make_rule

EPISODE = 8
UNIT = np.asarray(SCALING.maximum - SCALING.minimum)


@pytest.fixture(scope="module")
def model():
    return with_filter(jax.random.key(3))


def team_of(model, **options):
    return [cf.Agent(model, number, over_time=True, **options) for number in range(AGENTS)]


def tell(agents, heard):
    """Every agent's answer reaches those of whom heard[sender, listener] says so."""
    for sender in agents:
        for listener in agents:
            if listener is not sender and heard[sender.number, listener.number]:
                assert listener.receive(sender.number, sender.step, sender.answer())


def assert_near(found, mean, variance=None):
    np.testing.assert_allclose(np.asarray(found.mean) / UNIT, np.asarray(mean) / UNIT, atol=1e-5)
    if variance is not None:
        np.testing.assert_allclose(found.variance / UNIT**2, variance / UNIT**2, rtol=1e-4, atol=1e-6)


def filtered(model, histories, heard=None):
    """`model.filter` of each episode."""
    parts = [slice(first, first + EPISODE) for first in range(0, len(histories), EPISODE)]
    found = [model.filter(histories[part], None if heard is None else heard[part]) for part in parts]
    return np.concatenate([one.mean for one in found]), np.concatenate([one.variance for one in found])


def test_where_all_answers_arrive_it_is_the_filter_of_the_episode(model):
    agents, logged = team_of(model), episodes(2 * EPISODE)
    everybody, steps = np.ones((AGENTS, AGENTS), bool), []
    for _, histories in replay(agents, logged):
        tell(agents, everybody)
        steps.append((histories, [agent.estimate() for agent in agents]))
    mean, variance = filtered(model, np.stack([histories for histories, _ in steps]))
    for step, (_, found) in enumerate(steps):
        for one in found:
            assert_near(one, mean[step], variance[step])
            assert int(one.messages) == AGENTS and one.message_bytes == 4 * (3 * 2 + 4)
    assert np.abs(mean[1:] - mean[:-1]).max() > 0.05  # the filter says something


def test_answers_that_are_lost_for_all_are_agents_that_take_no_part(model):
    """A silent agent hears the others, and knows what they know; where nobody speaks all know what was predicted."""
    agents, logged = team_of(model), episodes(EPISODE)
    speaks, found = np.random.default_rng(1).random((EPISODE, AGENTS)) < 0.5, []
    speaks[3] = False
    whole = np.asarray(cf.HistoryDataset(logged, LAYOUT.length).joint(np.arange(EPISODE)).histories)
    for step in range(EPISODE):
        for agent in agents:
            agent.observe(logged.observations[step, agent.number], int(logged.actions[step - 1, agent.number]))
        for sender in np.flatnonzero(speaks[step]):
            for listener in agents:
                if listener.number != sender:
                    listener.receive(int(sender), step, agents[sender].answer())
        found.append([agents[listener].carried.estimate(step, (None, False)) for listener in range(AGENTS)])
    mean, variance = filtered(model, whole, speaks)
    for step, told in enumerate(found):
        for one in told:
            assert_near(one, mean[step], variance[step])
            assert np.asarray(one.participants).tolist() == speaks[step].tolist()


def reference(model, histories, heard):
    """Each agent's filter on its own: `hear` of the answers that arrived, each beside its sender's own prediction.

    heard[step, sender, listener]. Returns means in the state's own units, (steps, agents, state).
    """
    team_filter, types = model.fusion.over_time, PRIOR.types
    known, found = [team_filter.initial] * AGENTS, []
    for step, each in enumerate(np.asarray(histories)):
        before = [one if step == 0 else team_filter.predict(one) for one in known]
        said = [team_filter.speaker.answer_each(jnp.asarray(each), one) for one in before]
        for listener in range(AGENTS):
            mean, total = before[listener].mean, jax.tree.map(jnp.zeros_like, jax.tree.map(lambda x: x[0], said[0]))
            for sender in range(AGENTS):
                if heard[step, sender, listener]:
                    one = jax.tree.map(lambda x, s=sender: x[s], said[sender])
                    # λ (μ − ŝ'_listener), with μ = ŝ'_sender + evidence/λ
                    moved = one.evidence + one.weight * (before[sender].mean - mean)
                    one = dataclasses.replace(one, evidence=moved)
                    total = jax.tree.map(jnp.add, total, one)
            known[listener] = added(before[listener], total, types)
        found.append([model.scaling.unscale(one.mean) for one in known])
    return np.asarray(found)


def test_where_answers_are_lost_it_is_the_filter_of_those_that_arrived(model):
    """Each listener loses others; numbers are read beside the listener's own prediction."""
    agents, logged = team_of(model), episodes(EPISODE)
    heard = np.random.default_rng(2).random((EPISODE, AGENTS, AGENTS)) < 0.6
    heard |= np.eye(AGENTS, dtype=bool)
    histories, found = [], []
    for step, each in replay(agents, logged):
        tell(agents, heard[step])
        histories.append(each)
        found.append([np.asarray(agent.estimate().mean) for agent in agents])
    expected = reference(model, np.stack(histories), heard)
    np.testing.assert_allclose(np.asarray(found) / UNIT, expected / UNIT, atol=1e-5)
    assert np.abs(expected[:, 0] - expected[:, 1]).max() > 0.01  # they differ by what they heard


@pytest.mark.parametrize("max_age", [0, 1])
def test_a_late_answer_counts_at_its_own_step_until_it_is_too_old(model, max_age):
    """An answer of step 2 arrives at step 3: by an age of 1 it is as if it had come in time, by 0 it never comes."""
    late, prompt = team_of(model, max_age=max_age), team_of(model)
    logged, everybody = episodes(EPISODE), np.ones((AGENTS, AGENTS), bool)
    lost, kept = everybody.copy(), {}
    lost[1, 0] = False
    for (step, _), _ in zip(replay(late, logged), replay(prompt, logged), strict=True):
        if step == 3:
            late[0].receive(1, 2, kept[2])
        tell(late, lost if step == 2 else everybody)
        tell(prompt, lost if step == 2 and max_age == 0 else everybody)
        kept[step] = late[1].answer()
        one, other = late[0].estimate(), prompt[0].estimate()
        if step != 2:
            assert_near(one, other.mean)


def test_through_steps_without_a_word_it_predicts(model):
    agents, logged = team_of(model), episodes(EPISODE)
    for number, agent in enumerate(agents[:2]):
        agent.observe(logged.observations[0, number])
    tell(agents[:2], np.ones((2, 2), bool))
    robot, team_filter = agents[0], model.fusion.over_time
    known, histories = model.scaling.scale(robot.estimate().mean), jnp.stack([agent.history for agent in agents])
    robot.miss(3)
    found = robot.estimate()
    assert not np.any(found.participants) and int(found.messages) == 0
    carried = team_filter.hear(team_filter.initial, histories, jnp.arange(AGENTS) < 2, jax.random.key(0))[0]
    np.testing.assert_allclose(known, carried.mean, atol=1e-5)
    for _ in range(3):
        carried = team_filter.predict(carried)
    assert_near(found, model.scaling.unscale(carried.mean))


def test_an_episode_begins_anew(model):
    """What was known of the one before is forgotten, also where its first step was not seen."""
    one, other = cf.Agent(model, 0, over_time=True), cf.Agent(model, 0, over_time=True)
    logged = episodes(EPISODE)
    for step in range(4):
        one.observe(logged.observations[step, 0], 0)
    one.observe(logged.observations[5, 0], begins=True)
    other.observe(logged.observations[5, 0])
    np.testing.assert_array_equal(one.estimate().mean, other.estimate().mean)
    one.miss(begins=True)
    np.testing.assert_allclose(
        one.estimate().mean, model.scaling.unscale(model.fusion.over_time.initial.mean), rtol=1e-6
    )
    one.reset()
    one.observe(logged.observations[5, 0])
    np.testing.assert_array_equal(one.estimate().mean, other.estimate().mean)


def test_what_carries_nothing_says_so_in_a_sentence(model, key):
    robot, seen = cf.Agent(model, 0, over_time=True), np.zeros(OBSERVATION)
    with pytest.raises(InputError, match="began before step 7, unseen"):
        robot.observe(seen, step=7)
    robot.miss(7)
    with pytest.raises(InputError, match="How this episode began is unknown"):
        robot.estimate()
    robot.observe(seen, step=8, begins=True)
    assert robot.check(jnp.full((1, STATE), 0.5)).doubt is None
    for options in ({"within": 0}, {"robust": True}):
        with pytest.raises(InputError, match="no other options"):
            robot.estimate(**options)
    robot.estimate()
    robot.miss(2000)
    with pytest.raises(InputError, match="unknown"):
        robot.estimate()
    cases = (
        (team_model(key), InputError, "learned no filter"),
        (with_filter(key, size=LAYOUT.size + 1), MismatchError, "another number of steps in a history"),
    )
    for other, kind, sentence in cases:
        with pytest.raises(kind, match=sentence):
            cf.Agent(other, 0, over_time=True)
    named = dataclasses.replace(model, state_names=("one",))
    with pytest.raises(MismatchError, match="learned for another problem"):
        cf.Agent(named, 0, over_time=True)


# --- on a bus


def on_a_bus(model, **options):
    rule = lambda: Broadcast(sent_shapes(model, True), lambda agent, size: fused_report(agent, size, 0.9))  # noqa: E731
    bus = SimulatedBus(model, rule=rule, **options)
    for number in range(AGENTS):
        bus.start(number, agent=cf.Agent(model, number, over_time=True, max_age=bus.max_age))
    return bus


def test_members_tell_what_the_filter_says_of_the_answers_that_arrived(model):
    """By messages of 32 bits, a third of which are lost."""
    bus, loss, logged = on_a_bus(model), Loss(0.3, seed=5), episodes(EPISODE)
    bus.lost = lambda data, sender, listener: loss.fate(sender, listener, unpack(data).step) is None
    heard = np.ones((EPISODE, AGENTS, AGENTS), bool)
    for step in range(EPISODE):
        bus.step(logged, step)
        bus.wait(0.2)
        for sender in range(AGENTS):
            for listener in range(AGENTS):
                if sender != listener:
                    heard[step, sender, listener] = loss.fate(sender, listener, step) is not None
    whole = np.asarray(cf.HistoryDataset(logged, LAYOUT.length).joint(np.arange(EPISODE)).histories)
    expected = reference(model, whole, heard)
    assert len(bus.told) == EPISODE * AGENTS
    for told in bus.told:
        mean = np.asarray(list(told["mean"].values()))
        np.testing.assert_allclose(mean / UNIT, expected[told["step"], told["agent"]] / UNIT, atol=1e-5)
        assert told["participants"] == np.flatnonzero(heard[told["step"], :, told["agent"]]).tolist()
        assert "verdict" not in told and "intervals" not in told


def test_one_that_joins_late_is_silent_until_an_episode_begins(model):
    bus, logged = on_a_bus(model), episodes(2 * EPISODE)
    for step in range(2):
        bus.step(logged, step)
    bus.kill(2)
    bus.start(2, agent=cf.Agent(model, 2, over_time=True))
    for step in range(2, EPISODE + 1):
        bus.step(logged, step)
        bus.wait(0.2)
    of_two = {told["step"]: told for told in bus.told if told["agent"] == 2}
    assert "unknown" in of_two[5]["nothing"] and of_two[5]["refused"] == {"observation that cannot be used": 4}
    assert of_two[EPISODE]["participants"] == [0, 1, 2, 3]
    others = [told for told in bus.told if told["agent"] == 0 and told["step"] == 5]
    assert others[0]["participants"] == [0, 1, 3]


def test_members_that_carry_and_that_do_not_refuse_each_other(model):
    assert model_checksum(model, over_time=True) != model_checksum(model)
    for options in ({"by": "tree"}, {"by": "ring"}, {"robust": True}):
        with pytest.raises(InputError, match="goes with --rule broadcast|--robust has no meaning"):
            make_rule(model, Inference(over_time=True, **options))


@pytest.mark.slow
def test_a_team_of_processes_tells_what_the_filter_says(model, tmp_path, capsys):
    """On a real bus, by the command line; the deadline is far, so that everybody is heard."""
    pytest.importorskip("zenoh")
    logged = episodes(2 * EPISODE)
    named = dataclasses.replace(model, state_names=logged.state_names)
    logged.save(tmp_path / "data")
    named.save(tmp_path / "run")
    arguments = ["team", str(tmp_path / "run"), str(tmp_path / "data"), "--over-time", "--deadline", "100", "--json"]
    assert cli.main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    whole = cf.HistoryDataset(logged, LAYOUT.length).joint(np.arange(2 * EPISODE)).histories
    error = (filtered(model, whole)[0] - np.asarray(logged.states)) / UNIT
    for row in told["agents"]:
        assert row["steps"] == 2 * EPISODE and row["heard"] == AGENTS and row["refused"] == {}
        assert row["root_mean_square_error"] == pytest.approx(float(np.sqrt(np.mean(error**2))), rel=1e-4)
