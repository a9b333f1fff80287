"""The committed bundle is what `page/` builds, whose own tests pass, and whose lock file names no address."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "page"
BUNDLE = PAGE.parent / "composite_flow" / "page" / "bundle"


def npm(*arguments):
    """Runs npm with the Node beside this Python; what it printed."""
    assert (PAGE / "node_modules").exists(), "The page's packages are not installed: run `make page`."
    beside = Path(sys.executable).parent
    around = {**os.environ, "PATH": f"{beside}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
    ran = subprocess.run([beside / "npm", *arguments], cwd=PAGE, env=around, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.parametrize("name", ["page.js", "page.css"])
def test_the_committed_bundle_is_what_is_built(name, built):
    assert (built / name).read_bytes() == (BUNDLE / name).read_bytes(), "Run `make page` and commit the bundle."


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    npm("run", "--silent", "build", str(folder))
    return folder


def test_the_script_can_stand_inside_of_a_page():
    script, style = ((BUNDLE / name).read_text() for name in ("page.js", "page.css"))
    assert "</script" not in script.lower() and "<!--" not in script and "</style" not in style.lower()
    assert len(script) < 150_000 and "Permission is hereby granted" in script
    assert not re.findall(r"url\(|@import|https?://(?!www\.w3\.org/(?:2000/svg|1999/xhtml))", script + style)


def test_types_hold():
    npm("run", "--silent", "check")


def test_the_pages_own_tests_pass():
    assert re.search(r"Tests\s+\d{2,} passed \(\d+\)", npm("test", "--silent"))


def test_the_lock_file_names_no_address():
    """But for whom to thank, which npm copies from the packages."""
    text = (PAGE / "package-lock.json").read_text()
    assert '"resolved"' not in text
    assert not re.findall(r"https?://(?!(?:opencollective|github|tidelift|www\.patreon)\.)", text)
