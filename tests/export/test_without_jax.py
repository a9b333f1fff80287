"""Exported agents as processes of an environment that has no JAX; `make test` installs it into .venv-robot."""

import os
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest
from runtime.fused_team import AGENTS, SCALING, episodes, team_model, with_filter
from runtime.simulated import SimulatedBus

import composite_flow as cf
from composite_flow.export.folder import export_model
from composite_flow.runtime.inference import Inference
from composite_flow.runtime.launcher import TeamProcesses, exported_command, replay
from composite_flow.runtime.start import make_rule

ROOT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("ROBOT_PYTHON", str(ROOT / ".venv-robot" / "bin" / "python"))
LOGGED = episodes(10, length=10)
CARRYING = ("product", "residual")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path(PYTHON).exists(), reason="make test installs .venv-robot")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Exports of a model of one step, and of two that carry over time."""
    folder = tmp_path_factory.mktemp("robots")
    export_model(team_model(jax.random.key(0)), folder / "exported")
    for kind in CARRYING:
        export_model(carrying(kind), folder / kind)
    return folder


def carrying(kind):
    return with_filter(jax.random.key(3), kind)


def test_the_environment_has_no_jax():
    done = subprocess.run([PYTHON, "-c", "import jax"], capture_output=True, text=True)
    assert done.returncode == 1 and "No module named 'jax'" in done.stderr


def test_an_agent_is_light(folder):
    """Imports, reads, answers: in 150 MB. How soon it starts is measured by `benchmarks.runtime`."""
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from agent import Agent
agent = Agent(sys.argv[1], 1)
agent.observe(np.zeros(2))
agent.estimate()
import zenoh
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(peak) / 1024)
"""
    done = subprocess.run([PYTHON, "-c", code, str(folder / "exported")], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 150


def told_without_jax(folder, rule, steps, *options, name="exported"):
    """What agents on a bus infer at these steps; deadline and lease are far, so that everybody is heard."""
    options, exported = ["--deadline", "100", "--rule", rule, *options], str(folder / name)
    commands = {agent: exported_command(exported, agent, rule, options, PYTHON) for agent in range(AGENTS)}
    with TeamProcesses(rule, commands, lease=60.0) as team:
        team.wait_until_met()
        for step, found in replay(team, LOGGED, range(steps), 60.0):
            assert len(found) == AGENTS
            assert all(one["participants"] == list(range(AGENTS)) for one in found.values())
            yield step, list(found.values())


def test_a_team_without_jax_infers_what_the_joint_call_does(folder):
    model, unit = team_model(jax.random.key(0)), np.asarray(SCALING.maximum - SCALING.minimum)
    histories = cf.HistoryDataset(LOGGED, model.layout.length).joint(np.arange(10)).histories
    for step, found in told_without_jax(folder, "broadcast", 10):
        expected = model.fuse(histories[step])
        for told in found:
            mean = np.asarray(list(told["mean"].values()))
            np.testing.assert_allclose(mean / unit, np.asarray(expected.mean) / unit, atol=1e-5)
            np.testing.assert_allclose(told["intervals"]["heat"], expected.interval("heat", 0.9), rtol=1e-5)
            assert told["verdict"]["accepted"] == expected.verdict.accepted and told["refused"] == {}


def test_a_ring_without_jax_ends_alike_for_all(folder):
    for _, (first, *others) in told_without_jax(folder, "ring", 4, "--samples", "2"):
        assert first["hops"] == 6 * AGENTS and np.isfinite(list(first["mean"].values())).all()
        assert all(told["mean"] == first["mean"] and told["share"] == first["share"] for told in others)


@pytest.mark.parametrize(("kind", "rule"), [*zip(CARRYING, ("broadcast", "ring"), strict=True)])
def test_a_team_without_jax_carries_what_it_knows(folder, kind, rule):
    """As agents on JAX do, on a simulated bus."""
    inference, unit = Inference(rule, over_time=True), np.asarray(SCALING.maximum - SCALING.minimum)
    model = carrying(kind)
    bus = SimulatedBus(model, rule=lambda: make_rule(model, inference))
    for number in range(AGENTS):
        bus.start(number, agent=cf.Agent(model, number, over_time=True))
    for step, found in told_without_jax(folder, rule, 6, "--over-time", name=kind):
        bus.step(LOGGED, step)
        expected = np.asarray([list(told["mean"].values()) for told in bus.told[-AGENTS:]])
        for told in found:
            np.testing.assert_allclose(np.asarray(list(told["mean"].values())) / unit, expected[0] / unit, atol=1e-5)
            assert told["refused"] == {}


def test_an_agent_that_cannot_start_says_why(folder):
    for arguments, sentence in (
        (["--name", "9"], "agents are 0 to 3"),
        (["--name", "0", "--deadline", "0"], "deadline"),
        (["--name", "0", "--over-time"], "learned no filter over time"),
    ):
        command = [PYTHON, str(folder / "exported"), "--team", "t", *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1 and sentence in done.stderr and "Traceback" not in done.stderr
