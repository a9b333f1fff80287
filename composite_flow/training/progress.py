"""Progress on standard error: a bar on a terminal, elsewhere (a log) a line a minute and one at the end.

Programs are compiled when they are first called, which can take longer than all that follows; until the first part is
done, the bar says so, and a log says it after a few seconds.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from composite_flow.training.devices import is_first_process

Advance = Callable[..., None]
Progress = Callable[[int, int, float], None]

QUIET_SECONDS = 60.0  # between two lines about the same work, in a log
PATIENT_SECONDS = 5.0  # that nothing is done yet, before a log says why


def say(sentence: str) -> None:
    """One line on standard error."""
    print(sentence, file=sys.stderr, flush=True)


@contextmanager
def training_progress(progress: Progress | bool | None) -> Iterator[Progress | None]:
    """What `fit` tells its progress to: a bar, a function of one's own, or nothing.

    Args:
        progress: True for a bar, on the first of several hosts; a function is handed on; else nothing is told.
    """
    if not isinstance(progress, bool):
        yield progress
    elif progress and is_first_process():
        with progress_bar("training") as advance:
            yield lambda step, total, loss: advance(step, total, f"loss {loss:.4f}")
    else:
        yield None


@contextmanager
def progress_bar(task: str, first: str = "compiling") -> Iterator[Advance]:
    """Show how far a task is.

    Args:
        task: what is done, or the unit of what is counted.
        first: what it does until it can tell of a first part.

    Yields:
        `advance(done, total, note="")`, where a total of None is not known yet.
    """
    with _terminal_bar(task, first) if sys.stderr.isatty() else _log_lines(task, first) as advance:
        yield advance


@contextmanager
def _terminal_bar(task: str, first: str) -> Iterator[Advance]:
    from rich.console import Console  # only who looks at a terminal waits for this import
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True)) as bar:
        shown, last = bar.add_task(task, total=None, note=f"{first} …"), ""

        def advance(done: int, total: int | None = None, note: str = "") -> None:
            nonlocal last
            last = note or last
            bar.update(shown, completed=done, total=total, note=last)

        yield advance


@contextmanager
def _log_lines(task: str, first: str) -> Iterator[Advance]:
    spoken, last = time.monotonic(), ("0", "")
    notice = threading.Timer(PATIENT_SECONDS, say, [f"{task}: {first} …"])
    notice.daemon = True  # an interrupted program need not wait for it
    notice.start()

    def advance(done: int, total: int | None = None, note: str = "") -> None:
        nonlocal spoken, last
        notice.cancel()
        last = (str(done), note or last[1])
        if time.monotonic() - spoken >= QUIET_SECONDS:
            spoken = time.monotonic()
            say(f"{task}: {done}{'' if total is None else f' of {total}'}. {last[1]}".rstrip())

    try:
        yield advance
    finally:
        notice.cancel()
    say(f"{task}: {last[0]} done. {last[1]}".rstrip())
