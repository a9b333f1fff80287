"""A `.dpomdp` file as statements: plain or gzip, without comments, each with the lines that belong to it.

A statement begins on a line that holds a colon and goes on until the next such line. What stands after its last colon,
on that line or on the ones below, are its values:

    T: listen listen : tiger-left :       T: * :           start: uniform         actions:
    0.9 0.1                               identity                                listen open
                                                                                  3
"""

import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from composite_flow.errors import FileError

LARGEST = 2**28  # bytes of a file, unpacked: so much text is no table that could be held


class LineError(FileError):
    """What is wrong, and on which line.

    Attributes:
        line: counted from 1; None where no single line is to blame.
    """

    def __init__(self, line: int | None, sentence: str):
        super().__init__(sentence if line is None else f"line {line}: {sentence}")
        self.line = line


@dataclass(frozen=True)
class Token:
    """A word, and the line that it stands on."""

    text: str
    line: int


@dataclass(frozen=True)
class Statement:
    """What one statement says.

    Attributes:
        line: of its first colon.
        keyword: what stands before that colon.
        keys: the words between colons, from the first colon to the last.
        rows: words after the last colon, line by line; lines without any are left out.
    """

    line: int
    keyword: str
    keys: tuple[tuple[str, ...], ...]
    rows: tuple[tuple[Token, ...], ...]

    @property
    def values(self) -> list[Token]:
        """All words after the last colon."""
        return [token for row in self.rows for token in row]


def read_text(path: Path) -> str:
    """The text of a file, packed or not.

    Raises:
        FileError: it is missing, is no text, or is damaged.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise FileError(f"{path} does not exist.") from error
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        if raw[:2] == b"\x1f\x8b":
            with gzip.open(path) as file:
                raw = file.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise FileError(f"{path} is larger than {LARGEST // 2**20} MB unpacked, more than tables can be held of.")
        return raw.decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise FileError(f"{path} is damaged or no text ({error}).") from error


def statements(text: str) -> list[Statement]:
    """The statements of a text, in their order.

    Raises:
        LineError: words stand before the first statement.
    """
    found: list[Statement] = []
    head: tuple[int, list[str]] | None = None
    rows: list[tuple[Token, ...]] = []
    for line, content in _lines(text):
        if ":" not in content:
            if head is None:
                raise LineError(line, f"expected 'agents:', not '{in_short(content)}'.")
            rows.append(_words(content, line))
            continue
        if head is not None:
            found.append(_statement(head, rows))
        head, rows = (line, content.split(":")), []
    return found if head is None else [*found, _statement(head, rows)]


def compact(text: str) -> str:
    """The same statements without comments, empty lines and superfluous blanks."""
    return "\n".join(" ".join(content.split()) for _, content in _lines(text)) + "\n"


def in_short(text: str) -> str:
    """As much of a text as fits into a sentence."""
    return text if len(text) <= 40 else f"{text[:37]}..."


def _lines(text: str):
    """Numbered lines that hold more than blanks and a comment."""
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        content = line.partition("#")[0].strip()
        if content:
            yield number, content


def _words(content: str, line: int) -> tuple[Token, ...]:
    return tuple(Token(word, line) for word in content.split())


def _statement(head: tuple[int, list[str]], rows: list[tuple[Token, ...]]) -> Statement:
    line, (keyword, *keys, last) = head
    own = _words(last, line)
    return Statement(
        line, " ".join(keyword.split()), tuple(tuple(key.split()) for key in keys), (*([own] if own else []), *rows)
    )
