"""Figure 4 in two processes, killed and continued: the same cells as in one, but for what the clock says."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from composite_flow.files.plain_json import read_json
from composite_flow.training.fit import TrainingConfig
from composite_flow_paper.experiment import run
from composite_flow_paper.figure4.experiment import EXPERIMENT as FIGURE4
from composite_flow_paper.process_pool import processes
from composite_flow_paper.shared.sensor_runs import SensorSettings

EXPERIMENT = replace(FIGURE4, draw=lambda result, folder: [])  # pictures are drawn elsewhere
TRAINING = TrainingConfig(width=16, depth=2, batch=32, steps=40, record_every=20, evaluate_every=20)
TINY = replace(
    FIGURE4.presets["smoke"],
    ours=SensorSettings(num_episodes=64, training=TRAINING, num_joint=8),
    flows=None,
    num_ideal=0,
    fusion=None,
    samples=None,
    paper=replace(TRAINING, history_at="input"),
    num_histories=8,
    num_participants=(2,),
    num_sweeps=1,
    num_drawn=8,
)
NAMES = ["ours-seed0", "paper-seed0", "withheld-seed0"]
TIMES = ("seconds", "train_seconds")
PROGRAM = """
import sys
from pathlib import Path
from test_figure4_killed import EXPERIMENT, TINY, processes, run

if __name__ == "__main__":
    run(EXPERIMENT, TINY, Path(sys.argv[1]), progress=lambda message: None, execute=processes(2))
"""


def without_clock(result):
    """All but the times."""
    if isinstance(result, dict):
        return {name: without_clock(value) for name, value in result.items() if name not in TIMES}
    return [without_clock(value) for value in result] if isinstance(result, list) else result


def cells_in(folder):
    """The cells of a folder by name, without times."""
    return {path.stem: without_clock(read_json(path)["result"]) for path in folder.glob("*-seed0.json")}


@pytest.mark.slow
@pytest.mark.usefixtures("permissive")
@pytest.mark.skipif(len(getattr(os, "sched_getaffinity", lambda _: [])(0)) < 2, reason="there is one core")
def test_killed_and_continued_in_two_processes_is_as_in_one(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, tmp_path / "program.py", killed]
    with subprocess.Popen(command, env=environment) as running:
        end = time.monotonic() + 300
        while not cells_in(killed) and running.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        running.send_signal(signal.SIGKILL)
    left = cells_in(killed)
    assert running.returncode == -signal.SIGKILL and 0 < len(left) < 3
    told = []
    run(EXPERIMENT, TINY, killed, progress=told.append, execute=processes(2))
    assert not any(message.startswith(name) for message in "\n".join(told).splitlines() for name in left)
    run(EXPERIMENT, TINY, whole, progress=told.append)
    assert sorted(cells_in(whole)) == NAMES and cells_in(killed) == cells_in(whole)
