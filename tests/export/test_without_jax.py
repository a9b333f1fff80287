"""Exported agents as processes of an environment that has no JAX; `make test` installs it into .venv-robot."""

import os
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest
from runtime.fused_team import AGENTS, SCALING, episodes, team_model

import composite_flow as cf
from composite_flow.export.folder import export_model
from composite_flow.runtime.launcher import TeamProcesses, agent_command, exported_command, replay

ROOT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("ROBOT_PYTHON", str(ROOT / ".venv-robot" / "bin" / "python"))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path(PYTHON).exists(), reason="make test installs .venv-robot")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("robots")
    model = team_model(jax.random.key(0))
    model.save(folder / "run")
    export_model(model, folder / "exported")
    return folder


def test_the_environment_has_no_jax():
    done = subprocess.run([PYTHON, "-c", "import jax"], capture_output=True, text=True)
    assert done.returncode == 1 and "No module named 'jax'" in done.stderr


def test_an_agent_is_light(folder):
    """Imports, reads, answers: in a second of its own, and in 150 MB."""
    code = """
import sys, time
begun = time.process_time()
sys.path.insert(0, sys.argv[1])
import numpy as np
from agent import Agent
agent = Agent(sys.argv[1], 1)
agent.observe(np.zeros(2))
agent.estimate()
import zenoh
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(time.process_time() - begun, int(peak) / 1024)
"""
    done = subprocess.run([PYTHON, "-c", code, str(folder / "exported")], capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split())
    assert seconds < 1.0 and megabytes < 150


def test_a_mixed_team_infers_what_the_joint_call_does(folder):
    """One agent on JAX, the others without it, on one bus."""
    model, logged = team_model(jax.random.key(0)), episodes(20, length=10)
    histories = cf.HistoryDataset(logged, model.layout.length).joint(np.arange(20)).histories
    options = ["--deadline", "0.5"]
    commands = {
        agent: exported_command(str(folder / "exported"), agent, "mixed", options, PYTHON) for agent in range(1, AGENTS)
    }
    commands[0] = agent_command(str(folder / "run"), 0, "mixed", options)
    unit = np.asarray(SCALING.maximum - SCALING.minimum)
    with TeamProcesses("mixed", commands) as team:
        team.wait_until_met()
        heard = 0
        for step, found in replay(team, logged, range(20), 5.0):
            for told in found.values():
                heard += len(told["participants"])  # on a busy machine some answers arrive after the deadline
                expected = model.fuse(histories[step], participants=told["participants"])
                assert set(told["refused"]) <= {"late"}
                mean = np.asarray(list(told["mean"].values()))
                np.testing.assert_allclose(mean / unit, np.asarray(expected.mean) / unit, atol=1e-5)
                np.testing.assert_allclose(told["intervals"]["heat"], expected.interval("heat", 0.9), rtol=1e-5)
        assert heard > 0.8 * 20 * AGENTS**2


def test_an_agent_that_cannot_start_says_why(folder):
    for arguments, sentence in (
        (["--name", "9"], "agents are 0 to 3"),
        (["--name", "0", "--deadline", "0"], "deadline"),
    ):
        command = [PYTHON, str(folder / "exported"), "--team", "t", *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1 and sentence in done.stderr and "Traceback" not in done.stderr
