"""A version has one number and says what is new in it."""

import re
import tomllib
from pathlib import Path

import composite_flow as cf

ROOT = Path(__file__).parents[1]


def test_the_version_is_the_same_everywhere():
    """pyproject.toml takes it from the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"]["path"] == "composite_flow/__init__.py"
    assert f"\nversion: {cf.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_changelog_has_this_version_first():
    releases = re.findall(r"^## \[(.+?)\](?: - (.+))?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    numbers = [number for number, _ in releases if number != "Unreleased"]
    assert numbers[0] == cf.__version__
    assert all(re.fullmatch(r"\d{4}-\d{2}-\d{2}", date) for number, date in releases if number != "Unreleased")
