"""What the command line shows: progress on standard error, results on standard output, as tables or as JSON."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from composite_flow.files.plain_json import jsonable
from composite_flow.files.plain_table import Entry, text

Advance = Callable[..., None]

_QUIET_SECONDS = 60.0  # between two lines about the same work, where standard error is no terminal


def say(sentence: str) -> None:
    """One line on standard error."""
    Console(stderr=True, highlight=False).print(sentence, markup=False, soft_wrap=True)


def show(result: dict[str, Any], tables: Sequence[Table], *, as_json: bool) -> None:
    """Print a command's result: one JSON object, or tables for people."""
    if as_json:
        print(json.dumps(jsonable(result)), flush=True)
        return
    console = Console(highlight=False)
    for table in tables:
        console.print(table)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Entry]]) -> Table:
    """A table whose first column holds names and whose other columns hold numbers."""
    drawn = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=None, padding=(0, 1))
    for place, column in enumerate(columns):
        drawn.add_column(column, justify="left" if place == 0 else "right")
    for row in rows:
        drawn.add_row(*(text(value) for value in row))
    return drawn


@contextmanager
def progress_bar(task: str) -> Iterator[Advance]:
    """A bar on standard error; yields `advance(done, total, note="")`, where a total of None is not known yet.

    Where standard error is no terminal, a line a minute says how far it is, and one at the end what was done.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    last = {"done": 0, "note": ""}
    spoken = time.monotonic()
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=console, disable=not console.is_terminal) as bar:
        shown = bar.add_task(task, total=None, note="")

        def advance(done: int, total: int | None = None, note: str = "") -> None:
            nonlocal spoken
            last.update(done=done, note=note or last["note"])
            bar.update(shown, completed=done, total=total, note=last["note"])
            if not console.is_terminal and time.monotonic() - spoken >= _QUIET_SECONDS:
                spoken = time.monotonic()
                say(f"{task}: {done}{'' if total is None else f' of {total}'}. {last['note']}".rstrip())

        yield advance
    if not console.is_terminal:
        say(f"{task}: {last['done']} done. {last['note']}".rstrip())


@contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """The latest of many sentences, one a line, at the foot of standard error; yields what tells the next ones.

    Where standard error is no terminal, a sentence is printed where what stands before its colon is new, or was last
    printed a minute ago.
    """
    console = Console(stderr=True, highlight=False)
    spoken: dict[str, float] = {}
    with console.status("", spinner="dots") if console.is_terminal else nullcontext() as foot:

        def tell(sentences: str) -> None:
            if foot is not None:
                foot.update(sentences)
                return
            now, before = time.monotonic(), spoken.copy()
            spoken.clear()
            for sentence in sentences.splitlines():
                head = sentence.partition(":")[0]
                spoken[head] = before.get(head, -_QUIET_SECONDS)
                if now - spoken[head] >= _QUIET_SECONDS:
                    spoken[head] = now
                    say(sentence)

        yield tell
