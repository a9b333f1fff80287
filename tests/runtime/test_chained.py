"""A chain's message on a ring, and over time: what `model.filter` and `model.infer_by_chain` say in the same order."""

import dataclasses
import json
from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runtime.fused_team import (
    AGENTS,
    LAYOUT,
    OBSERVATION,
    SCALING,
    STATE,
    episodes,
    replay,
    team_model,
    with_chain,
    with_filter,
)
from runtime.simulated import SimulatedBus

import composite_flow as cf
from composite_flow import cli
from composite_flow.errors import InputError, MismatchError
from composite_flow.fusion.over_time.carried import Carried
from composite_flow.runtime.identity import model_checksum
from composite_flow.runtime.inference import Inference
from composite_flow.runtime.member import Settings
from composite_flow.runtime.message import RING, TOTAL, overhead, unpack
from composite_flow.runtime.ring import draw_order
from composite_flow.runtime.start import make_rule

EPISODE, UNIT = 8, np.asarray(SCALING.maximum - SCALING.minimum)
CARRIED = Inference("ring", over_time=True, seed=3)


@pytest.fixture(scope="module", params=["residual", "gated"])
def model(request):
    return with_filter(jax.random.key(3), request.param)


@pytest.fixture(scope="module")
def residual():
    return with_filter(jax.random.key(3), "residual")


def joint(logged):
    return np.asarray(cf.HistoryDataset(logged, LAYOUT.length).joint(np.arange(logged.num_steps)).histories)


def assert_near(found, scaled):
    """States in their own units, and scaled ones."""
    np.testing.assert_allclose((np.asarray(found) - np.asarray(SCALING.minimum)) / UNIT, scaled, atol=1e-5)


def key_of(order):
    """A key by which `hear` lets agents speak in this order."""
    keys = jax.vmap(jax.random.key)(jnp.arange(500))
    orders = np.asarray(jax.vmap(lambda key: jax.random.permutation(key, AGENTS))(keys))
    return keys[int(np.flatnonzero((orders == np.asarray(order)).all(axis=1))[0])]


def heard_in(model, order, start, histories, participants):
    """What the filter itself knows after a step, from a mean, in this order; scaled."""
    nothing, who = jnp.zeros(STATE), np.isin(np.arange(AGENTS), participants)
    before = Carried(jnp.asarray(start), nothing, nothing)
    chain = model.fusion.over_time
    return np.asarray(chain.hear(before, jnp.asarray(histories), jnp.asarray(who), key_of(order))[0].mean)


# --- agents alone


def test_a_sweep_of_hops_a_step_is_the_filter_of_the_episode(model):
    """In the orders that `model.filter` draws; half of the agents take no part, and all hear where a step ended."""
    agents = [cf.Agent(model, number, over_time=True) for number in range(AGENTS)]
    logged, key = episodes(EPISODE), jax.random.key(5)
    speaks = np.random.default_rng(1).random((EPISODE, AGENTS)) < 0.5
    speaks[3] = False
    histories, found = [], []
    for step, each in replay(agents, logged):
        order = np.asarray(jax.random.permutation(jax.random.split(key, EPISODE)[step], AGENTS))
        speakers = [int(agent) for agent in order if speaks[step, agent]]
        message = agents[order[0]].begin()
        for speaker in speakers:
            message = agents[speaker].hop(message)
        assert all(agent.end(message, speakers) == bool(speakers) for agent in agents)
        assert not agents[0].end(message, speakers)  # it was heard
        histories.append(each)
        found.append([agent.estimate() for agent in agents])
    expected = model.filter(np.stack(histories), speaks, key=key)
    for step, estimates in enumerate(found):
        for one in estimates:
            np.testing.assert_allclose(one.mean / UNIT, expected.mean[step] / UNIT, atol=1e-5)
            np.testing.assert_allclose(one.variance, expected.variance[step], atol=1e-5)  # none is claimed of numbers
            assert np.asarray(one.participants).tolist() == speaks[step].tolist()
            assert int(one.messages) == int(expected.messages[step]) and one.message_bytes == 4 * STATE
    moved = np.abs(np.diff(np.asarray(expected.mean), axis=0)).max(axis=1)
    assert moved[2] < 1e-6 and moved.max() > 0.05  # where nobody spoke nothing changes


def test_hops_of_the_gated_chain_are_what_the_joint_call_infers(key):
    model = with_chain(key)
    agents = [cf.Agent(model, number, by="chain") for number in range(AGENTS)]
    for _, histories in islice(replay(agents, episodes(EPISODE)), 3):
        message = agents[2].begin()
        for speaker in (2, 0, 3):
            message = agents[speaker].hop(message)
        expected = model.infer_by_chain(histories, [2, 0, 3]).mean
        np.testing.assert_allclose(model.scaling.unscale(message[0]) / UNIT, expected / UNIT, atol=1e-5)
    assert np.abs(model.scaling.unscale(agents[2].begin()[0]) - expected).max() > 0.01


def test_a_message_that_holds_no_noisy_state_tells_nothing_of_stability(key):
    """The check looks at the team's states instead."""
    model, seen = with_chain(key), np.full(OBSERVATION, 0.4)
    one, other, states = cf.Agent(model, 0, by="chain"), cf.Agent(model, 0), jnp.full((1, STATE), 0.3)
    for agent in (one, other):
        agent.observe(seen)
    one.hop(one.begin())
    np.testing.assert_array_equal(one.check(states).certificate.radii, other.check(states).certificate.radii)


def test_what_is_no_chain_or_no_message_of_it_is_refused(residual, key):
    robot, plain = cf.Agent(residual, 0, over_time=True), cf.Agent(residual, 0)
    for agent in (robot, plain):
        agent.observe(np.zeros(OBSERVATION))
    with pytest.raises(InputError, match="goes from agent to agent"):
        robot.answer()
    with pytest.raises(InputError, match="goes from agent to agent"):
        robot.receive(1, 0, plain.answer())
    for options in ({"within": 0}, {"robust": True}):
        with pytest.raises(InputError, match="no other options"):
            robot.estimate(**options)
    with pytest.raises(InputError, match="begins with noise"):
        plain.begin()
    with pytest.raises(InputError, match="Only a chain's message"):
        plain.end(jnp.zeros((1, STATE)))
    message = robot.begin()
    for broken in (message._replace(mean=message.mean * jnp.nan), message._replace(mean=message.mean[:, 1:])):
        with pytest.raises(InputError, match="6 finite numbers"):
            robot.end(broken)
    with pytest.raises(InputError, match="max_age is of answers"):
        cf.Agent(residual, 0, over_time=True, max_age=1)
    with pytest.raises(InputError, match="learned no chain"):
        cf.Agent(residual, 0, by="chain")
    for other, sentence in (
        (with_filter(key, "gated", size=LAYOUT.size + 1), "another number of steps in a history"),
        (dataclasses.replace(residual, state_names=("one",)), "learned for another problem"),
    ):
        with pytest.raises(MismatchError, match=sentence):
            cf.Agent(other, 0, over_time=True)


def test_rules_and_options_that_have_no_meaning_are_refused_in_a_sentence(residual, key):
    product = with_filter(key)
    for model, options, sentence in (
        (residual, {"by": "broadcast", "over_time": True}, "goes with --rule ring, not broadcast"),
        (residual, {"by": "chain", "over_time": True}, "goes with --rule ring, not chain"),
        (product, {"by": "ring", "over_time": True}, "goes with --rule broadcast, not ring"),
        (residual, {"by": "ring", "over_time": True, "robust": True}, "--robust has no meaning"),
        (residual, {"by": "ring", "over_time": True, "num_samples": 2}, "where --samples has no meaning"),
        (with_chain(key), {"by": "chain", "num_sweeps": 2, "max_age": 1}, "--sweeps and --max-age have no meaning"),
        (residual, {"by": "chain"}, "learned no chain"),
        (team_model(key), {"by": "ring", "over_time": True}, "learned no filter"),
        (team_model(key), {"by": "tree", "over_time": True}, "learned no filter"),
    ):
        with pytest.raises(InputError, match=sentence):
            make_rule(model, Inference(**options))


def test_members_that_hand_on_other_messages_refuse_each_other(key):
    model = with_chain(key)
    assert len({model_checksum(model), model_checksum(model, by_chain=True), model_checksum(model, True)}) == 3
    other = dataclasses.replace(
        model, fusion=dataclasses.replace(model.fusion, chain=with_chain(jax.random.key(1)).chain)
    )
    assert model_checksum(other) == model_checksum(model)
    assert model_checksum(other, by_chain=True) != model_checksum(model, by_chain=True)


# --- on a bus


def on_a_bus(model, inference=CARRIED, numbers=range(AGENTS), **options):
    bus = SimulatedBus(model, rule=lambda: make_rule(model, inference), **options)
    for number in numbers:
        join(bus, number, inference)
    return bus


def join(bus, number, inference=CARRIED):
    by = "chain" if inference.by == "chain" else "denoiser"
    bus.start(number, agent=cf.Agent(bus.model, number, by=by, over_time=inference.over_time))


def latest(bus, step):
    """What each member told of a step: its mean, scaled, and what it said beside."""
    told = {one["agent"]: one for one in bus.told if one["step"] == step}
    scaled = {agent: np.asarray(list(one["mean"].values())) for agent, one in told.items() if "mean" in one}
    return {agent: (mean - np.asarray(SCALING.minimum)) / UNIT for agent, mean in scaled.items()}, told


def test_a_ring_carries_the_mean_from_step_to_step_as_the_filter_does(model):
    """Over two episodes, one member dead for some steps; one message of the state's size from each to the next."""
    bus, logged = on_a_bus(model), episodes(2 * EPISODE)
    known, alive = None, list(range(AGENTS))
    for step in range(2 * EPISODE):
        if step == 3:
            bus.kill(2)
            alive.remove(2)
        if step == 6:
            join(bus, 2)
            alive = list(range(AGENTS))
        if step % EPISODE == 0:
            known = model.fusion.over_time.initial.mean
        bus.step(logged, step)
        order = draw_order(CARRIED.seed, step, 1, AGENTS)
        # who came back in the middle of an episode cannot be the first of a step, until it has heard one end
        speakers = [i for i in order if i in alive and not (step == 6 and i == 2 and i == order[0])]
        histories = np.zeros((AGENTS, LAYOUT.size), np.float32)
        histories[alive] = [bus.members[i].agent.history for i in alive]  # that of a late joiner is shorter
        known = heard_in(model, order, known, histories, speakers)
        means, told = latest(bus, step)
        assert sorted(told) == alive
        for agent, mean in means.items():
            np.testing.assert_allclose(mean, known, atol=1e-5)
            assert told[agent]["participants"] == sorted(speakers) and told[agent]["hops"] == len(speakers)
            assert "verdict" not in told[agent] and "deviation" not in told[agent] and told[agent]["refused"] == {}
    kinds = [unpack(data).kind for data, _, _ in bus.sent]
    assert kinds.count(TOTAL) == 2 * EPISODE and kinds.count(RING) == 2 * EPISODE * (AGENTS - 1) - 3
    assert {len(data) for data, _, _ in bus.sent} == {overhead(None) + 8 + 1 + 4 * STATE}


def test_who_missed_where_a_step_ended_goes_on_from_the_last_it_heard(residual):
    """Everybody else hears it. In the next step the one that missed it begins, and all go on from there."""
    logged = episodes(EPISODE)
    histories = joint(logged)
    missing = draw_order(CARRIED.seed, 2, 1, AGENTS)[0]
    bus = on_a_bus(residual, settings=Settings("test", deadline=0.1))
    bus.lost = lambda data, _, listener: listener == missing and unpack(data).kind == TOTAL and unpack(data).step == 1
    known = residual.fusion.over_time.initial.mean
    ends = []
    for step in range(3):
        bus.step(logged, step)
        bus.wait(0.2)
        order = draw_order(CARRIED.seed, step, 1, AGENTS)
        known = heard_in(residual, order, ends[0] if step == 2 else known, histories[step], range(AGENTS))
        ends.append(known)
        means, told = latest(bus, step)
        for agent, mean in means.items():
            behind = step == 1 and agent == missing and order[-1] != missing  # the last one need not be told
            np.testing.assert_allclose(mean, ends[0] if behind else known, atol=1e-5)
            assert told[agent]["participants"] == ([] if behind else [0, 1, 2, 3])
    assert draw_order(CARRIED.seed, 1, 1, AGENTS)[-1] != missing and np.abs(ends[1] - ends[0]).max() > 0.01


def test_an_end_that_is_heard_late_is_where_the_next_step_begins(residual):
    logged, histories = episodes(EPISODE), joint(episodes(EPISODE))
    first = draw_order(CARRIED.seed, 2, 1, AGENTS)[0]
    bus, late = on_a_bus(residual, settings=Settings("test", deadline=0.1)), []

    def held(data, _, listener):
        is_late = listener == first and unpack(data).kind == TOTAL and unpack(data).step == 1 and not late
        return late.append(data) or True if is_late else False

    bus.lost = held
    known = residual.fusion.over_time.initial.mean
    for step in range(3):
        bus.step(logged, step)
        bus.wait(0.2)
        if step == 1:
            bus.members[first].hear(late[0], bus.now)
        order = draw_order(CARRIED.seed, step, 1, AGENTS)
        known = heard_in(residual, order, known, histories[step], range(AGENTS))
    for mean in latest(bus, 2)[0].values():
        np.testing.assert_allclose(mean, known, atol=1e-5)
    assert bus.members[first].refused == {}


def test_where_the_message_is_lost_all_go_on_from_the_step_before(residual):
    logged, histories = episodes(EPISODE), joint(episodes(EPISODE))
    bus = on_a_bus(residual, settings=Settings("test", deadline=0.1))
    bus.lost = lambda data, *_: unpack(data).step == 1
    known = residual.fusion.over_time.initial.mean
    for step in range(3):
        bus.step(logged, step)
        bus.wait(0.2)
        if step != 1:
            order = draw_order(CARRIED.seed, step, 1, AGENTS)
            known = heard_in(residual, order, known, histories[step], range(AGENTS))
        means, told = latest(bus, step)
        assert len(means) == AGENTS and all((one["hops"] == 0) == (step == 1) for one in told.values())
        for mean in means.values():
            np.testing.assert_allclose(mean, known, atol=1e-5)


def test_halves_of_a_team_go_on_apart_and_are_one_again_after_a_step(residual):
    """Each half hands on a message of its own; once they meet all go on from where the first speaker's half was."""
    bus, logged, half = on_a_bus(residual), episodes(EPISODE), lambda agent: agent // 2
    histories, known = joint(logged), {0: residual.fusion.over_time.initial.mean}
    known[1] = known[0]
    for step in range(5):
        apart, everybody = step in (2, 3), bus.members.values()
        bus.lost = lambda _, sender, listener, apart=apart: apart and half(sender) != half(listener)
        for one in everybody:
            for other in everybody:
                if half(one.agent.number) != half(other.agent.number):
                    (one.miss if apart else one.meet)(other.agent.number, other.nonce, bus.now)
        bus.step(logged, step)
        order = draw_order(CARRIED.seed, step, 1, AGENTS)
        start = dict(known)
        for side in (0, 1):
            speakers = [agent for agent in order if half(agent) == side] if apart else order
            known[side] = heard_in(residual, order, start[half(speakers[0])], histories[step], speakers)
        means, told = latest(bus, step)
        for agent, mean in means.items():
            np.testing.assert_allclose(mean, known[half(agent)], atol=1e-5)
            assert told[agent]["hops"] == (AGENTS // 2 if apart else AGENTS)
        assert len(means) == AGENTS and (np.abs(known[0] - known[1]).max() > 0.01) == apart


def test_nobody_who_knows_how_the_episode_began_is_said(residual):
    """All members start in the middle of an episode: they infer from where the next one begins."""
    bus, logged = on_a_bus(residual), episodes(2 * EPISODE)
    for step in range(3, EPISODE + 1):
        bus.step(logged, step)
        bus.wait(0.2)
        told = latest(bus, step)[1]
        assert all(("nothing" in one) == (step < EPISODE) for one in told.values()) and len(told) == AGENTS
    assert "How this episode began is unknown" in bus.told[0]["nothing"]


def test_the_gated_chain_goes_once_round_a_ring(key):
    model, asked = with_chain(key), Inference("chain", seed=1)
    bus, logged = on_a_bus(model, asked), episodes(EPISODE)
    histories = joint(logged)
    for step in range(4):
        if step == 2:
            bus.kill(1)
        bus.step(logged, step)
        speakers = [i for i in draw_order(1, step, 1, AGENTS) if step < 2 or i != 1]
        expected = model.infer_by_chain(histories[step], speakers).mean
        for mean in (means := latest(bus, step)[0]).values():
            assert_near(expected, mean)
        assert len(means) == len(speakers)
    bus.lost = lambda *_: True
    bus.step(logged, 4)
    bus.wait(0.2)
    assert all("did not come round" in one["nothing"] for one in latest(bus, 4)[1].values())


def test_where_nobody_sees_a_ring_tells_nothing(key):
    bus = on_a_bus(team_model(key), Inference("ring", num_samples=1, num_sweeps=1))
    for number in range(AGENTS):
        bus.observe(number, np.full(OBSERVATION, np.nan), step=0)
    bus.carry()
    assert len(bus.told) == AGENTS and all("Nobody has observed" in told["nothing"] for told in bus.told)


@pytest.mark.slow
def test_a_team_of_processes_carries_a_chain(residual, tmp_path, capsys):
    """On a real bus, by the command line; the deadline is far, so that each message comes round."""
    pytest.importorskip("zenoh")
    logged = episodes(2 * EPISODE)
    dataclasses.replace(residual, state_names=logged.state_names).save(tmp_path / "run")
    logged.save(tmp_path / "data")
    arguments = ["team", str(tmp_path / "run"), str(tmp_path / "data"), "--over-time", "--json"]
    assert cli.main(arguments) == 1 and "goes with --rule ring" in " ".join(capsys.readouterr().err.split())
    arguments += ["--rule", "ring", "--deadline", "100", "--team-seed", "3"]
    assert cli.main(arguments) == 0
    told, known, errors = json.loads(capsys.readouterr().out), None, []
    for step, histories in enumerate(joint(logged)):
        known = residual.fusion.over_time.initial.mean if step % EPISODE == 0 else known
        known = heard_in(residual, draw_order(3, step, 1, AGENTS), known, histories, range(AGENTS))
        errors.append(known - np.asarray(SCALING.scale(jnp.asarray(logged.states[step]))))
    for row in told["agents"]:
        assert row["steps"] == 2 * EPISODE and row["heard"] == AGENTS and row["refused"] == {}
        assert row["root_mean_square_error"] == pytest.approx(float(np.sqrt(np.mean(np.square(errors)))), rel=1e-4)
