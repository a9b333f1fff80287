"""Tables as plain values: a title, columns and rows, which the command line prints and Markdown holds."""

from collections.abc import Iterable, Sequence

Entry = str | float | int | bool | None
PlainTable = tuple[str, Sequence[str], Sequence[Sequence[Entry]]]
"""Title, header and rows; the first column holds names, the others numbers."""


def text(value: Entry) -> str:
    """A value as people read it; what is unknown is a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def in_markdown(contents: Iterable[PlainTable]) -> str:
    """Tables as text, numbers to the right; what is unknown is a dash."""
    lines: list[str] = []
    for title, header, rows in contents:
        lines += [*title.split("\n"), "", _line(header), _line(["---", *["---:"] * (len(header) - 1)])]
        lines += [*(_line(["–" if value is None else str(value) for value in row]) for row in rows), ""]
    return "\n".join(lines)


def _line(values: Sequence[str]) -> str:
    return "| " + " | ".join(values) + " |"
