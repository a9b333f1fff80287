"""Cells as jobs through submitit: on its local and debug executors, and the script that SLURM would get."""

import os
import shlex
import signal
import sys
import time
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from toy_experiment import EXPERIMENT, NAMES, SETTINGS, SUMS, notes

from composite_flow.errors import CompositeFlowError, InputError
from composite_flow_paper.cluster import Cluster, Job, jobs_on
from composite_flow_paper.experiment import run
from composite_flow_paper.process_pool import cache_settings

pytestmark = pytest.mark.slow

ONE_SEED = replace(SETTINGS, num_seeds=1)
SBATCH = """#!/bin/sh
cp "$1" {folder}/script.sh
SLURM_JOB_ID=17 SLURM_NTASKS=1 nohup sh {folder}/script.sh > {folder}/sbatch.log 2>&1 &
echo "Submitted batch job 17"
"""
"""Stands in for SLURM's command, which there is none of here: it starts a copy of the script, which submitit moves."""
SRUN = """#!/bin/sh
while [ "$1" != {python} ]; do shift; done
exec "$@"
"""


def quiet(message):
    """Progress that nobody reads."""


@pytest.fixture
def importable(monkeypatch):
    """Jobs find the toy experiment, and this package where it is not installed."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))


def computed(settings, folder, cluster, progress=quiet):
    """The toy experiment's result, on a cluster."""
    return run(EXPERIMENT, settings, folder, progress=progress, execute=jobs_on(cluster, folder / "jobs"))


@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning")
def test_debug_jobs_are_calls_in_this_process(tmp_path):
    with redirect_stdout(StringIO()) as printed:
        assert computed(SETTINGS, tmp_path, Cluster("debug")).summary == {"sums": SUMS}
    assert notes(tmp_path) == (["prepared", *NAMES], {os.getpid()})
    assert not printed.getvalue()  # it is for the result


def test_local_jobs_are_processes_and_one_that_fails_stops_no_other(tmp_path, importable):
    (tmp_path / "fail-term2-seed0").touch()
    with pytest.raises(CompositeFlowError, match=r"1 of 3 jobs failed \(term2-seed0\).* 2 cannot be added"):
        computed(ONE_SEED, tmp_path, Cluster("local", jobs=2))
    done, processes = notes(tmp_path)
    assert done[0] == "prepared" and sorted(done[1:]) == NAMES[:2]
    assert len(processes) == 3 and os.getpid() not in processes
    assert [path.stem for path in tmp_path.glob("*-seed*.json")] == ["term3-seed0"]
    logs = [path.read_text() for path in (tmp_path / "jobs").glob("*_log.err")]
    assert sum("term3-seed0, adding: begun" in log for log in logs) == 1

    (tmp_path / "fail-term2-seed0").unlink()
    assert computed(ONE_SEED, tmp_path, Cluster("local")).summary == {"sums": {"term2": [12], "term3": [13]}}
    assert notes(tmp_path)[0][3:] == NAMES[:1]


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN], ids=["in front", "in the background"])
def test_an_interrupt_cancels_the_jobs(tmp_path, importable, handler):
    """Also where this process ignores interrupts, as the background jobs of a shell do, and so its children would."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        interrupted(tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)


def interrupted(tmp_path):
    """Jobs end, and keep nothing, once they are interrupted."""
    (tmp_path / "wait-term2-seed0").touch()
    (tmp_path / "base.txt").write_text("10")

    def interrupt(message):
        if (tmp_path / "notes.txt").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        computed(SETTINGS, tmp_path, Cluster("local", jobs=1), interrupt)
    (process,) = notes(tmp_path)[1]
    end = time.monotonic() + 60
    while Path(f"/proc/{process}").exists() and time.monotonic() < end:  # until whoever adopted it has seen it end
        time.sleep(0.05)
    assert not Path(f"/proc/{process}").exists() and not list(tmp_path.glob("*-seed*.json"))


def test_slurm_gets_a_script_that_asks_for_what_was_said(tmp_path, importable, monkeypatch):
    commands = tmp_path / "commands"
    commands.mkdir()
    stand_ins = {"sbatch": SBATCH.format(folder=commands), "srun": SRUN.format(python=shlex.quote(sys.executable))}
    for name, program in {**stand_ins, "sacct": "#!/bin/sh\n", "scancel": "#!/bin/sh\n"}.items():
        (commands / name).write_text(program)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "base.txt").write_text("10")
    cluster, jobs = Cluster("slurm", partition="long", minutes=90, cpus=3, gpus=1), tmp_path / "jobs"
    assert computed(replace(ONE_SEED, terms=(2,)), tmp_path, cluster).summary == {"sums": {"term2": [12]}}
    lines = (commands / "script.sh").read_text().splitlines()
    asked = dict(line.removeprefix("#SBATCH --").split("=", 1) for line in lines if line.startswith("#SBATCH --"))
    expected = {"partition": "long", "time": "90", "cpus-per-task": "3", "gpus-per-node": "1", "nodes": "1"}
    assert expected.items() <= asked.items() and asked["job-name"] == NAMES[0]
    assert asked["output"] == str(jobs / "%j_0_log.out") and asked["signal"].startswith("USR2@")
    assert lines[-1].startswith("srun ") and lines[-1].endswith(f"-m submitit.core._submit {jobs}")
    assert notes(tmp_path)[0] == NAMES[:1]


def test_a_job_whose_time_is_over_is_queued_again_as_it_is(tmp_path):
    done = []
    job = Job(lambda task, progress: done.append(task), "cell", cache_settings())
    again = job.checkpoint()
    assert again.function is job and again.result() is None and done == ["cell"]


def test_without_slurm_or_submitit_a_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="no SLURM here"):
        jobs_on(Cluster("slurm"), tmp_path)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r"pip install 'composite-flow\[slurm\]'"):
        jobs_on(Cluster("local"), tmp_path)
