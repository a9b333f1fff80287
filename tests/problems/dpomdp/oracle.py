"""An oracle for `.dpomdp` files: a parser into dense tables and an exact filter, in plain NumPy and 64 bits.

It is written from the format's description, apart from the package, and shares no code with it. The filter's hidden
state is (last joint action, state) without any of the package's shortcuts.
"""

import itertools
import re

import numpy as np

ORDER = ["agents", "discount", "values", "states", "start", "actions", "observations"]
KEYWORDS = {*ORDER, "T", "O", "R", "uniform", "identity"} - {"start"}
IDENTIFIER, NATURAL = r"[A-Za-z](?:[A-Za-z0-9]|_|-)*", r"[0-9]+"
REAL = r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"


class Wrong(Exception):
    """The file is malformed; `line` is None where something is missing."""

    def __init__(self, line):
        super().__init__(line)
        self.line = line


class TooLarge(Exception):
    """The file may be right, but its dense tables are not worth making."""


MOST = 1e6


def real(word, line):
    if re.fullmatch(REAL, word, re.ASCII) is None or abs(float(word)) == np.inf:
        raise Wrong(line)
    return float(word)


class Words:
    """Reads a file from its front, a line at a time; a line with a colon begins something new."""

    def __init__(self, text):
        self.todo = []
        for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")):
            line = line[: line.index("#")] if "#" in line else line
            if line.split():
                self.todo.append((number + 1, line))

    def head(self):
        """The next line, cut at its colons."""
        number, line = self.todo.pop(0)
        if ":" not in line:
            raise Wrong(number)
        return number, [part.split() for part in line.split(":")]

    def below(self):
        """The words of the lines until the next head, by line."""
        found = []
        while self.todo and ":" not in self.todo[0][1]:
            number, line = self.todo.pop(0)
            found.append([(word, number) for word in line.split()])
        return found


def things(words, line):
    """A list of names, or a number as a list of that many None."""
    if not words:
        raise Wrong(line)
    if len(words) == 1 and re.fullmatch(NATURAL, words[0][0], re.ASCII):
        if not 0 < int(words[0][0]) < 10**11:
            raise Wrong(words[0][1])
        if int(words[0][0]) > MOST:
            raise TooLarge
        return [None] * int(words[0][0])
    names = []
    for word, number in words:
        if not re.fullmatch(IDENTIFIER, word, re.ASCII) or word in KEYWORDS or word in names:
            raise Wrong(number)
        names.append(word)
    return names


def which(word, names, line):
    """The places that a word means."""
    if word == "*":
        return list(range(len(names)))
    if word in names:
        return [names.index(word)]
    if re.fullmatch(NATURAL, word, re.ASCII) and int(word) < len(names):
        return [int(word)]
    raise Wrong(line)


def which_joint(words, each, line):
    """The joint places that words mean, as tuples of one place for each agent."""
    everything = list(itertools.product(*(range(len(names)) for names in each)))
    if len(words) == 1 and len(each) > 1:
        return [everything[place] for place in which(words[0], [None] * len(everything), line)]
    if len(words) != len(each):
        raise Wrong(line)
    return list(itertools.product(*(which(word, names, line) for word, names in zip(words, each, strict=True))))


class Parsed:
    """T[a, s, s'], O[a, s', o], R[a, s, s', o], start, mean_rewards[a, s], with joint indices in order of tuples."""

    def __init__(self, text):
        reader = Words(text)
        parts = {}
        for keyword in ORDER:
            if not reader.todo:
                raise Wrong(None)
            line, head = reader.head()
            mode = " ".join(head[0])
            allowed = ["start", "start include", "start exclude"] if keyword == "start" else [keyword]
            if mode not in allowed or len(head) != 2:
                raise Wrong(line)
            own = [(word, line) for word in head[1]]
            parts[keyword] = (line, mode, ([own] if own else []) + reader.below())
        self._preamble(parts)
        sizes = (len(self.actions), len(self.states), len(self.states), len(self.seen))
        if np.prod(sizes, dtype=float) > MOST:
            raise TooLarge
        self.T, self.O = np.zeros(sizes[:3]), np.zeros((sizes[0], sizes[1], sizes[3]))
        self.R, self.wrote = np.zeros(sizes), {"T": {}, "O": {}}
        while reader.todo:
            line, head = reader.head()
            self._rule(line, head, [(word, line) for word in head[-1]], reader.below())
        self.T, self.O = self._normal("T", self.T), self._normal("O", self.O)
        self.mean_rewards = np.einsum("ast,ato,asto->as", self.T, self.O, self.R)

    def _preamble(self, parts):
        flat = {key: (line, [word for row in rows for word in row]) for key, (line, _, rows) in parts.items()}
        self.agents = len(things(flat["agents"][1], flat["agents"][0]))
        self.states = things(flat["states"][1], flat["states"][0])
        self.action_names, self.seen_names = (self._each(*parts[key]) for key in ("actions", "observations"))
        line, words = flat["discount"]
        numbers = [real(*word) for word in words]
        if len(numbers) != 1 or not 0 <= numbers[0] <= 1:
            raise Wrong(line)
        line, words = flat["values"]
        if [word for word, _ in words] not in (["reward"], ["cost"]):
            raise Wrong(line)
        self.sign = -1 if words[0][0] == "cost" else 1
        self.start = self._first(parts["start"][1], *flat["start"])
        self.actions = list(itertools.product(*(range(len(names)) for names in self.action_names)))
        self.seen = list(itertools.product(*(range(len(names)) for names in self.seen_names)))

    def _each(self, line, _, rows):
        if len(rows) != self.agents:
            raise Wrong(line)
        return [things(row, line) for row in rows]

    def _first(self, mode, line, words):
        count = len(self.states)
        if mode != "start":
            if not words or any(word == "*" for word, _ in words):
                raise Wrong(line)
            named = {place for word, number in words for place in which(word, self.states, number)}
            chosen = np.array([(place in named) == (mode == "start include") for place in range(count)], float)
            if not chosen.any():
                raise Wrong(line)
            return chosen / chosen.sum()
        if [word for word, _ in words] == ["uniform"]:
            return np.ones(count) / count
        if len(words) == 1:
            (word, number), chosen = words[0], np.zeros(count)
            if re.fullmatch(IDENTIFIER, word, re.ASCII) or (number == line and re.fullmatch(NATURAL, word, re.ASCII)):
                chosen[which(word, self.states, number)] = 1
                return chosen
        chances = np.array([real(*word) for word in words])
        if len(chances) != count or chances.min() < 0 or abs(chances.sum() - 1) > 1.000001e-3:
            raise Wrong(line)
        return chances / chances.sum()

    def _rule(self, line, head, own, below):
        (keyword, *keys), values = (" ".join(head[0]), *head[1:-1]), own + [word for row in below for word in row]
        if keyword in ("T", "O") and not keys and own:
            keys, values = [head[-1]], [word for row in below for word in row]
        least = {"T": 1, "O": 1, "R": 2}.get(keyword)
        if least is None or not least <= len(keys) <= least + 2:
            raise Wrong(line)
        acts = [self.actions.index(act) for act in which_joint(keys[0], self.action_names, line)]
        froms = [self._state(key, line) for key in keys[1 : 3 if keyword in "TR" else 2]]
        sees = keys[2 if keyword == "O" else 3 :] if keyword in "OR" else []
        places = [acts, *froms] + [
            [self.seen.index(see) for see in which_joint(key, self.seen_names, line)] for key in sees
        ]
        if keyword == "T":
            self._write("T", self.T, places, values, line)
        elif keyword == "O":
            self._write("O", self.O, places, values, line)
        else:
            shape = self.R.shape[len(places) :]
            numbers = [real(*value) for value in values]
            if len(numbers) != np.prod(shape):
                raise Wrong(line)
            self.R[np.ix_(*places)] = self.sign * np.reshape(numbers, shape)

    def _state(self, key, line):
        if len(key) != 1:
            raise Wrong(line)
        return which(key[0], self.states, line)

    def _write(self, name, table, places, values, line):
        shape = table.shape[len(places) :]
        words = [word for word, _ in values]
        if words == ["uniform"] and shape:
            block = np.full(shape, 1 / shape[-1])
        elif words == ["identity"] and name == "T" and len(shape) == 2 and shape[0] > 1:
            block = np.eye(shape[0])
        else:
            numbers = [real(*value) for value in values]
            if len(numbers) != int(np.prod(shape)):
                raise Wrong(line)
            for number, (_, at) in zip(numbers, values, strict=True):
                if not 0 <= number <= 1.001000001:
                    raise Wrong(at)
            block = np.reshape(numbers, shape)
        table[np.ix_(*places)] = block
        rows = itertools.product(*(places + [range(table.shape[1])])[:2])
        self.wrote[name].update(dict.fromkeys(rows, line))

    def _normal(self, name, table):
        for action, state in np.ndindex(table.shape[:2]):
            if abs(table[action, state].sum() - 1) > 1.000001e-3:
                raise Wrong(self.wrote[name].get((action, state)))
        return table / table.sum(axis=-1, keepdims=True)


def filtered(parsed, agent, observations, actions, policy):
    """The belief p(s | τ_i) of one agent; its observations are numbers, None before the first action.

    Args:
        parsed: the tables.
        agent: whose history it is.
        observations: of each step from the first.
        actions: its own, between them.
        policy: policy(j, o) are agent j's probabilities of actions after observing o.
    """
    none = len(parsed.actions)  # stands for no last joint action
    belief = np.zeros((none + 1, len(parsed.states)))
    belief[none], previous = parsed.start, observations[0]
    for taken, view in zip(actions, observations[1:], strict=True):
        before = previous
        moved = np.zeros_like(belief)
        for last, state in np.argwhere(belief > 0):
            # what everybody may have seen in this hidden state, given what the agent saw
            sees = [(None,) * parsed.agents] if last == none else parsed.seen
            chances = [1.0] if last == none else list(parsed.O[last, state])
            fitting = [(see, p) for see, p in zip(sees, chances, strict=True) if see[agent] == before and p > 0]
            total = sum(p for _, p in fitting)
            for see, p in fitting:
                for number, act in enumerate(parsed.actions):
                    if act[agent] != taken:
                        continue
                    others = [policy(j, see[j])[act[j]] for j in range(parsed.agents) if j != agent]
                    moved[number] += belief[last, state] * p / total * np.prod(others) * parsed.T[number, state]
        fits = np.array([see[agent] == view for see in parsed.seen])
        moved[:none] *= (parsed.O * fits).sum(axis=2)
        belief, previous = moved / moved.sum(), view
    return belief.sum(axis=0)


def filtered_jointly(parsed, observations, actions):
    """The belief p(s | τ_{1:n}); observations and actions are tuples of one for each agent."""
    belief = parsed.start
    for act, see in zip(actions, observations[1:], strict=True):
        number = parsed.actions.index(tuple(act))
        belief = (belief @ parsed.T[number]) * parsed.O[number, :, parsed.seen.index(tuple(see))]
        belief = belief / belief.sum()
    return belief
