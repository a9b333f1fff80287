"""What it takes to start an exported agent, in an environment that has no JAX, up to its first estimate."""

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.drawn_model import OBSERVATION, Sizes, model_of
from composite_flow.export.folder import export_model

_STARTED = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from agent import Agent
agent = Agent(sys.argv[1], 1)
agent.observe(np.zeros(int(sys.argv[2])))
agent.estimate()
import zenoh
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(peak) / 1024)
"""


def start_of(sizes: Sizes, python: str, starts: int = 9) -> dict:
    """Seconds by the clock and of a core, and the most megabytes."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        export_model(model_of(5, sizes), Path(folder) / "out")
        command = [python, "-c", _STARTED, str(Path(folder) / "out"), str(OBSERVATION)]
        for _ in range(starts + 1):
            begun, before = time.perf_counter(), os.times()
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            after = os.times()
            cpu = after.children_user + after.children_system - before.children_user - before.children_system
            found.append((time.perf_counter() - begun, cpu, float(done.stdout)))
    seconds, used, megabytes = zip(*found[1:], strict=True)  # the first one finds nothing in the machine's caches
    medians = {"seconds": statistics.median(seconds), "cpu": statistics.median(used)}
    return {"starts": starts, **medians, "megabytes": max(megabytes)}
