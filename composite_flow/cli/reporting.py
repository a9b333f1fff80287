"""What the command line shows: progress on standard error, results on standard output, as tables or as JSON."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import copy
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from composite_flow.files.plain_json import jsonable
from composite_flow.files.plain_table import TableValue, text
from composite_flow.training import progress
from composite_flow.training.progress import Advance, progress_bar, say

__all__ = ["Advance", "progress_bar", "say", "show", "show_table", "status", "table"]

_LONGEST_WORD = 30


def show(result: dict[str, Any], tables: Sequence[Table], *, as_json: bool) -> None:
    """Print a command's result: one JSON object, or tables for people."""
    if as_json:
        print(json.dumps(jsonable(result)), flush=True)
        return
    console = Console(highlight=False)
    for place, drawn in enumerate(tables):
        show_table(console, drawn, apart=place > 0)


def show_table(console: Console, drawn: Table, *, apart: bool = False) -> None:
    """A table under its title, which is as wide as the console: rich would break it where the table ends.

    A table that does not fit is printed as wide as its words and numbers need: rich would cut them, or leave some out.
    """
    if apart:
        console.print()
    console.print(Text(str(drawn.title), style="bold"))
    without = copy(drawn)
    without.title = None
    needed = sum((column.min_width or 0) + 2 for column in drawn.columns)
    console.print(without, width=max(needed, console.width), crop=False, no_wrap=needed > console.width)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[TableValue]]) -> Table:
    """A table whose first column holds names and whose other columns hold numbers."""
    drawn = Table(title=title, header_style="bold", box=None, padding=(0, 1))
    cells = [[text(value) for value in row] for row in rows]
    for place, column in enumerate(columns):
        # where space is short, lines break between words: of a name or a number that is cut nobody knows which it is
        told = [column, *(cell for row in cells for cell in row[place : place + 1])]
        longest = max((len(word) for cell in told for word in cell.split()), default=0)
        drawn.add_column(column, justify="left" if place == 0 else "right", min_width=min(longest, _LONGEST_WORD))
    for row in cells:
        drawn.add_row(*row)
    return drawn


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
                spoken[head] = before.get(head, -progress.QUIET_SECONDS)
                if now - spoken[head] >= progress.QUIET_SECONDS:
                    spoken[head] = now
                    say(sentence)

        yield tell
