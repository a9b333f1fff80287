"""The file: whole or not at all, safe against names, and by the command line."""

import json
import re

import jax
import pytest
from page_teams import NAMES, robots, sensors

import composite_flow as cf
from composite_flow import cli
from composite_flow.errors import FileError, InputError
from composite_flow.page import html
from composite_flow.page.container import unpacked


def data_of(page):
    found = re.search(r'<script type="text/plain" id="data" data-size="(\d+)">([A-Za-z0-9+/=]+)</script>', page)
    assert len(found[2]) == int(found[1])
    return unpacked(found[2])


@pytest.fixture(scope="module")
def team():
    return robots(jax.random.key(0))


def test_names_and_titles_are_text(team, tmp_path):
    hostile = "<script>alert(1)</script>"
    names = (f"{hostile} x", f"{hostile} y", *NAMES[2:])
    model, episodes = robots(jax.random.key(0), names=names)
    page = cf.show(model, episodes, tmp_path / "page.html", title=hostile).read_text()
    assert hostile not in page
    header, _ = data_of(page)
    assert header["title"] == hostile and header["features"][0] == names[0]


def test_the_page_asks_no_network_and_lets_nothing_else_run(team, tmp_path):
    page = cf.show(*team, tmp_path / "page.html").read_text()
    assert "default-src 'none'" in page and "unsafe" not in page.split("<style>")[0]
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#)""", page.split("<script>")[0])


def test_a_page_is_not_overwritten_unless_asked(team, tmp_path):
    path = cf.show(*team, tmp_path / "new" / "page.html")
    with pytest.raises(FileError, match="already exists"):
        cf.show(*team, path)
    path.write_text("old")
    assert cf.show(*team, path, overwrite=True).read_text() != "old"
    assert [entry.name for entry in path.parent.iterdir()] == ["page.html"]


def test_a_page_that_no_browser_would_open_is_refused(team, tmp_path, monkeypatch):
    monkeypatch.setattr(html, "LARGEST", 1000)
    with pytest.raises(InputError, match="show fewer episodes"):
        cf.show(*team, tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_told(team, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="could not be written"):
        cf.show(*team, tmp_path / "file" / "page.html")


def test_the_command_writes_the_first_episodes(tmp_path, capsys):
    model, episodes = sensors(jax.random.key(0))
    episodes.save(tmp_path / "data")
    model.save(tmp_path / "run")
    out = tmp_path / "page.html"
    given = ["show", str(tmp_path / "run"), str(tmp_path / "data"), "--out", str(out)]
    assert cli.main([*given, "--episodes", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["page"] == str(out) and told["episodes"] == 2
    header, _ = data_of(out.read_text())
    assert header["lengths"] == [5, 5] and header["title"] == "run on data"
    assert cli.main(given) == 1
    assert "already exists" in capsys.readouterr().err
    assert cli.main([*given[:-1], str(tmp_path / "page.pdf")]) == 1
    assert "is written as .html" in capsys.readouterr().err
