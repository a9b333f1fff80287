"""`docs/paper.md` names functions and tests that exist, and each function's docstring names the statement's number."""

import importlib
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "paper.md"
NUMBERED = re.compile(r"\| ((?:Definition|Theorem|Corollary|Eq\.|Finding|Evidence|Figure|Table) [\d.]+\d*|A\.\d) \|")


class Statement(NamedTuple):
    """A row of the page."""

    number: str
    functions: list[str]
    tests: list[str]
    outcome: str


def rows() -> list[Statement]:
    found = []
    for line in PAGE.read_text().splitlines():
        if NUMBERED.match(line):
            number, _, functions, tests, outcome = [cell.strip() for cell in line.strip("|").split(" | ")]
            found.append(
                Statement(
                    number.strip("| "), re.findall("`([^`]+)`", functions), re.findall("`([^`]+)`", tests), outcome
                )
            )
    return found


ROWS = rows()


def resolve(name: str):
    """A module of the experiments, or a function or class below `composite_flow`."""
    if name.startswith("composite_flow_paper."):
        return importlib.import_module(name)
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(f"composite_flow.{module}"), attribute)


def names(text: str, number: str) -> bool:
    """Whether a docstring names a statement, also in a list as in "Theorems 1 and 2" or "Findings 2 to 4"."""
    kind, _, digits = number.rpartition(" ")
    if not kind:
        return re.search(rf"\b{re.escape(digits)}\b", text) is not None
    plural = {"Corollary": "Corollar(?:y|ies)", "Eq.": r"Eqs?\.", "Evidence": "Evidence"}.get(kind, f"{kind}s?")
    for found in re.finditer(plural + r" ((?:\(?\d+(?:\.\d+)?\)?(?: \(\w+\))?(?:, | and | to )?)+)", text):
        listed = found[1].replace("(", "").replace(")", "")
        spans = re.findall(r"(\d+) to (\d+)", listed)
        if digits in re.findall(r"\d+(?:\.\d+)?", listed):
            return True
        if digits.isdigit() and any(int(first) <= int(digits) <= int(last) for first, last in spans):
            return True
    return False


@cache
def defined_tests(path: str) -> set[str]:
    return set(re.findall(r"^def (test_\w+)", (ROOT / path).read_text(), flags=re.MULTILINE))


def test_every_statement_has_its_row():
    expected = {f"Definition {k}" for k in range(1, 7)} | {f"Theorem {k}" for k in range(1, 9)}
    expected |= {f"Eq. {k}" for k in range(1, 18) if k != 12} | {f"Finding {k}" for k in range(1, 7)}
    expected |= {"Corollary 5.1", "Corollary 7.1", "Corollary 7.2", "Table 1"} | {f"Figure {k}" for k in range(1, 6)}
    expected |= {f"A.{k}" for k in range(1, 9)} | {"Evidence 3.1", "Evidence 5.1", "Evidence 6.1"}
    assert {row.number for row in ROWS} == expected


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.number)
def test_functions_and_tests_exist_and_docstrings_name_the_number(row):
    assert row.functions and row.tests and row.outcome
    for name in row.functions:
        text = resolve(name).__doc__
        assert text and names(text, row.number), f"The docstring of {name} does not name {row.number}."
    for test in row.tests:
        path, _, name = test.partition("::")
        assert (ROOT / path).exists(), f"There is no {path}."
        assert not name or name in defined_tests(path), f"There is no {test}."


@pytest.mark.parametrize(
    ("text", "number", "expected"),
    [
        ("Theorems 1 and 2, Finding 1", "Theorem 2", True),
        ("Theorems 1 and 2, Finding 1", "Theorem 3", False),
        ("Findings 2 to 4", "Finding 3", True),
        ("Definition 5, Eqs. 15 and 17", "Eq. 17", True),
        ("by Eq. (1).", "Eq. 1", True),
        ("Theorem 51", "Theorem 5", False),
        ("Corollaries 7.1 and 7.2", "Corollary 7.2", True),
        ("(A.6, step 2)", "A.6", True),
        ("Eq. 8 (masses), 10 and 11", "Eq. 10", True),
    ],
)
def test_numbers_are_found_in_lists(text, number, expected):
    assert names(text, number) == expected
