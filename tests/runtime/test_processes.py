"""Agents as processes on a real bus: killed, stopped, late, of other teams, and lied to."""

import dataclasses
import json
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from functools import cache

import jax
import numpy as np
import pytest
from runtime.fused_team import AGENTS, SCALING, episodes, team_model

import composite_flow as cf
from composite_flow import cli
from composite_flow.export.folder import export_model
from composite_flow.runtime.bus import MOST_DIRECT, Bus, bus_of
from composite_flow.runtime.inference import Inference
from composite_flow.runtime.launcher import TeamProcesses, agent_command, exported_command, free_port, replay
from composite_flow.runtime.loss import Loss
from composite_flow.runtime.member import Settings
from composite_flow.runtime.message import RefusedMessage, prove, unpack
from composite_flow.runtime.start import agent_process

pytest.importorskip("zenoh")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow

PARTED = (2900, 2919)
LOSS = Loss(0.2, 0.01, seed=7, parted=PARTED)
SECONDS = 120.0  # until what should happen has happened, however slow the machine is
OPTIONS = ["--deadline", "0.6", "--lose", "0.2", "--delay", "0.01", "--team-seed", "7"]
OPTIONS += ["--parted", *map(str, PARTED), "--key"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run, also exported, and the team's key."""
    folder = tmp_path_factory.mktemp("team")
    model().save(folder / "run")
    export_model(model(), folder / "exported")
    (folder / "key").write_text("a secret of the team\n")
    return folder


@pytest.fixture(scope="module")
def started(folder):
    """Four processes that have met; messages are signed, a fifth of them is lost, and the others are late by 10 ms.

    One of them runs on JAX, and the others, which start soon, are exported.
    """
    options, exported = [*OPTIONS, str(folder / "key")], str(folder / "exported")
    commands = {agent: exported_command(exported, agent, "ours", options, sys.executable) for agent in range(1, AGENTS)}
    commands[0] = agent_command(str(folder / "run"), 0, "ours", options)
    with TeamProcesses("ours", commands) as processes:
        processes.wait_until_met()
        yield processes


@pytest.fixture
def team(started):
    """The same, all of them running, at the start of an episode."""
    for agent in list(started.paused):
        started.resume(agent)
    for agent in set(range(AGENTS)) - set(started.processes):
        started.start(agent)
    started.wait_until_met()
    return started


LOGGED = episodes(3000, length=10)
STEPS = iter(range(3000))


def next_steps(count):
    """Steps that no test has used: a step that is over does not come again."""
    return [next(STEPS) for _ in range(count)]


@cache
def model():
    return team_model(jax.random.key(0))


@cache
def histories():
    return np.asarray(cf.HistoryDataset(LOGGED, model().layout.length).joint(np.arange(3000)).histories)


def assert_joint(told):
    """What was told is what the joint call says, given exactly the participants, and so is the verdict."""
    expected = model().fuse(histories()[told["step"]], told["participants"])
    unit = np.asarray(SCALING.maximum - SCALING.minimum)
    np.testing.assert_allclose(
        np.asarray(list(told["mean"].values())) / unit, np.asarray(expected.mean) / unit, atol=1e-5
    )
    assert told["verdict"]["accepted"] == expected.verdict.accepted
    assert told["uncertainty"] == pytest.approx(float(expected.uncertainty), rel=1e-4)


def expected_participants(agent, step, there):
    return [i for i in there if i == agent or LOSS.fate(i, agent, step) is not None]


def assert_told(found, there):
    """Everybody who is there told of those whose messages arrived, and of nobody else.

    On a busy machine some arrive after the deadline: who heard whom is returned.
    """
    for agent, told in found.items():
        expected = expected_participants(agent, told["step"], there)
        assert agent in told["participants"] and set(told["participants"]) <= set(expected)
        assert_joint(told)
    return {(agent, other) for agent, told in found.items() for other in told["participants"]}


def follow(team, there, count):
    """Replay steps from the start of an episode on, until so many were seen by everybody who is there.

    A machine that is busy for longer than the lease loses connections for a moment, and what was said meanwhile. Who
    misses an observation begins its history anew, so that others than the log's are seen until the next episode.
    """
    heard, whole, until = set(), False, time.monotonic() + SECONDS
    while count:
        assert time.monotonic() < until
        (step,) = next_steps(1)
        whole = whole or step % 10 == 0
        if whole:
            ((_, found),) = replay(team, LOGGED, [step], 5.0)
            assert set(found) <= set(there)
            whole = set(found) == set(there)
        if whole:
            heard, count = heard | assert_told(found, there), count - 1
    return heard


def test_estimates_over_the_bus_are_those_of_the_joint_call(team):
    assert len(follow(team, range(AGENTS), 20)) == AGENTS**2  # everybody has heard everybody now and then


def wait_until_seen(team, agents, without):
    until = time.monotonic() + SECONDS
    while any(team.sees(agent, without) for agent in agents):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_killed_member_is_left_out_and_comes_back(team):
    team.kill(2)
    others = [0, 1, 3]
    wait_until_seen(team, others, without=2)
    follow(team, others, 3)
    team.start(2)
    team.wait_until_met()
    follow(team, range(AGENTS), 4)


def test_a_stopped_member_is_left_out_within_the_lease_and_rejoins(team):
    others = [0, 2, 3]
    team.pause(1)
    wait_until_seen(team, others, without=1)
    follow(team, others, 3)
    team.resume(1)
    team.wait_until_met()
    follow(team, range(AGENTS), 4)


def test_what_is_replayed_forged_or_of_another_team_never_enters(team, folder):
    """A listener records all that is said, and says it again, altered and not."""
    recorded = []
    with Bus("ours", through=[team.endpoint]) as spy:
        spy.listen("say/*", lambda topic, data: recorded.append((topic, data)))
        time.sleep(0.5)
        follow(team, range(AGENTS), 4)
        assert recorded
        told = []
        for _, found in replay(team, LOGGED, next_steps(6), 5.0):
            told += found.values()
            for topic, data in recorded[-8:]:
                spy.publish(topic, data)
                spy.publish(topic, data[:-1] + bytes([data[-1] ^ 1]))
                spy.publish(topic, data[:-16])
        assert told and all(set(one["participants"]) <= set(range(AGENTS)) for one in told)
        refused: dict[int, dict] = {}
        until = time.monotonic() + SECONDS
        while set(refused) != set(range(AGENTS)):  # who has counted both, and infers what the joint call does
            assert time.monotonic() < until
            for topic, data in recorded[-8:]:
                spy.publish(topic, data)
                spy.publish(topic, data[:-1] + bytes([data[-1] ^ 1]))
            follow(team, range(AGENTS), 1)
            ((_, found),) = replay(team, LOGGED, next_steps(1), 5.0)
            counted = {agent: one["refused"] for agent, one in found.items()}
            reasons = {"heard before", "unsigned or altered"}
            refused |= {agent: one for agent, one in counted.items() if reasons <= set(one)}


def test_an_agent_of_a_name_that_is_taken_is_refused(team, folder):
    command = exported_command(str(folder / "exported"), 0, "ours", ["--through", team.endpoint], sys.executable)
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 1 and "has an agent 0 already" in " ".join(done.stderr.split())
    assert team.processes[0].poll() is None


def test_bad_observations_do_not_end_an_agent(team):
    (step,) = next_steps(1)
    for data in (b"{", b"123", b'{"observation": [NaN, 0], "action": 0, "step": %d}' % step):
        team.bus.publish("observe/0", data)
    time.sleep(0.3)
    follow(team, range(AGENTS), 1)
    ((_, found),) = replay(team, LOGGED, next_steps(1), 5.0)
    assert 0 not in found or found[0]["refused"]["observation that cannot be read"] == 2


def test_halves_of_a_team_that_falls_apart_infer_alone_and_are_one_again(team):
    while next(STEPS) < PARTED[0] - 1:
        pass
    heard = follow(team, range(AGENTS), 8)
    assert heard and all((agent - other) % 2 == 0 for agent, other in heard)
    assert len(heard) == AGENTS**2 // 2
    while next(STEPS) < PARTED[1]:
        pass
    assert len(follow(team, range(AGENTS), 20)) == AGENTS**2


def test_a_team_ends_when_it_is_told_to_and_says_what_was_refused(folder):
    """One agent alone: it starts late, in a team of its own, and needs nobody."""
    with TeamProcesses(
        "alone", {1: exported_command(str(folder / "exported"), 1, "alone", [], sys.executable)}
    ) as processes:
        processes.wait_until_met()
        time.sleep(0.5)
        until = time.monotonic() + SECONDS
        while not processes.bus.alive(1, 0.5):
            assert time.monotonic() < until
        for step, found in replay(processes, LOGGED, range(3), 5.0):
            assert all(one["participants"] == [1] and one["step"] == step for one in found.values())
        process = processes.processes[1]
    assert process.returncode == 0


def test_a_team_is_replayed_by_the_command_line(folder, capsys):
    """Along a tree, which speaks to one and to all; deadline and lease are far, so that everybody is heard."""
    logged = episodes(8)
    logged.save(folder / "data")
    named = dataclasses.replace(model(), state_names=logged.state_names)
    named.save(folder / "named")
    arguments = ["team", str(folder / "named"), str(folder / "data"), "--rule", "tree", "--deadline", "100"]
    arguments += ["--lease", "60"]
    assert cli.main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == 8 and [row["steps"] for row in told["agents"]] == [8] * AGENTS
    assert all(row["heard"] == AGENTS and row["refused"] == {} for row in told["agents"])
    assert all(sum(row["verdicts"].values()) == 8 for row in told["agents"])


def test_what_cannot_be_started_is_told_in_a_sentence(folder, capsys, tmp_path):
    for arguments, sentence in (
        (["agent", str(folder / "run"), "--name", "9", "--team", "t"], "the agents are 0 to 3"),
        (["agent", str(folder / "run"), "--name", "0", "--team", "a/b"], "A team's name"),
        (["agent", str(tmp_path), "--name", "0", "--team", "t"], "model.safetensors"),
        (["agent", str(folder / "run"), "--name", "0", "--team", "t", "--lose", "1"], "--lose is a share"),
        (["agent", str(folder / "run"), "--name", "0", "--team", "t", "--connect", "nowhere"], "The bus"),
        (["agent", str(folder / "run"), "--name", "0", "--team", "t", "--lease", "0"], "A lease has 0.1 seconds"),
    ):
        capsys.readouterr()
        assert cli.main(arguments) == 1
        assert sentence in " ".join(capsys.readouterr().err.split())
    with pytest.raises(RefusedMessage):
        unpack(b"")
    assert sys.executable in agent_command("run", 0, "t", [])[0]


@pytest.mark.parametrize(("num_agents", "links"), [(MOST_DIRECT, 2), (MOST_DIRECT + 1, 1)])
def test_in_large_teams_who_listens_carries_what_others_say(num_agents, links):
    """In small ones each is linked to each; in both all hear all."""
    endpoint, heard = f"tcp/127.0.0.1:{free_port()}", set()
    with ExitStack() as opened:
        ends = [{"listen": [endpoint]}, {"connect": [endpoint]}, {"connect": [endpoint]}]
        buses = [opened.enter_context(bus_of("links", num_agents, **end)) for end in ends]
        for number, bus in enumerate(buses):
            bus.listen("say/*", lambda topic, data, number=number: heard.add((data, number)))
        until = time.monotonic() + 60.0
        expected = {(str(sender).encode(), number) for sender in range(3) for number in range(3)}
        while heard != expected:
            assert time.monotonic() < until
            for number, bus in enumerate(buses):
                bus.publish(f"say/{number}", str(number).encode())
            time.sleep(0.1)
        info = buses[2]._session.info
        assert len(list(info.peers_zid())) + len(list(info.routers_zid())) == links


def test_who_did_not_prove_to_be_there_is_asked_again(folder):
    """The first reply is wrong, as one that is lost: nobody is believed for it, and nobody is forgotten."""
    present, asked = [], []

    def proof(challenge):
        asked.append(challenge)
        return b"wrong" if len(asked) == 1 else prove(challenge, "shy", 1, 77, None)

    endpoint = f"tcp/127.0.0.1:{free_port()}"
    with Bus("shy", listen=[endpoint]) as bus, Bus("shy", connect=[endpoint]) as other:
        other.listen("present/0", lambda _, data: present.append(json.loads(data)["present"]))
        process = agent_process(bus, model(), 0, Settings("shy"), Inference())
        thread = threading.Thread(target=process.run)
        thread.start()
        other.be_alive(1, 77, proof)
        until = time.monotonic() + SECONDS
        while [1] not in present and time.monotonic() < until:
            time.sleep(0.05)
        process.stop()
        thread.join()
    assert [some for some in present if some] == [[1]] and len(asked) == 2 and len(set(asked)) == 2
