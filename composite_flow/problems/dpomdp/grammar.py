"""The statements T, O and R of a `.dpomdp` file, and the whole file as tables.

    T: a : s : s' : p        T: a : s :  a row        T: a :  a matrix, uniform or identity
    O: a : s' : o : p        O: a : s' : a row        O: a :  a matrix, or uniform
    R: a : s : s' : o : r    R: a : s : s' : a row by o       R: a : s :  a matrix of s' by o

How many colons there are says which of them a line is. Each of a, s, s', o may be *; a and o are joint.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from composite_flow.problems.dpomdp.lines import LineError, Statement, in_short, statements
from composite_flow.problems.dpomdp.names import PREAMBLE, Preamble, read_preamble
from composite_flow.problems.dpomdp.numbers import SLACK, floats
from composite_flow.problems.dpomdp.rewards import Rewards
from composite_flow.problems.dpomdp.table import Sparse, Table

_FORMS = {"T": (1, 2, 3), "O": (1, 2, 3), "R": (2, 3, 4)}  # numbers of keys


@dataclass(frozen=True)
class Tables:
    """A Dec-POMDP as its file says. Rows of all three tables are joint action times states plus state.

    Attributes:
        preamble: names, sizes and the start.
        transition: P(s' | s, a), rows by a and s.
        observation: P(o | a, s'), rows by a and s'.
        rewards: R(s, a), the mean over what comes after.
    """

    preamble: Preamble
    transition: Sparse
    observation: Sparse
    rewards: Float[np.ndarray, " rows"]


def read_tables(text: str) -> Tables:
    """The tables of a text.

    Raises:
        LineError: it is malformed; the message names the line.
        TooLargeError: the tables are too large to hold.
    """
    found = statements(text)
    preamble = read_preamble(found)
    reader = _Reader(preamble)
    for statement in found[len(PREAMBLE) :]:
        reader.read(statement)
    return reader.tables()


class _Reader:
    """Carries statements out, one after the other."""

    def __init__(self, preamble: Preamble):
        states, actions, observations = preamble.states.count, preamble.actions.count, preamble.observations.count
        self.preamble = preamble
        self.by_keyword = {"T": Table(actions * states, states), "O": Table(actions * states, observations)}
        self.rewards = Rewards(actions, states, observations)

    def read(self, statement: Statement) -> None:
        """Carry one statement out."""
        keys, keyword, values = statement.keys, statement.keyword, statement.values
        if not keys and values and keyword in ("T", "O"):
            # The colon before a matrix on the next lines may be missing: the joint action is then on the first line.
            first = [token.text for token in values if token.line == statement.line]
            keys = (tuple(first),) if first else keys
            rows = statement.rows[1:] if first else statement.rows
            statement = Statement(statement.line, keyword, keys, rows)
        if keyword not in _FORMS:
            raise LineError(statement.line, f"expected 'T:', 'O:' or 'R:', not '{in_short(keyword)}:'.")
        if len(keys) not in _FORMS[keyword]:
            raise LineError(statement.line, f"'{keyword}:' has {len(keys) + 1} colons; {_FORM_WORDS[keyword]}.")
        (self._reward if keyword == "R" else self._probability)(statement)

    def _probability(self, statement: Statement) -> None:
        """T or O: an entry, rows, or matrices."""
        table, line = self.by_keyword[statement.keyword], statement.line
        actions = self.preamble.actions.places(statement.keys[0], line)
        size, (_, width) = self.preamble.states.count, table.shape
        if len(statement.keys) == 1:
            values = self._block(statement, size, width)
            table.set_rows(actions[:, None] * size + np.arange(size)[None], values, line)
            return
        rows = (actions[:, None] * size + self._states(statement, 1)[None]).ravel()
        if len(statement.keys) == 2:
            table.set_rows(rows[:, None], self._block(statement, 1, width), line)
            return
        columns = self._states(statement, 2) if statement.keyword == "T" else self._seen(statement, 2)
        table.room_for(len(rows) * len(columns), line)
        table.set_entries(rows, columns, float(self._chances(statement, 1, "a probability")[0]), line)

    def _block(self, statement: Statement, rows: int, width: int) -> Sparse:
        """The values of rows that are set as a whole: uniform, identity, or numbers."""
        words = [token.text for token in statement.values]
        if words == ["uniform"]:
            self.by_keyword[statement.keyword].room_for(rows * width, statement.line)
            starts, columns = np.arange(rows + 1) * width, np.tile(np.arange(width), rows)
            return Sparse(starts, columns, np.full(rows * width, 1 / width))
        if words == ["identity"] and statement.keyword == "T" and rows > 1:
            return Sparse(np.arange(rows + 1), np.arange(rows), np.ones(rows))
        what = f"a matrix of {rows} by {width}" if rows > 1 else "a row"
        dense = self._chances(statement, rows * width, what).reshape(rows, width)
        where = np.nonzero(dense)
        return Sparse(np.append(0, np.cumsum((dense != 0).sum(axis=1))), where[1], dense[where])

    def _chances(self, statement: Statement, count: int, what: str) -> Float[np.ndarray, " count"]:
        """Numbers that are probabilities."""
        found = floats(statement, count, what)
        if found.min() < 0 or found.max() > 1 + SLACK:
            wrong = int(np.flatnonzero((found < 0) | (found > 1 + SLACK))[0])
            token = statement.values[wrong]
            raise LineError(token.line, f"{in_short(token.text)} is no probability.")
        return found

    def _reward(self, statement: Statement) -> None:
        """R: of all that may follow, of a next state, of an observation, or of both."""
        line, size, keys = statement.line, self.preamble.states.count, statement.keys
        places = [self.preamble.actions.places(keys[0], line), self._states(statement, 1)]
        places.append(self._states(statement, 2) if len(keys) > 2 else np.arange(size))
        width = self.preamble.observations.count
        places.append(self._seen(statement, 3) if len(keys) > 3 else np.arange(width))
        if len(keys) == 4:
            values = floats(statement, 1, "a reward")[0]
        elif len(keys) == 3:
            values = floats(statement, width, "a row")
        else:
            values = floats(statement, size * width, f"a matrix of {size} by {width}").reshape(size, width)
        self.rewards.set(places, np.asarray(self.preamble.sign * values), line)

    def _states(self, statement: Statement, place: int) -> np.ndarray:
        """The states that a key means."""
        words = statement.keys[place]
        if len(words) != 1:
            raise LineError(statement.line, f"a state is one name, one number or *, not '{in_short(' '.join(words))}'.")
        return self.preamble.states.places(words[0], statement.line)

    def _seen(self, statement: Statement, place: int) -> np.ndarray:
        """The joint observations that a key means."""
        return self.preamble.observations.places(statement.keys[place], statement.line)

    def tables(self) -> Tables:
        """What all statements came to."""
        transition = self.by_keyword["T"].distributions(lambda row: f"P(s' | {self._shown(row, 's')})")
        observation = self.by_keyword["O"].distributions(lambda row: f"P(o | {self._shown(row, 's' + chr(39))})")
        return Tables(self.preamble, transition, observation, self.rewards.mean(transition, observation))

    def _shown(self, row: int, state: str) -> str:
        """A row in words."""
        action, place = divmod(row, self.preamble.states.count)
        return f"{state} = {self.preamble.states.shown(place)}, a = {self.preamble.actions.shown(action)}"


_FORM_WORDS = {
    "T": "write T: action : state : next state : probability, or a row or a matrix after fewer",
    "O": "write O: action : next state : observation : probability, or a row or a matrix after fewer",
    "R": "write R: action : state : next state : observation : reward, or a row or a matrix after fewer",
}
