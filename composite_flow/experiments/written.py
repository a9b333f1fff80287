"""Tables of an experiment, for the terminal and in Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any

from composite_flow.reporting import table

Content = tuple[str, list[str], list[list[Any]]]
"""Title, header and rows of a table."""


def for_terminal(contents: Iterable[Content]) -> list[Any]:
    """Tables as the command line shows them."""
    return [table(title, header, rows) for title, header, rows in contents]


def in_markdown(contents: Iterable[Content]) -> str:
    """The same tables as text, numbers to the right; what is unknown is a dash."""
    lines: list[str] = []
    for title, header, rows in contents:
        lines += [*title.split("\n"), "", _line(header), _line(["---", *["---:"] * (len(header) - 1)])]
        lines += [*(_line(["–" if value is None else str(value) for value in row]) for row in rows), ""]
    return "\n".join(lines)


def _line(values: Sequence[str]) -> str:
    return "| " + " | ".join(values) + " |"
