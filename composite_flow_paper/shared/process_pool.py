"""Parts of an experiment computed side by side, each in a process of its own on its share of the cores.

Programs of many small steps, as those that play and learn at once, leave most of a second core idle: two of them on a
core each get nearly twice as far as one after the other on both. Each part leaves its result in its own files.

On an interrupt, or after an error in one of them, all are asked to stop as Ctrl-C does, and waited for, so that what
they keep is whole; a second interrupt ends them at once. Processes whose parent is gone stop at their next message.
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

_SPAWN = multiprocessing.get_context("spawn")  # forked processes hang once JAX has started threads
_CACHE = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@dataclass(frozen=True, eq=False)
class _Worker:
    """A part that is being computed: its messages come through `told`, None in the end, or its error."""

    part: Any
    process: BaseProcess
    told: Connection
    cores: frozenset[int]


def side_by_side(work: Work, parts: Sequence[Any], jobs: int, progress: Progress) -> Iterator[Any]:
    """Call `work(part, progress)` for each part, several at a time; yields the parts as they are done.

    Args:
        work: importable by its name; what it computes goes to files.
        parts: what to compute, in the order in which they begin.
        jobs: how many at a time; 1 computes in this process.
        progress: told the latest message of each, one a line.

    Raises:
        CompositeFlowError: as one of them said.
        InputError: there is nobody to work, or too few cores for so many.
    """
    if jobs < 1:
        raise InputError(f"At least one job must be at work, not {jobs}.")
    if jobs == 1:
        for part in parts:
            work(part, progress)
            yield part
        return
    waiting, free, running, latest = list(parts), shares_of_cores(jobs), [], {}
    try:
        while waiting or running:
            while waiting and free:
                running.append(_start(work, waiting.pop(0), free.pop(0)))
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
                yield worker.part
    finally:
        _stop(running)


def shares_of_cores(jobs: int) -> list[frozenset[int]]:
    """As many disjoint sets of cores as there are jobs.

    Raises:
        InputError: there are fewer cores.
    """
    known = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    if len(known) < jobs:
        raise InputError(f"There are {len(known)} cores; choose at most as many jobs, not {jobs}.")
    return [frozenset(known[place::jobs]) for place in range(jobs)]


def _start(work: Work, part: Any, cores: frozenset[int]) -> _Worker:
    told, tell = _SPAWN.Pipe(duplex=False)
    cache = {name: getattr(jax.config, name) for name in _CACHE}
    process = _SPAWN.Process(target=_work, args=(work, part, tell, cache))
    with _pinned(cores):
        process.start()
    tell.close()
    return _Worker(part, process, told, cores)


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


def _work(work: Work, part: Any, tell: Connection, cache: dict[str, Any]) -> None:
    """What a process does."""
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C in a terminal reaches the parent alone, which asks once
    signal.signal(signal.SIGINT, signal.default_int_handler)  # even where the parent ignores it, as in the background
    for name, value in cache.items():
        jax.config.update(name, value)
    try:
        work(part, partial(_tell, tell))
        tell.send(None)
    except (CompositeFlowError, OSError) as error:
        tell.send(error)
    except KeyboardInterrupt:
        pass


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
            f"The process that computed {worker.part} ended with code {worker.process.exitcode}; with fewer jobs each "
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
