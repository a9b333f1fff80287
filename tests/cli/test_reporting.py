"""Where standard error is a file, progress is told in lines: news at once, the same work once a minute."""

from io import StringIO

import pytest
from rich.console import Console

from composite_flow.cli import reporting
from composite_flow.training import progress

SENTENCES = ("seed 0", "training: step 1", "training: step 2", "seed 1", "training: step 1")


def lines_told(capsys) -> list[str]:
    with reporting.status() as tell:
        for sentence in SENTENCES:
            tell(sentence)
    return capsys.readouterr().err.splitlines()


def test_a_sentence_about_the_same_work_waits(capsys):
    assert lines_told(capsys) == ["seed 0", "training: step 1", "seed 1", "training: step 1"]


def test_and_comes_after_a_minute(capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    assert lines_told(capsys) == list(SENTENCES)


@pytest.mark.parametrize(("quiet", "told"), [(60.0, []), (0.0, ["training: 1 of 3. early", "training: 3 of 3. late"])])
def test_a_bar_becomes_a_line_a_minute_and_one_at_the_end(capsys, monkeypatch, quiet, told):
    monkeypatch.setattr(progress, "QUIET_SECONDS", quiet)
    with reporting.progress_bar("training") as advance:
        advance(1, 3, "early")
        advance(3, 3, "late")
    assert capsys.readouterr().err.splitlines() == [*told, "training: 3 done. late"]


def test_no_name_and_no_number_is_cut_where_the_console_is_narrow():
    names, heads = ("current_direction (degrees)", "sluice_opening (%)"), ("a long head", "and another") * 3
    drawn = reporting.table("All", ("", *heads), [(name, *[0.06912] * 6) for name in names])
    console = Console(width=90, file=StringIO())
    reporting.show_table(console, drawn)
    printed = console.file.getvalue()
    assert "current_direction" in printed and "sluice_opening" in printed and "…" not in printed


@pytest.mark.parametrize("width", [40, 80, 200])
def test_every_number_is_whole_however_narrow_the_console_is(width):
    drawn = reporting.table(
        "All", ("", *(f"head{k} 90%" for k in range(9))), [("tanker_heading (degrees)", *range(10000, 10009))]
    )
    console = Console(width=width, file=StringIO())
    reporting.show_table(console, drawn)
    printed = console.file.getvalue().split()
    assert [word for word in printed if word.isdecimal()] == [str(number) for number in range(10000, 10009)]
    assert [word for word in printed if word.startswith("head")] == [f"head{k}" for k in range(9)]
