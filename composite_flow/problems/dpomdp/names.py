"""The first seven statements: how many agents, states, actions and observations there are, and what they are called.

They stand once each, in this order: agents, discount, values, states, start, actions, observations. What is counted
has its number, or names; numbers name it in either case, from 0. Joint actions and joint observations are numbered with
the last agent's changing fastest.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from composite_flow.errors import TooLargeError
from composite_flow.problems.dpomdp.lines import LineError, Statement, Token, in_short
from composite_flow.problems.dpomdp.numbers import SLACK, floats

PREAMBLE = ("agents", "discount", "values", "states", "start", "actions", "observations")
RESERVED = {"agents", "discount", "values", "states", "actions", "observations", "T", "O", "R", "uniform", "identity"}
MOST_ROWS = 2**22
"""States times joint actions, or joint observations, at most: each pair has a row in memory."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)
_INDEX = re.compile(r"[0-9]+", re.ASCII)


@dataclass(frozen=True)
class Names:
    """What things are called, where they have names, and how many there are.

    Attributes:
        what: the word for one of them, for messages.
        names: None where they have none.
        count: how many there are.
    """

    what: str
    names: tuple[str, ...] | None
    count: int

    def shown(self, place: int) -> str:
        """The name, or the number where it has none."""
        return str(place) if self.names is None else self.names[place]

    def places(self, word: str, line: int) -> Int[np.ndarray, " places"]:
        """Which of them a word means: one, by name or number, or all, by *.

        Raises:
            LineError: there is no such one.
        """
        if word == "*":
            return np.arange(self.count)
        place = self._by_name.get(word)
        if place is None and _INDEX.fullmatch(word) and len(word) < 12 and int(word) < self.count:
            place = int(word)
        if place is None:
            raise LineError(line, f"there is no {self.what} '{in_short(word)}'; there are {self.count}.")
        return np.array([place])

    @cached_property
    def _by_name(self) -> dict[str, int]:
        return {} if self.names is None else {name: place for place, name in enumerate(self.names)}


@dataclass(frozen=True)
class Joint:
    """What the whole team does, or sees.

    Attributes:
        what: the word for it, for messages.
        parts: of each agent.
    """

    what: str
    parts: tuple[Names, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many each agent has."""
        return tuple(part.count for part in self.parts)

    @property
    def count(self) -> int:
        """How many there are of the whole team."""
        return math.prod(self.sizes)

    def shown(self, place: int) -> str:
        """The names of the agents' parts."""
        found = np.unravel_index(place, self.sizes)
        return " ".join(part.shown(int(one)) for part, one in zip(self.parts, found, strict=True))

    def places(self, words: Sequence[str], line: int) -> Int[np.ndarray, " places"]:
        """Which of them words mean: a word for each agent, one number for all, or one * for every one.

        Raises:
            LineError: there is no such one.
        """
        if len(words) == 1 and len(self.parts) > 1:
            # A number of the whole team is looked up as one of things without names.
            return Names(self.what, None, self.count).places(words[0], line)
        if len(words) != len(self.parts):
            raise LineError(
                line, f"a {self.what} is one number, *, or a word for each of the {len(self.parts)} agents, not "
                f"'{in_short(' '.join(words))}'."
            )  # fmt: skip
        each = [part.places(word, line) for part, word in zip(self.parts, words, strict=True)]
        places = np.zeros(1, np.int64)
        for part, found in zip(self.parts, each, strict=True):
            places = (places[:, None] * part.count + found[None]).ravel()
        return places


@dataclass(frozen=True)
class Preamble:
    """What the first seven statements say.

    Attributes:
        agents, states, actions, observations: what there is.
        discount: of later rewards.
        sign: −1 where values are costs.
        start: P(s_0), adding up to 1.
    """

    agents: Names
    states: Names
    actions: Joint
    observations: Joint
    discount: float
    sign: float
    start: Float[np.ndarray, " states"]


def read_preamble(found: list[Statement]) -> Preamble:
    """Read the first seven statements.

    Raises:
        LineError: one is missing, out of its place or malformed.
        TooLargeError: rows of the tables would be too many.
    """
    for place, keyword in enumerate(PREAMBLE):
        if place == len(found):
            raise LineError(None, f"the file ends before '{keyword}:'.")
        _expect(found[place], keyword)
    agents, discount, values, states, start, actions, observations = found[: len(PREAMBLE)]
    team, places = _counted(agents, "agent", agents.values), _counted(states, "state", states.values)
    acts, sees = _of_each(actions, "action", team.count), _of_each(observations, "observation", team.count)
    for joint, line in ((acts, actions.line), (sees, observations.line)):
        if joint.count * places.count > MOST_ROWS:
            raise TooLargeError(
                f"line {line}: {places.count:,} states with {joint.count:,} {joint.what}s make more than "
                f"{MOST_ROWS:,} rows, too many to hold; such a problem needs a simulator, not tables."
            )
    return Preamble(team, places, acts, sees, _discount(discount), _sign(values), _start(start, places))


def _expect(statement: Statement, keyword: str) -> None:
    """Refuse another statement in this place."""
    wanted = ("start", "start include", "start exclude") if keyword == "start" else (keyword,)
    if statement.keyword not in wanted or statement.keys:
        shown = ":".join([statement.keyword, *(" ".join(key) for key in statement.keys)])
        raise LineError(statement.line, f"expected '{keyword}:', not '{in_short(shown)}:'.")


def _counted(statement: Statement, what: str, tokens: Sequence[Token]) -> Names:
    """A number of things, or their names."""
    if not tokens:
        raise LineError(statement.line, f"a number of {what}s, or their names, is missing.")
    first = tokens[0]
    if len(tokens) == 1 and _INDEX.fullmatch(first.text):
        count = int(first.text) if len(first.text) < 12 else 0
        if count < 1:
            raise LineError(first.line, f"'{in_short(first.text)}' is no number of {what}s.")
        return Names(what, None, count)
    seen: set[str] = set()
    for token in tokens:
        if not _NAME.fullmatch(token.text) or token.text in RESERVED:
            raise LineError(
                token.line, f"'{in_short(token.text)}' is no name: use a letter, then letters, digits, _ and -."
            )
        if token.text in seen:
            raise LineError(token.line, f"two {what}s are called '{token.text}'.")
        seen.add(token.text)
    return Names(what, tuple(token.text for token in tokens), len(tokens))


def _of_each(statement: Statement, what: str, num_agents: int) -> Joint:
    """A line for each agent."""
    if len(statement.rows) != num_agents:
        raise LineError(
            statement.line,
            f"{what}s need a line for each of the {num_agents} agents, and have {len(statement.rows)}.",
        )
    return Joint(f"joint {what}", tuple(_counted(statement, what, row) for row in statement.rows))


def _discount(statement: Statement) -> float:
    found = floats(statement, 1, "a discount")[0]
    if not 0 <= found <= 1:
        raise LineError(statement.line, f"the discount must lie in [0, 1], not at {found:g}.")
    return float(found)


def _sign(statement: Statement) -> float:
    words = [token.text for token in statement.values]
    if words not in (["reward"], ["cost"]):
        raise LineError(statement.line, f"values are 'reward' or 'cost', not '{in_short(' '.join(words))}'.")
    return 1.0 if words == ["reward"] else -1.0


def _start(statement: Statement, states: Names) -> Float[np.ndarray, " states"]:
    """P(s_0): a distribution, a state, or evenly some states or all but some."""
    tokens = statement.values
    if statement.keyword != "start":
        return _even(statement, states, tokens)
    if [token.text for token in tokens] == ["uniform"]:
        return np.full(states.count, 1 / states.count)
    is_word = len(tokens) == 1 and bool(_NAME.fullmatch(tokens[0].text))
    if len(tokens) == 1 and (is_word or (tokens[0].line == statement.line and _INDEX.fullmatch(tokens[0].text))):
        return np.eye(1, states.count, int(states.places(tokens[0].text, tokens[0].line)[0]))[0]
    chances = floats(statement, states.count, "the start")
    if chances.min() < 0 or abs(chances.sum() - 1) > SLACK:
        raise LineError(
            statement.line, f"the start must be a distribution, not negative, adding up to 1, not {chances.sum():.6g}."
        )
    return chances / chances.sum()


def _even(statement: Statement, states: Names, tokens: list[Token]) -> Float[np.ndarray, " states"]:
    """The same probability for each state that is named, or for each that is not."""
    if not tokens or any(token.text == "*" for token in tokens):
        raise LineError(statement.line, f"'{statement.keyword}:' needs states, by names or numbers.")
    named = np.zeros(states.count, bool)
    for token in tokens:
        named[states.places(token.text, token.line)] = True
    chosen = named if statement.keyword == "start include" else ~named
    if not chosen.any():
        raise LineError(statement.line, "every state is excluded from the start.")
    return chosen / chosen.sum()
