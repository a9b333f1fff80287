"""The check by mutants, on a module of a few lines whose survivors are known."""

import time
from threading import Thread

import pytest

pytest.importorskip("cosmic_ray", reason="comes with the extra `mutants`")

from mutants.check import ROOT, Bench, Results, check, report
from mutants.draw import draw, make, possible, read_equal

MODULE = "composite_flow/toy.py"
SOURCE = '''"""A module with 1 + 1 in its docstring."""


def double(x: int | float, *, least: int = -3) -> int | float:
    if x < least:
        raise ValueError("Too small by" + str(least - x))
    return 2 * x
'''
TESTS = ("tests/test_toy.py",)
TEST = "from composite_flow.toy import double\n\n\ndef test_double():\n    assert double(3) == 6\n"


@pytest.fixture
def tree(tmp_path):
    """A project of that one module."""
    for path, text in {MODULE: SOURCE, "composite_flow/__init__.py": "", TESTS[0]: TEST}.items():
        (tmp_path / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / path).write_text(text)
    return tmp_path / "tree"


def test_places_are_those_that_can_change_what_is_computed(tree):
    """Neither docstring, annotations, the bare star nor the message; and a longer draw begins as a shorter one."""
    code = {(4, 43), (4, 44), (5, 7), (5, 9), (7, 11), (7, 13)}  # −, 3, the condition, <, 2, *
    assert {mutant.place for mutant in possible(MODULE, SOURCE)} == code
    drawn = draw(tree, [MODULE], 10, seed=0, equal=[])
    assert {mutant.place for mutant in drawn} == code
    assert draw(tree, [MODULE], 2, seed=0, equal=[]) == drawn[:2]


def test_survivors_are_found_and_only_these_are_tried_again(tree, tmp_path, capsys):
    """`x <= least` survives until −3 is tested; `2 + x` does not."""
    changes = ("ReplaceComparisonOperator_Lt_LtE", "ReplaceBinaryOperator_Mul_Add")
    mutants = [make(one, SOURCE) for one in possible(MODULE, SOURCE) if one.operator in changes]
    results = Results(tmp_path / "results.jsonl")

    def outcomes():
        check(mutants, Bench(tree, tmp_path), results, jobs=1, tests_of=lambda module: TESTS)
        return {mutant.operator: results.outcome(mutant) for mutant in mutants}

    assert outcomes() == dict(zip(changes, ("survived", "killed"), strict=True))
    assert report(mutants, results) == 0.5 and "+    if x <= least:" in capsys.readouterr().out
    (tree / TESTS[0]).write_text(TEST + "    assert double(-3) == -6\n")
    results = Results(tmp_path / "results.jsonl")
    assert set(outcomes().values()) == {"killed"}
    assert len(results.path.read_text().splitlines()) == 3 and (tree / MODULE).read_text() == SOURCE


def test_an_interruption_ends_the_tests_that_run(tree, tmp_path):
    (tree / TESTS[0]).write_text("import time\n\ndef test_that_waits():\n    time.sleep(600)\n")
    bench, outcomes = Bench(tree, tmp_path), []
    waiting = Thread(target=lambda: outcomes.append(bench._run(tree, TESTS, "not slow", 600.0)))
    waiting.start()
    while not bench.running:
        time.sleep(0.01)
    (process,) = bench.running
    bench.stop()
    waiting.join(timeout=30)
    assert not waiting.is_alive() and process.poll() is not None and not bench.running and outcomes == ["killed"]


def test_every_mutant_listed_as_equal_exists():
    for known in read_equal():
        source = (ROOT / known.module).read_text()
        here = [make(one, source) for one in possible(known.module, source) if one.line == known.line]
        assert any(known.covers(mutant) for mutant in here if mutant), known
