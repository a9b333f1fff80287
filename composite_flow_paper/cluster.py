"""Tasks computed as jobs of a cluster, through submitit: for experiments whose sweep outgrows one machine.

A job computes one task and leaves its result in the experiment's folder, which all machines must share; what it prints
and its errors go to `jobs/` there. A job that is preempted or runs out of its time is queued again, up to three times,
and goes on from what it has saved. The command that submits stays and sums up after each cell; when it is interrupted,
it cancels its jobs. What else a site asks for, such as an account, is told by sbatch's own environment variables
(`SBATCH_ACCOUNT`, `SBATCH_QOS`, ...).
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from composite_flow.errors import CompositeFlowError, InputError
from composite_flow_paper.process_pool import Executor, Ready, Work, cache_settings, next_ready, use_cache
from composite_flow_paper.shared.cells import Progress

_PAUSE = 0.5  # seconds between two looks at the jobs, most of which are looks at files
_LEVEL = "SUBMITIT_LOG_LEVEL"
_DASHES = "-" * 22
_QUIET = 30.0  # seconds between two lines of a job's log about the same work


@dataclass(frozen=True)
class Cluster:
    """What jobs ask for.

    Attributes:
        kind: `slurm`; or, to try it without one, `local` (jobs are processes on this machine) or `debug` (in this
            process; errors that nobody foresaw open the debugger).
        partition: of SLURM; its default one where not given.
        minutes: that a job may take.
        cpus: of a job; on `slurm` alone.
        gpus: of a job.
        jobs: submitted at a time at most; None for all, which SLURM starts as it can.
    """

    kind: Literal["slurm", "local", "debug"]
    partition: str | None = None
    minutes: int = 240
    cpus: int = 2
    gpus: int = 0
    jobs: int | None = None


def jobs_on(cluster: Cluster, folder: Path) -> Executor:
    """Computes tasks as jobs.

    Args:
        cluster: what jobs ask for.
        folder: for what they print, and for what submitit needs.

    Raises:
        InputError: submitit is not installed, there is no SLURM here, or nobody may work.
    """
    if cluster.jobs is not None and cluster.jobs < 1:
        raise InputError(f"At least one job must be at work, not {cluster.jobs}.")
    return partial(_as_jobs, cluster, folder, open_executor(cluster, folder))


def open_executor(cluster: Cluster, folder: Path) -> Any:
    """Submitit's executor, which asks for what the cluster's jobs need.

    Raises:
        InputError: submitit is not installed, or there is no SLURM here.
    """
    try:
        with _logging_left_alone():
            from submitit import AutoExecutor
    except ModuleNotFoundError as error:
        raise InputError("Clusters need submitit: pip install 'composite-flow[slurm]'.") from error
    try:
        executor = AutoExecutor(folder, cluster=cluster.kind)
    except RuntimeError as error:
        raise InputError(
            "There is no SLURM here, as `srun` is not found; run this command on a node that submits jobs, or leave "
            "--cluster away."
        ) from error
    executor.update_parameters(
        timeout_min=cluster.minutes,
        cpus_per_task=cluster.cpus,
        **({"gpus_per_node": cluster.gpus} if cluster.gpus else {}),
        **({"slurm_partition": cluster.partition} if cluster.partition is not None else {}),
    )
    return executor


@contextmanager
def _logging_left_alone() -> Iterator[None]:
    """Submitit, when it is imported, sets up logging anew, which closes all handlers of this process; not in here."""
    with_level = os.environ.get(_LEVEL)
    os.environ[_LEVEL] = "NOCONFIG"
    try:
        yield
    finally:
        del os.environ[_LEVEL]
        os.environ.update({} if with_level is None else {_LEVEL: with_level})


@dataclass(frozen=True, eq=False)
class Job:
    """What a job does: it computes a task, and returns the error that it ended with, if it was one of ours."""

    work: Work
    task: Any
    cache: dict[str, Any]

    def __call__(self) -> CompositeFlowError | OSError | None:
        use_cache(self.cache)
        try:
            self.work(self.task, _Log())
        except (CompositeFlowError, OSError) as error:
            return error
        return None

    def checkpoint(self) -> Any:
        """How submitit queues it again when its time is over: as it is, since what it has saved is in the folder."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class _Log:
    """Writes to the job's log each sentence of which the part before the colon is new, and others now and then."""

    def __init__(self) -> None:
        self.head, self.written = "", 0.0

    def __call__(self, sentence: str) -> None:
        head, now = sentence.partition(":")[0], time.monotonic()
        if head != self.head or now - self.written >= _QUIET:
            self.head, self.written = head, now
            print(sentence, file=sys.stderr, flush=True)  # standard output is the command's, where jobs are calls


def _as_jobs(
    cluster: Cluster,
    folder: Path,
    executor: Any,
    work: Work,
    tasks: Sequence[Any],
    ready: Ready,
    progress: Progress,
) -> Iterator[Any]:
    """Submit each task when it is ready. One that fails does not keep the others from being computed.

    Raises:
        CompositeFlowError: in the end, where some failed.
    """
    waiting, running, failed, done = list(tasks), {}, {}, 0
    try:
        while True:
            while len(running) < (cluster.jobs or len(tasks)) and (task := next_ready(waiting, ready)) is not None:
                executor.update_parameters(name=str(task))
                with _interrupts_reach_children():
                    running[executor.submit(Job(work, task, cache_settings()))] = task
            progress(f"{cluster.kind}: {done} of {len(tasks)} done, {len(running)} submitted; logs are in {folder}")
            if not running:
                break
            for job in [job for job in running if job.done()]:
                task = running.pop(job)
                if error := _error_of(job):
                    failed[str(task)] = error
                    continue
                done += 1
                yield task
            time.sleep(_PAUSE)
    finally:
        _cancel(cluster, list(running))
    if failed:
        name, error = next(iter(failed.items()))
        raise CompositeFlowError(
            f"{len(failed)} of {len(tasks)} jobs failed ({', '.join(failed)}); {name}: {error} Logs are in {folder}."
        )


@contextmanager
def _interrupts_reach_children() -> Iterator[None]:
    """Processes that start in here hear an interrupt, by which they are cancelled, although this one ignores it.

    A shell's background jobs ignore interrupts, and their children inherit that; a handler is not inherited.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if not ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _cancel(cluster: Cluster, running: Sequence[Any]) -> None:
    """Cancel jobs, and wait for those of this machine, so that what they keep is whole."""
    for job in running:
        job.cancel(check=False)
    while cluster.kind == "local" and not all(job.done() for job in running):
        time.sleep(_PAUSE)


def _error_of(job: Any) -> str | None:
    """What a finished job ended with, in a sentence; None where all went well."""
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        error = job.result()
    except FailedJobError as failed:  # its text: a heading, the trace, where logs are; each under a line of dashes
        return f"{_last_line(str(failed).split(_DASHES)[1])}."
    except UncompletedJobError as failed:  # a heading, of which the last line tells the state, and the log
        return f"its job {_last_line(str(failed).split(_DASHES)[0])}."
    return None if error is None else str(error)


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1]
