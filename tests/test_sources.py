"""Docstrings name the paper's definitions, theorems and equations in one form, and none of them is left out."""

import ast
import re
from pathlib import Path

import pytest

import composite_flow

LIBRARY = Path(composite_flow.__file__).parent
ITEM = r"(?:(?:Definition|Theorem|Finding) \d|(?:Corollary|Evidence) \d\.\d|Eq\. \d+|appendix [A-E](?:\.\d)?)"
FORM = re.compile(rf"Source: ({ITEM}(?:, {ITEM})*)(?:; .+)?\.")
STATEMENTS = [
    *(f"Definition {number}" for number in range(1, 7)),
    *(f"Theorem {number}" for number in range(1, 9)),
    *(f"Corollary {number}" for number in ("5.1", "7.1", "7.2")),
    *(f"Eq. {number}" for number in range(1, 19)),
]


def sources() -> dict[str, list[str]]:
    """The paragraphs of docstrings that begin with "Source:", by the place where they stand."""
    found = {}
    for path in LIBRARY.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                paragraphs = (ast.get_docstring(node) or "").split("\n\n")
                place = f"{path.relative_to(LIBRARY)}:{getattr(node, 'name', '')}"
                found[place] = [" ".join(text.split()) for text in paragraphs if text.startswith("Source:")]
    return found


SOURCES = sources()


def test_sources_have_one_form():
    assert [(place, text) for place, texts in SOURCES.items() for text in texts if not FORM.fullmatch(text)] == []
    mentions = sum(path.read_text().count("Source:") for path in LIBRARY.rglob("*.py"))
    assert mentions == sum(map(len, SOURCES.values())), "a source is not a paragraph of its own in a docstring"


@pytest.mark.parametrize("statement", STATEMENTS)
def test_every_statement_of_the_paper_is_named_where_it_is_computed(statement):
    items = [item for texts in SOURCES.values() for text in texts for item in re.findall(ITEM, text.partition(";")[0])]
    assert statement in items
