"""Members on a simulated bus: what enters an estimate, what is refused and counted, and when steps close."""

import json

import jax
import numpy as np
import pytest
from runtime.fused_team import AGENTS, OBSERVATION, SCALING, episodes, team_model
from runtime.simulated import SimulatedBus

import composite_flow as cf
from composite_flow.errors import InputError
from composite_flow.runtime.identity import model_checksum
from composite_flow.runtime.loss import Loss
from composite_flow.runtime.member import Settings
from composite_flow.runtime.message import is_proof, prove, unpack
from composite_flow.runtime.observation import parse_numbers

KEY = b"0123456789abcdef"


@pytest.fixture(scope="module")
def model():
    return team_model(jax.random.key(0))


def started(model, **options):
    bus = SimulatedBus(model, **options)
    for number in range(AGENTS):
        bus.start(number)
    return bus


def joint(model, logged):
    return np.asarray(cf.HistoryDataset(logged, model.layout.length).joint(np.arange(logged.num_steps)).histories)


def assert_all_joint(model, found, histories):
    """What was told is what the joint call says, given exactly the participants; and the verdicts."""
    teams = np.zeros((len(found), AGENTS), bool)
    for row, told in zip(teams, found, strict=True):
        row[told["participants"]] = True
    expected = model.fuse_batch(histories[[told["step"] for told in found]], teams, check=True)
    unit = np.asarray(SCALING.maximum - SCALING.minimum)
    means = np.asarray([list(told["mean"].values()) for told in found])
    assert np.abs((means - np.asarray(expected.mean)) / unit).max() < 1e-5
    np.testing.assert_allclose([told["uncertainty"] for told in found], expected.uncertainty, rtol=1e-5)
    np.testing.assert_array_equal([told["verdict"]["accepted"] for told in found], expected.accepted)


def test_a_thousand_steps_with_a_third_of_the_messages_lost(model):
    """Every estimate is the joint call's of exactly the answers that arrived, and says whose they are."""
    logged, loss = episodes(250, length=10), Loss(0.3, seed=3)  # four agents: 1,000 estimates
    bus, histories = started(model), joint(model, logged)
    bus.lost = lambda data, sender, listener: loss.fate(sender, listener, unpack(data).step) is None
    for step in range(logged.num_steps):
        bus.step(logged, step)
        bus.wait(0.2)
    assert len(bus.told) == 1000
    for told in bus.told:
        own, step = told["agent"], told["step"]
        assert told["participants"] == [i for i in range(AGENTS) if i == own or loss.fate(i, own, step) is not None]
    assert_all_joint(model, bus.told, histories)
    share = 1 - np.mean([len(told["participants"]) - 1 for told in bus.told]) / (AGENTS - 1)
    assert 0.25 < share < 0.35


def test_a_step_closes_when_all_who_are_present_are_heard(model):
    bus, logged = started(model), episodes(8)
    bus.step(logged, 0)
    assert sorted(told["agent"] for told in bus.told) == [0, 1, 2, 3]  # no time has passed
    assert all(told["participants"] == [0, 1, 2, 3] and told["late"] == 0 for told in bus.told)
    bus.kill(2)
    bus.step(logged, 1)
    assert all(told["participants"] == [0, 1, 3] for told in bus.told[4:]) and len(bus.told) == 7


def test_at_the_deadline_those_heard_by_then_count(model):
    bus, logged = started(model), episodes(8)
    bus.lost = lambda data, sender, listener: sender == 1 and listener == 0
    bus.step(logged, 0)
    assert 0 not in [told["agent"] for told in bus.told]
    bus.wait(0.05)
    assert 0 not in [told["agent"] for told in bus.told]
    bus.wait(0.06)
    assert bus.told[-1]["agent"] == 0 and bus.told[-1]["participants"] == [0, 2, 3]
    assert bus.told[-1]["late"] == pytest.approx(0.01)


def test_a_killed_one_comes_back_and_what_it_said_before_is_not_believed(model):
    bus, logged = started(model), episodes(8)
    bus.step(logged, 0)
    bus.kill(3)
    before = [data for data, sender, _ in bus.sent if sender == 3]
    bus.step(logged, 1)
    bus.start(3)
    for data in before:  # a replay of its last life
        bus.members[0].hear(data, bus.now)
    assert bus.members[0].refused == {"not introduced": 1}
    bus.step(logged, 2)
    assert [told["participants"] for told in bus.told[-4:]] == [[0, 1, 2, 3]] * 4


def test_replays_and_forgeries_never_enter(model):
    """Signed: only what the sender said, once, in its present life, to this team."""
    bus, logged = started(model, settings=Settings("test", key=KEY)), episodes(16)
    histories = joint(model, logged)
    recorded, random = [], np.random.default_rng(0)
    for step in range(logged.num_steps):
        bus.step(logged, step)
        recorded += [data for data, _, _ in bus.sent]
        bus.sent.clear()
        for member in bus.members.values():
            old = recorded[random.integers(len(recorded))]
            member.hear(old, bus.now)
            flipped = bytearray(old)
            flipped[random.integers(len(flipped))] ^= 1 + random.integers(255)
            member.hear(bytes(flipped), bus.now)
            member.hear(old[:-16], bus.now)
            member.hear(random.bytes(120), bus.now)
        bus.wait(0.2)
    assert len(bus.told) == AGENTS * logged.num_steps
    assert all(told["participants"] == [0, 1, 2, 3] for told in bus.told)
    assert_all_joint(model, bus.told, histories)
    for member in bus.members.values():
        assert member.refused["unsigned or altered"] + member.refused.get("no message", 0) == 3 * logged.num_steps
        assert member.refused.get("heard before", 0) + member.refused.get("of no other agent", 0) == logged.num_steps


def test_two_teams_and_two_models_on_one_bus(model):
    ours, theirs = started(model), started(model, settings=Settings("other"))
    stranger = SimulatedBus(team_model(jax.random.key(1)))
    stranger.start(1)
    ours.members[0].meet(1, stranger.members[1].nonce, 0.0)
    for bus in (theirs, stranger):
        bus.step(episodes(8), 0)
        for data, _, _ in bus.sent:
            ours.members[0].hear(data, 0.0)
    assert ours.members[0].refused == {"of another model": 1, "of another team": 4}
    assert model_checksum(model) != model_checksum(stranger.model)


def test_clocks_that_differ_by_a_second_change_nothing(model):
    logged = episodes(8)
    told = []
    for offsets in ({}, {0: 1.0, 2: -1.0}):
        bus = started(model, offsets=offsets)
        bus.lost = lambda data, sender, listener: sender == 1
        for step in range(8):
            bus.step(logged, step)
            bus.wait(0.11)
        told.append([{name: value for name, value in one.items() if name != "late"} for one in bus.told])
    assert told[0] == told[1] and len(told[0]) == 8 * AGENTS


def test_a_clock_that_jumps_back_only_delays_a_deadline(model):
    logged, bus = episodes(8), started(model)
    bus.lost = lambda data, sender, listener: sender == 1 and listener == 0
    bus.step(logged, 0)
    bus.wait(-1e6)
    assert 0 not in [told["agent"] for told in bus.told]  # its deadline is far now
    bus.step(logged, 1)  # which the next step does not wait for
    (told,) = [told for told in bus.told if told["agent"] == 0]
    assert told["participants"] == [0, 2, 3] and told["late"] == 0.0
    bus.lost = lambda *_: False
    bus.step(logged, 2)
    assert [told["participants"] for told in bus.told[-4:]] == [[0, 1, 2, 3]] * 4
    assert_all_joint(model, bus.told, joint(model, logged))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "that cannot be read"),
        (b"[1, 2]", "that cannot be read"),
        (b'{"action": 1}', "that cannot be read"),
        (b'{"observation": [1, 2, 3], "step": 1}', "that cannot be used"),
        (b'{"observation": [NaN, 0], "step": 1}', "that cannot be used"),
        (b'{"observation": [0, 0], "action": 9, "step": 1}', "that cannot be used"),
        (b'{"observation": [0, 0], "action": 0, "step": 0}', "of a step that is over"),
    ],
)
def test_bad_observations_are_counted_and_the_agent_lives(model, data, reason):
    bus, logged = started(model), episodes(8)
    bus.step(logged, 0)
    bus.members[0].observe(data, bus.now)
    for number in (1, 2, 3):
        bus.observe(number, logged.observations[1, number], action=0, step=1)
    bus.carry()
    bus.wait(0.2)
    assert bus.members[0].refused == {f"observation {reason}": 1}
    if reason == "that cannot be used":  # it hears the others all the same
        (told,) = [told for told in bus.told if told["agent"] == 0 and told["step"] == 1]
        assert told["participants"] == [1, 2, 3]
    bus.step(logged, 2)
    bus.wait(0.2)
    assert bus.told[-1]["participants"] == [0, 1, 2, 3]


def test_numbers_as_they_are_are_observations_too(model):
    member = started(model).members[0]
    numbers = np.frombuffer(b"{}}{" * OBSERVATION, "<f4")  # as bytes they might be taken for JSON
    member.observe(numbers.tobytes(), 0.0, parse_numbers)
    np.testing.assert_array_equal(member.agent.history[2 * OBSERVATION : 3 * OBSERVATION], numbers)
    member.observe(np.zeros(OBSERVATION, "<f4").tobytes(), 0.0, parse_numbers)  # three steps of history need the action
    assert member.agent.step == 0
    member.observe(b"12345", 0.0, parse_numbers)
    assert member.refused == {"observation that cannot be read": 1, "observation that cannot be used": 1}


@pytest.mark.parametrize(("bits", "most"), [(16, 142), (8, 122)])
def test_a_budget_is_kept_and_said(model, bits, most):
    logged = episodes(8)
    bus = started(model, settings=Settings("test", bits=bits, most_bytes=most, key=KEY))
    for step in range(8):
        bus.step(logged, step)
    assert all(len(data) <= most for data, _, _ in bus.sent)
    assert all(told["bytes"] <= most and told["messages"] == 1 for told in bus.told)
    exact = [model.fuse(histories).mean for histories in joint(model, logged)]
    means = np.asarray([list(told["mean"].values()) for told in bus.told if told["agent"] == 0])
    error = (means - np.asarray(exact)) / np.asarray(SCALING.maximum - SCALING.minimum)
    assert 0 < np.abs(error).max() < (0.02 if bits == 8 else 1e-3)


def test_settings_that_cannot_be():
    for broken, sentence in (
        ({"team": "a/b"}, "A team's name"),
        ({"team": ""}, "A team's name"),
        ({"team": "a", "deadline": 0.0}, "positive number of seconds"),
        ({"team": "a", "key": b"short"}, "16 bytes at least, not 5"),
    ):
        with pytest.raises(InputError, match=sentence):
            Settings(**broken)
    with pytest.raises(InputError, match="before it says anything"):
        Settings("a", most_bytes=20).most_payload  # noqa: B018


def test_only_who_is_there_can_prove_it():
    reply = prove(b"challenge", "team", 3, 77, KEY)
    assert is_proof(reply, b"challenge", "team", 3, 77, KEY)
    for other in (
        (b"another", "team", 3, 77, KEY),
        (b"challenge", "other", 3, 77, KEY),
        (b"challenge", "team", 2, 77, KEY),
        (b"challenge", "team", 3, 78, KEY),
        (b"challenge", "team", 3, 77, b"another key of 16"),
    ):
        assert not is_proof(reply, *other)


def test_what_is_told_can_be_read_by_others(model):
    bus = started(model)
    bus.step(episodes(8), 0)
    told = json.loads(json.dumps(bus.told[0]))
    assert set(told) >= {"agent", "step", "participants", "mean", "deviation", "intervals", "late", "refused", "bytes"}
    low, high = told["intervals"]["heat"]
    assert low < told["mean"]["heat"] < high and set(told["intervals"]) == {"speed", "heat"}
