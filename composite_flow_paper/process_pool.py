"""Tasks computed at once, each in a process of its own on its share of the cores.

Programs of many small steps, as those that play and learn at once, leave most of a second core idle: two of them on a
core each get nearly twice as far as one after the other on both. Each task leaves its result in its own files.

On an interrupt, or after an error in one of them, all are asked to stop as Ctrl-C does, and waited for, so that what
they keep is whole; a second interrupt ends them at once. Processes whose parent is gone stop at their next message.

How XLA divides a product depends on the number of its threads, and the last bits of the sum with it. Processes
therefore have as many threads as one job would have, on fewer cores: a little slower, and with the same results.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import jax

from composite_flow.errors import CompositeFlowError, InputError
from composite_flow_paper.shared.cells import Progress

Work = Callable[[Any, Progress], None]
"""Computes a task; what it computes goes to files. Importable by its name, or a partial of such a function."""

Ready = Callable[[Any], bool]
"""Whether what a task needs is there."""

Executor = Callable[[Work, Sequence[Any], Ready, Progress], Iterator[Any]]
"""Computes tasks, each once it is ready, in their order where several are; yields each when it is done."""

_SPAWN = multiprocessing.get_context("spawn")  # forked processes hang once JAX has started threads
_THREADS = "NPROC"  # XLA's own variable, before it counts the cores
_CACHE = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


def processes(jobs: int = 1) -> Executor:
    """Computes so many tasks at a time on this machine: one in this process, more in processes of their own.

    Raises:
        InputError: there is nobody to work, or too few cores for so many.
    """
    shares = shares_of_cores(jobs)
    return one_by_one if jobs == 1 else partial(_in_processes, shares)


def one_by_one(work: Work, tasks: Sequence[Any], ready: Ready, progress: Progress) -> Iterator[Any]:
    """Compute the tasks in this process, in their order, in which each comes after what it needs."""
    for task in tasks:
        work(task, progress)
        yield task


def next_ready(waiting: list[Any], ready: Ready) -> Any | None:
    """Take the first task that is ready out of those that wait; None where none is."""
    place = next((place for place, task in enumerate(waiting) if ready(task)), None)
    return None if place is None else waiting.pop(place)


def cache_settings() -> dict[str, Any]:
    """Where compiled programs are kept, for processes that are to find them there too."""
    return {name: getattr(jax.config, name) for name in _CACHE}


def use_cache(settings: dict[str, Any]) -> None:
    """Keep compiled programs where another process does."""
    for name, value in settings.items():
        jax.config.update(name, value)


@dataclass(frozen=True, eq=False)
class _Worker:
    """A process that computes a task: its messages come through `told`, None in the end, or its error."""

    task: Any
    process: BaseProcess
    told: Connection
    cores: frozenset[int]


def _in_processes(
    shares: Sequence[frozenset[int]], work: Work, tasks: Sequence[Any], ready: Ready, progress: Progress
) -> Iterator[Any]:
    """As many tasks at a time as there are shares of the cores; the latest message of each is told, one a line."""
    waiting, free, running, latest = list(tasks), list(shares), [], {}
    try:
        while waiting or running:
            while free and (task := next_ready(waiting, ready)) is not None:
                running.append(_start(work, task, free.pop(0), sum(map(len, shares))))
            for told in wait([worker.told for worker in running]):
                worker = next(worker for worker in running if worker.told is told)
                message = _heard(worker)
                if message is not None:
                    latest[worker.cores] = message
                    progress("\n".join(latest.values()))
                    continue
                worker.process.join()
                running.remove(worker)
                free.append(worker.cores)
                latest.pop(worker.cores, None)
                yield worker.task
    finally:
        _stop(running)


def shares_of_cores(jobs: int) -> list[frozenset[int]]:
    """As many disjoint sets of cores as there are jobs.

    Raises:
        InputError: there are fewer cores.
    """
    if jobs < 1:
        raise InputError(f"At least one job must be at work, not {jobs}.")
    known = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    if len(known) < jobs:
        raise InputError(f"There are {len(known)} cores; choose at most as many jobs, not {jobs}.")
    return [frozenset(known[place::jobs]) for place in range(jobs)]


def _start(work: Work, task: Any, cores: frozenset[int], num_threads: int) -> _Worker:
    told, tell = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_work, args=(work, task, tell, cache_settings(), num_threads))
    with _pinned(cores):
        process.start()
    tell.close()
    return _Worker(task, process, told, cores)


@contextmanager
def _pinned(cores: frozenset[int]) -> Iterator[None]:
    """Processes that start in here are pinned from their beginning, before any library counts the cores."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _work(work: Work, task: Any, tell: Connection, cache: dict[str, Any], num_threads: int) -> None:
    """Compute a task in a process of its own, and send what it tells, its error, or None at the end."""
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C in a terminal reaches the parent alone, which asks once
    signal.signal(signal.SIGINT, signal.default_int_handler)  # even where the parent ignores it, as in the background
    os.environ.setdefault(_THREADS, str(num_threads))
    use_cache(cache)
    try:
        work(task, partial(_tell, tell))
        tell.send(None)
    except (CompositeFlowError, OSError) as error:
        tell.send(error)
    except KeyboardInterrupt:
        pass
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all that is kept is whole, and the process is about to end


def _tell(tell: Connection, message: str) -> None:
    try:
        tell.send(message)
    except BrokenPipeError:
        raise KeyboardInterrupt from None  # nobody is there any more


def _heard(worker: _Worker) -> str | None:
    """The next message, None at the end; raises what went wrong."""
    try:
        message = worker.told.recv()
    except EOFError:
        worker.process.join()
        raise CompositeFlowError(
            f"The process that computed {worker.task} ended with code {worker.process.exitcode}; with fewer jobs each "
            "has more memory."
        ) from None
    if isinstance(message, Exception):
        raise message
    return message


def _stop(running: Sequence[_Worker]) -> None:
    """Ask those that still run to keep what they have, and wait for them."""
    try:
        for worker in running:
            if worker.process.is_alive() and worker.process.pid is not None:
                os.kill(worker.process.pid, signal.SIGINT)
        for worker in running:
            worker.process.join()
    except KeyboardInterrupt:
        for worker in running:
            worker.process.kill()
        raise
