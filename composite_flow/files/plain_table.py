"""Tables as plain values (a title, columns and rows), for the command line and for Markdown files."""

from collections.abc import Iterable, Sequence

TableValue = str | float | int | bool | None
PlainTable = tuple[str, Sequence[str], Sequence[Sequence[TableValue]]]
"""Title, header and rows; the first column holds names, the others numbers."""


def text(value: TableValue) -> str:
    """A value as text for people; an unknown value is a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def in_markdown(contents: Iterable[PlainTable]) -> str:
    """Tables in Markdown, with numbers aligned to the right; an unknown value is a dash."""
    lines: list[str] = []
    for title, header, rows in contents:
        lines += [*title.split("\n"), "", _line(header), _line(["---", *["---:"] * (len(header) - 1)])]
        lines += [*(_line(["–" if value is None else str(value) for value in row]) for row in rows), ""]
    return "\n".join(lines)


def _line(values: Sequence[str]) -> str:
    return "| " + " | ".join(values) + " |"
