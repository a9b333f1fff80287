"""The language of `.dpomdp` files: two parsers agree on five files and on a thousand damaged ones."""

import gzip
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from problems.dpomdp import oracle

import composite_flow as cf
from composite_flow.errors import FileError, TooLargeError
from composite_flow.problems.dpomdp.grammar import read_tables

FILES = Path(__file__).parent / "files"
NAMES = ("tiger", "recycling", "xor", "relay", "corridor")
SMALL = """agents: 2
discount: 1
values: reward
states: a b
start: uniform
actions:
2
2
observations:
2
1
T: * :
identity
O: * :
uniform
"""


def dense(tables):
    """T[a, s, s'], O[a, s', o] and R[a, s] of the package's sparse tables."""
    size, actions = tables.preamble.states.count, tables.preamble.actions.count
    found = []
    for table, width in ((tables.transition, size), (tables.observation, tables.preamble.observations.count)):
        rows = np.zeros((actions * size, width))
        rows[table.rows, table.columns] = table.values
        found.append(rows.reshape(actions, size, width))
    return *found, tables.rewards.reshape(actions, size)


def assert_agree(tables, parsed):
    found = dense(tables)
    for mine, other in zip(found, (parsed.T, parsed.O, parsed.mean_rewards), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-12)
    for mine, other in zip(found[:2], (parsed.T, parsed.O), strict=True):
        np.testing.assert_array_equal(mine > 0, other > 0)
    np.testing.assert_allclose(tables.preamble.start, parsed.start, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_both_parsers_read_the_same_tables(name):
    text = (FILES / f"{name}.dpomdp").read_text()
    tables, parsed = read_tables(text), oracle.Parsed(text)
    assert_agree(tables, parsed)
    assert tables.preamble.actions.sizes == tuple(map(len, parsed.action_names))
    assert tables.preamble.observations.sizes == tuple(map(len, parsed.seen_names))


def damaged(text, rng):
    """The text with one to three changes: lines, words or letters lost, doubled, moved, or changed."""
    lines = text.split("\n")
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(len(lines)))
        words = re.split(r"( +|:)", lines[place])
        spot = int(rng.integers(len(words)))
        match rng.integers(8):
            case 0:
                del lines[place]
            case 1:
                lines.insert(place, lines[int(rng.integers(len(lines)))])
            case 2:
                other = int(rng.integers(len(lines)))
                lines[place], lines[other] = lines[other], lines[place]
            case 3:
                del words[spot]
                lines[place] = "".join(words)
            case 4:
                words[spot] = str(
                    rng.choice(["*", "0", "1", "2", "7", "0.5", "1.98", "-1", "uniform", "x", ":", "nan"])
                )
                lines[place] = "".join(words)
            case 5:
                other = re.split(r"( +|:)", lines[int(rng.integers(len(lines)))])
                words[spot] = str(rng.choice(other))
                lines[place] = "".join(words)
            case 6:
                at = int(rng.integers(len(lines[place]) + 1))
                letter = str(rng.choice(list(":*#01e.-+ aT_")))
                lines[place] = lines[place][:at] + letter + lines[place][at:]
            case _:
                lines[place] = lines[place] + " " + str(rng.choice(["0", "1", "*", "uniform", "listen", ":"]))
    return "\n".join(lines)


def outcome(read, text, refusals):
    """What a parser gives, or where it refuses."""
    try:
        return read(text), None
    except refusals as error:
        return None, error


def test_a_thousand_damaged_files_are_read_alike_or_refused_at_the_same_line():
    rng = np.random.default_rng(0)
    texts = [(FILES / f"{name}.dpomdp").read_text() for name in NAMES]
    refused = 0
    for number in range(1000):
        text = damaged(texts[number % len(texts)], rng)
        try:
            parsed, wrong = outcome(oracle.Parsed, text, oracle.Wrong)
        except oracle.TooLarge:
            continue
        tables, error = outcome(read_tables, text, FileError)
        if wrong is None:
            assert error is None, (number, str(error))
            assert_agree(tables, parsed)
            continue
        refused += 1
        assert error is not None, (number, wrong.line)
        assert error.line == wrong.line, (number, str(error), wrong.line)
    assert 500 < refused < 950, refused  # both happen often


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("identity", "identity\nT: 0 0 : a :\n0.98 1.0"), "line 14: P.s' . s = a, a = 0 0. adds up to 1.98"),
        (("T: * :\nidentity\n", ""), "no line gives P.s' . s = a, a = 0 0"),
        (("identity", "identiti"), "line 13: 'identiti' is no number"),
        (("states: a b", "states: a T"), "line 4: 'T' is no name"),
        (("states: a b", "states: a a"), "line 4: two states are called 'a'"),
        (("agents: 2", "agents: 3"), "line 6: actions need a line for each of the 3 agents, and have 2"),
        (("start: uniform", "start exclude: 0 1"), "line 5: every state is excluded"),
        (("start: uniform", "start: 0.5 0.4"), "line 5: the start must be a distribution.* not 0.9"),
        (("start: uniform\n", ""), "line 5: expected 'start:', not 'actions:'"),
        (("discount: 1", "discount: 2"), "line 2: the discount must lie"),
        (("values: reward", "values: gain"), "line 3: values are 'reward' or 'cost'"),
        (("O: * :\nuniform", "O: * : c :\nuniform"), "line 14: there is no state 'c'; there are 2"),
        (("O: * :\nuniform", "O: 9 :\nuniform"), "line 14: there is no joint action '9'; there are 4"),
        (("O: * :\nuniform", "O: * * * :\nuniform"), "line 14: a joint action is one number"),
        (("O: * :\nuniform", "O: * :\n1 0\n1"), "line 14: a matrix of 2 by 2 needs 4 numbers, and has 3"),
        (("O: * :\nuniform", "P: * :\nuniform"), "line 14: expected 'T:', 'O:' or 'R:'"),
        (("O: * :\nuniform", "O: * : a : * : -0.1"), "line 14: -0.1 is no probability"),
        (("O: * :\nuniform", "R: * : 1"), "line 14: 'R:' has 2 colons"),
    ],
)  # fmt: skip
def test_what_is_malformed_is_named_with_its_line(change, sentence):
    text = SMALL.replace(*change)
    assert text != SMALL
    with pytest.raises(FileError, match=sentence):
        read_tables(text)


def test_rows_that_are_off_by_rounding_are_accepted_and_made_whole():
    tables = read_tables(SMALL.replace("T: * :\nidentity", "T: * : * :\n0.333 0.666"))
    np.testing.assert_allclose(dense(tables)[0], np.broadcast_to([1 / 3, 2 / 3], (4, 2, 2)))


def test_later_lines_win_over_earlier_ones_whatever_they_leave_open():
    """Rewards by a, s, s' and o: of the lines that fit, the last counts, be it the widest."""
    lines = ("R: 0 0 : a : a : 0 0 : 5", "R: * : * : a : * : 3", "R: 0 0 : * : * : 1 0 : 7", "R: 0 1 : a : * : * : 9")
    found = dense(read_tables(SMALL + "\n".join(lines)))[2]
    # From a, action 0 0 stays in a and sees 0 or 1 evenly: 3 and 7. In b no line fits but for observation 1.
    np.testing.assert_allclose(found, [[5, 3.5], [9, 0], [3, 0], [3, 0]])
    found = dense(read_tables(SMALL + "\n".join(reversed(lines))))[2]
    np.testing.assert_allclose(found, [[4, 3.5], [3, 0], [3, 0], [3, 0]])


def test_costs_are_rewards_with_the_other_sign():
    text = SMALL.replace("values: reward", "values: cost") + "R: * : a : * : * : 2\n"
    np.testing.assert_array_equal(dense(read_tables(text))[2], [[-2, 0]] * 4)


def test_packed_files_are_read_and_damaged_ones_named(tmp_path):
    path = tmp_path / "small.dpomdp.gz"
    path.write_bytes(gzip.compress(SMALL.encode()))
    assert cf.problem_from_text(str(path)).num_agents == 2
    path.write_bytes(gzip.compress(SMALL.encode())[:-9])
    with pytest.raises(FileError, match="small.dpomdp.gz is damaged"):
        cf.from_dpomdp(path)
    with pytest.raises(FileError, match="none.dpomdp does not exist"):
        cf.from_dpomdp(tmp_path / "none.dpomdp")
    plain = tmp_path / "wrong.dpomdp"
    plain.write_text(SMALL.replace("identity", "1 0 0 x"))
    with pytest.raises(FileError, match="wrong.dpomdp, line 13: 'x' is no number"):
        cf.from_dpomdp(plain)


def test_ten_thousand_states_with_dense_tables_are_refused_in_a_sentence():
    text = SMALL.replace("states: a b", "states: 10000")
    assert len(read_tables(text).transition.values) == 40_000  # sparse: no trouble
    with pytest.raises(TooLargeError, match="line 12: the table has .* entries .* at most can be held"):
        read_tables(text.replace("T: * :\nidentity", "T: * :\nuniform"))
    with pytest.raises(TooLargeError, match="line 12: the table has"):
        read_tables(text.replace("T: * :\nidentity", "T: * : * : * : 0.0001"))
    with pytest.raises(TooLargeError, match="line 6: 10,000 states with 1,000,000 joint actions"):
        read_tables(text.replace("actions:\n2\n2", "actions:\n1000\n1000"))


def generated(rng, states=256, actions=6, seen=8):
    """A file of many states and joint actions: four next states each, an observation of each agent in ten wrong."""
    lines = [
        "agents: 2", "discount: 0.9", "values: reward", f"states: {states}", "start: uniform", "actions:",
        str(actions), str(actions), "observations:", str(seen), str(seen), "O: * :",
    ]  # fmt: skip
    for _ in range(states):
        row = np.zeros(seen * seen)
        row[rng.choice(seen * seen, 4, replace=False)] = 0.25
        lines.append(" ".join(f"{chance:g}" for chance in row))
    for first in range(actions):
        for second in range(actions):
            lines.append(f"O: {first} {second} : {first * actions + second} :\nuniform")
            for state in range(states):
                for place in rng.choice(states, 4, replace=False):
                    lines.append(f"T: {first} {second} : {state} : {place} : 0.25")
                lines.append(f"R: {first} {second} : {state} : * : * : {rng.integers(9)}")
    return "\n".join(lines) + "\n"


PROGRAM = """
import sys
import jax
import composite_flow as cf
problem = cf.from_dpomdp(sys.argv[1])
episodes = cf.collect(problem, 16, key=jax.random.key(0), num_steps=4)
joint = cf.HistoryDataset(episodes, length=4).joint(episodes.starts + 3)
belief = cf.exact_belief(problem, joint.structured, joint=True)
assert ((belief.probabilities * joint.states).sum(axis=1) > 0).all()
# of this program alone: ru_maxrss counts the process that started it as well
print(next(int(line.split()[1]) / 1e6 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
def test_a_file_of_256_states_and_36_joint_actions_takes_less_than_a_gigabyte(tmp_path):
    path = tmp_path / "large.dpomdp"
    path.write_text(generated(np.random.default_rng(0)))
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.0
