"""Every code block of the pages that people type from, run in their order, made small where it trains.

Python blocks of a page share their names; lines of shell blocks that start with `composite-flow` call the command line
in this process. What is made small, and what is left out and why, is declared here: an entry that no page needs any
more fails, and so does a line that is neither run nor listed.
"""

import re
import shlex
from pathlib import Path

import pytest

from composite_flow import cli

ROOT = Path(__file__).resolve().parent.parent.parent

PAGES = ("README.md", "docs/tutorial.md", "docs/battles.md", "docs/acting.md", "docs/starcraft.md", "docs/index.md")

SMALLER = {
    "README.md": (
        ("SensorNetwork.grid(5, 5, num_targets=2)", "SensorNetwork.grid(2, 2, num_targets=1)"),
        ("num_episodes=4096", "num_episodes=64"),
        ("cf.TrainingConfig(width=256)", "cf.TrainingConfig(width=32, batch=64, steps=40)"),
        ("sensor:5x5,targets=2 --episodes 4096", "sensor:2x2,targets=1 --episodes 64"),
        ("train data/a --out runs/b", "train data/a --out runs/b --width 32 --batch 64 --steps 40"),
        ("evaluate runs/b data/a", "evaluate runs/b data/a --joint 8 --samples 2"),
        ("--out estimates", "--out estimates --joint 8 --samples 2"),
        ("analyze runs/b data/a", "analyze runs/b data/a --anchors 4 --joint 2 --max-pairs 50"),
        (
            "sensor:3x3,targets=2 --out runs/q --inputs denoised",
            "sensor:2x2,targets=1 --out runs/q --inputs denoised "
            "--memory none --steps 160 --worlds 4 --rollout 20 --denoiser-width 16",
        ),
        ("evaluate-policy runs/q", "evaluate-policy runs/q --episodes 8"),
        ("play runs/p --out battle.gif", "play runs/q --out battle.gif"),
    ),
}
"""What is replaced before a page is run: training and data of a size that runs in seconds."""

LEFT_OUT = {
    "README.md": (
        ("make demo", "installs the package anew; tests/paper/test_demo.py runs the experiment"),
        ("make test", "is what runs this"),
        ("pip install", "installs"),
        ("composite-flow import vault", "needs a vault of OG-MARL; tests/data/test_vault.py imports one"),
        ("composite-flow train-policy smax:", "battles take minutes to compile; tests/policy trains in them"),
        ("composite-flow reproduce", "minutes; tests/paper runs the smoke preset of each experiment"),
    ),
}
"""Lines of shell blocks that are not run, by how they begin, and why."""


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of each fenced block of a page, in order."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def made_small(page: str, text: str) -> str:
    for old, new in SMALLER.get(page, ()):
        assert old in text, f"{page} no longer has: {old}"
        text = text.replace(old, new)
    return text


def commands(block: str) -> list[str]:
    """Its lines without comments; a backslash at the end joins lines."""
    lines = (line.split(" #")[0].strip() for line in block.replace("\\\n", " ").splitlines())
    return [line for line in lines if line]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.filterwarnings("default")  # as in anybody's own program
def test_every_block_of_a_page_runs(page, tmp_path, monkeypatch, permissive, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    left_out = dict(LEFT_OUT.get(page, ()))
    unused = set(left_out)
    for language, block in blocks(made_small(page, (ROOT / page).read_text())):
        if language == "python":
            exec(compile(block, page, "exec"), names)
            continue
        assert language == "", f"{page} has a block in {language}, which is neither Python nor shell."
        for line in commands(block):
            reason = next((start for start in left_out if line.startswith(start)), None)
            if reason is not None:
                unused.discard(reason)
                continue
            assert line.startswith("composite-flow "), f"{page}: {line} is neither run nor listed as left out."
            code = cli.main(shlex.split(line)[1:])
            assert code == 0, f"{page}: {line}\n{capsys.readouterr().err}"
    assert not unused, f"{page} no longer has what is listed as left out: {unused}"
