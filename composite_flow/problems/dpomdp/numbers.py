"""Numbers of a `.dpomdp` file, read many at a time and held to the format's own spelling."""

import re

import numpy as np
from jaxtyping import Float

from composite_flow.problems.dpomdp.lines import LineError, Statement, Token, in_short

SLACK = 1e-3 + 1e-9
"""How far a row may be from adding up to 1: files round (0.33333 three times, or 0.123 and 0.876)."""

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_ONLY_NUMBERS = re.compile(r"[0-9.eE+\- ]*", re.ASCII)


def floats(statement: Statement, count: int, what: str) -> Float[np.ndarray, " count"]:
    """The values of a statement as numbers.

    Args:
        statement: whose values are read.
        count: how many there must be.
        what: needs them, for messages.

    Raises:
        LineError: a value is no number, or there are more or fewer.
    """
    tokens = statement.values
    numbers = _converted(tokens)
    if len(numbers) != count:
        raise LineError(
            statement.line, f"{what} needs {count} number{'s' if count > 1 else ''}, and has {len(numbers)}."
        )
    return numbers


def _converted(tokens: list[Token]) -> Float[np.ndarray, " tokens"]:
    """All words as numbers, or the first that is none by its line."""
    words = [token.text for token in tokens]
    try:
        # NumPy also reads "nan" and "1_000", which are no numbers here; the letters give them away at once.
        numbers = np.array(words, np.float64) if _ONLY_NUMBERS.fullmatch(" ".join(words)) else None
    except ValueError:
        numbers = None
    if numbers is not None and np.isfinite(numbers).all():
        return numbers
    for token in tokens:
        if not _NUMBER.fullmatch(token.text) or not np.isfinite(float(token.text)):
            raise LineError(token.line, f"'{in_short(token.text)}' is no number.")
    return np.array([float(word) for word in words])
