"""The pages of results are what their templates make of the committed cells."""

import json
import re
import shutil
from pathlib import Path

import pytest

from composite_flow.errors import FileError
from composite_flow_paper.pages import filled_page, write_pages
from composite_flow_paper.pages.committed import Seeds
from composite_flow_paper.pages.words import intervals, listed, number, rate, reach, spread, within

RESULTS = Path(__file__).resolve().parent.parent.parent / "docs" / "results"
TEMPLATES = sorted(RESULTS.glob("*.md.in"))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_the_committed_page_is_the_filled_template(template):
    page = template.with_suffix("")
    assert filled_page(template) == page.read_text(), f"{page} is not up to date: run make results."


def test_every_figure_and_table_has_a_page():
    pages = {template.name.removesuffix(".md.in") for template in TEMPLATES}
    assert {path.name.removesuffix("-laptop") for path in RESULTS.glob("*-laptop")} | {"index"} <= pages


def test_every_picture_is_in_the_gallery():
    """By its path, so that none is left out, or stands there that is gone."""
    docs = RESULTS.parent
    shown = set(re.findall(r"\]\((\S+\.png)\)", (docs / "gallery.md").read_text()))
    assert shown == {str(path.relative_to(docs)) for path in docs.rglob("*.png")}


@pytest.fixture
def copy(tmp_path):
    """Figure 4's files alone, to be changed."""
    folder = tmp_path / "results"
    (folder / "figure4-laptop").mkdir(parents=True)
    for path in RESULTS.glob("figure4-laptop/*.json"):
        shutil.copy(path, folder / "figure4-laptop")
    return folder


def write(folder, text):
    (folder / "page.md.in").write_text(text)
    (path,) = write_pages(folder)
    return path.read_text().split("\n\n", 1)[1]


def test_a_changed_cell_changes_the_page(copy):
    text = "{{ figure4.ours.train_seconds | listed('.0f') }}; {{ figure4.summary.exact_rate | rate('.4f') }}"
    assert write(copy, text) == "62, 63 and 60; 1.0000 (≥ 0.9975)"
    path = copy / "figure4-laptop" / "ours-seed1.json"
    cell = json.loads(path.read_text())
    cell["result"]["train_seconds"] = 71.4
    path.write_text(json.dumps(cell))
    assert write(copy, text) == "62, 71 and 60; 1.0000 (≥ 0.9975)"


def test_tables_are_those_of_the_summary(copy):
    summary = json.loads((copy / "figure4-laptop" / "summary.json").read_text())
    lines = write(copy, "{{ table('figure4', 'Figure 4: where flows') }}").splitlines()
    (row,) = [line for line in lines if line.startswith("| ours: in a state")]
    expected = [f"{part['inside']['rate']:.2%}" for part in summary["partial"].values()]
    assert re.findall(r"\| ([\d.]+%) \(", row) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{{ figure4.summary.exact_rates.rate }}", "page.md.in cannot be filled"),
        ("{{ figure4.ours.seconds | spread }}", "no 'seconds' in figure4-laptop/ours"),
        ("{{ figure4.theirs.seconds }}", "no cells theirs-seed"),
        ("{{ figure9.summary }}", "'figure9' is undefined"),
        ("{{ table('figure4', 'Whole') }}", "0 tables begin with 'Whole'"),
    ],
)
def test_what_is_not_there_is_told_and_nothing_is_written(copy, text, sentence):
    with pytest.raises(FileError, match=sentence):
        write(copy, text)
    assert not (copy / "page.md").exists()


def test_numbers_in_words():
    assert (number(-0.126, ".2f"), number(None), number(1234.5, ",.0f")) == ("−0.13", "–", "1,234")
    assert (spread([1.0, 2.0], ".1f"), spread([1.01, 1.02], ".1f")) == ("1.5 (1.0 to 2.0)", "1.0")
    assert (listed([1, 2, 3], "d"), listed([1], "d"), reach([3, 1, 2], "d")) == ("1, 2 and 3", "1", "1 to 3")
    assert rate({"rate": 0.5, "lower_bound": 0.25}, ".2f") == "0.50 (≥ 0.25)"
    assert (within(1.0, (0.5, 1.5), ".1f"), within(1.0, None, ".1f")) == ("1.0 (0.5 to 1.5)", "1.0")
    assert intervals([{"value": 0.5, "interval": [0, 1]}], "+.1f") == "+0.5 (+0.0 to +1.0)"


def test_seeds_go_deeper_in_each_and_subtract():
    seeds = Seeds([{"a": {"b": 3}, "c": [1]}, {"a": {"b": 5}, "c": [4]}], "cells")
    assert list(seeds.a.b) == [3, 5]
    assert list(seeds.a.b - seeds.c[0]) == [2, 1]
