"""Processes side by side: on cores of their own, stopped together, and none left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from composite_flow.errors import CompositeFlowError, InputError
from composite_flow_paper.process_pool import processes, shares_of_cores

pytestmark = pytest.mark.slow

CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
TWO_CORES = pytest.mark.skipif(len(CORES) < 2, reason="there is one core, or nothing can be pinned to it")


def quiet(message):
    """Progress that nobody reads."""


def always(part):
    """Nothing waits for anything."""
    return True


def compute_all(work, parts, jobs, progress):
    """The parts in the order in which they are done."""
    return list(processes(jobs)(work, parts, always, progress))


def note(folder, part, progress):
    """Leaves in a file where it ran."""
    progress(f"{part}: begun")
    found = {"cores": sorted(os.sched_getaffinity(0)), "process": os.getpid(), "threads": os.environ.get("NPROC")}
    (folder / part).write_text(json.dumps(found))


def run_until_stopped(folder, part, progress):
    """One part fails when the other has begun; that one goes on until it is asked to stop, and keeps what it has."""
    if part == "fails":
        wait_for(folder / "begun")
        raise InputError("Nothing can be done.")
    try:
        (folder / "begun").write_text(str(os.getpid()))
        while True:
            time.sleep(0.05)
            progress(f"{part}: at work")
    except KeyboardInterrupt:
        (folder / "kept").touch()
        raise


def die(part, progress):
    """Ends without a word."""
    os._exit(3)


def wait_for(path, seconds=60.0):
    """Until the file is there and not empty."""
    end = time.monotonic() + seconds
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.05)


@TWO_CORES
def test_each_part_runs_once_on_its_share_of_the_cores(tmp_path):
    told, parts = [], ["a", "b", "c"]
    assert sorted(compute_all(partial(note, tmp_path), parts, 2, told.append)) == parts
    found = [json.loads((tmp_path / part).read_text()) for part in parts]
    shares = [sorted(share) for share in shares_of_cores(2)]
    assert [found[0]["cores"], found[1]["cores"]] == shares and found[2]["cores"] in shares
    # as many threads as one job has: another number may give other bits
    assert {one["threads"] for one in found} == {os.environ.get("NPROC", str(len(CORES)))}
    assert len({os.getpid(), *(one["process"] for one in found)}) == 4
    assert {line for message in told for line in message.splitlines()} == {f"{part}: begun" for part in parts}


def test_one_job_is_this_process(tmp_path):
    assert compute_all(partial(note, tmp_path), ["a"], 1, quiet) == ["a"]
    assert json.loads((tmp_path / "a").read_text())["process"] == os.getpid()


def test_shares_are_disjoint_and_use_every_core():
    for jobs in range(1, len(CORES) + 1):
        shares = shares_of_cores(jobs)
        assert len(shares) == jobs and sum(map(len, shares)) == len(CORES) and frozenset().union(*shares) == CORES


@TWO_CORES
def test_an_error_stops_the_others_which_keep_what_they_have(tmp_path):
    with pytest.raises(InputError, match="Nothing can be done"):
        compute_all(partial(run_until_stopped, tmp_path), ["works", "fails"], 2, quiet)
    assert (tmp_path / "kept").exists()


@TWO_CORES
def test_a_process_that_dies_is_told():
    with pytest.raises(CompositeFlowError, match="process that computed a ended with code 3"):
        compute_all(die, ["a"], 2, quiet)


@pytest.mark.parametrize("jobs", [0, 10_000])
def test_as_many_jobs_as_there_are_cores(jobs):
    with pytest.raises(InputError, match="job"):
        processes(jobs)


@TWO_CORES
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_one_that_started_it(tmp_path, how):
    program = (
        "import sys; from functools import partial; from pathlib import Path;"
        "from test_process_pool import compute_all, run_until_stopped, quiet;"
        "compute_all(partial(run_until_stopped, Path(sys.argv[1])), ['works'], 2, quiet)"
    )
    here = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    parent = subprocess.Popen([sys.executable, "-c", program, tmp_path], env=here, stderr=subprocess.DEVNULL)
    wait_for(tmp_path / "begun")
    parent.send_signal(how)
    assert parent.wait(60) != 0
    child, end = int((tmp_path / "begun").read_text()), time.monotonic() + 60
    while Path(f"/proc/{child}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert (tmp_path / "kept").exists()
