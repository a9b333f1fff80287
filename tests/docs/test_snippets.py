"""Every code block of the pages that people type from, run in their order, made small where it trains.

Python blocks of a page share their names, and one with a title is a file. Lines of shell blocks that start with
`composite-flow` call the command line in this process. What is made small, and what is left out and why, is declared
here: an entry that no page needs any more fails, and so does a line that is neither run nor listed.
"""

import ast
import re
import shlex
import sys
from pathlib import Path

import pytest

import composite_flow_paper
from composite_flow import cli

ROOT = Path(__file__).resolve().parent.parent.parent

ANSWERS_ALONE = "--no-team-denoiser --width 16 --depth 2 --batch 64 --steps 40"
ANSWERS_ALONE_IN_PYTHON = "team_denoiser=False, width=16, depth=2, batch=64, steps=40"

SMALLER = {
    "README.md": (
        ("SensorNetwork.grid(5, 5, num_targets=2)", "SensorNetwork.grid(2, 2, num_targets=1)"),
        ("num_episodes=4096", "num_episodes=64"),
        ("cf.TrainingConfig(width=256,", "cf.TrainingConfig(width=16, depth=2, batch=64, steps=40,"),
        ("participants=[0, 3, 17]", "participants=[0, 3]"),
        ("sensor:5x5,targets=2 --episodes 4096", "sensor:2x2,targets=1 --episodes 64"),
        ("data/a --out runs/b", "data/a --out runs/b --width 16 --depth 2 --batch 64 --steps 40"),
        ("evaluate runs/b data/a", "evaluate runs/b data/a --joint 8 --samples 2"),
        ("--out estimates", "--out estimates --joint 8 --samples 2"),
        ("sensor:3x3,targets=2 --out runs/q", "sensor:2x2,targets=1,steps=3 --out runs/q --memory none --steps 80"),
        ("--inputs denoised", "--inputs denoised --worlds 4 --rollout 10 --denoiser-width 16"),
        ("evaluate-policy runs/q", "evaluate-policy runs/q --episodes 4"),
        ("play runs/p --out battle.gif", "play runs/q --out battle.gif"),
    ),
    "docs/tutorial.md": (
        ("steps, agents = 6_400, 3", "steps, agents = 640, 3"),
        ("cf.TrainingConfig(width=128, steps=3_000,", "cf.TrainingConfig(width=16, depth=2, batch=64, steps=40,"),
        ("stir=0.2, num_sweeps=60", "stir=0.2, num_sweeps=3"),
        ("evaluate runs/line data/line", "evaluate runs/line data/line --joint 8 --samples 2"),
        ("--out estimates", "--out estimates --joint 8 --samples 2"),
        ("--out by-chain --by chain", "--out by-chain --by chain --joint 8"),
        ("analyze runs/line data/line", "analyze runs/line data/line --anchors 4 --joint 2 --max-pairs 50"),
        ("runs/line-split --steps 3000", "runs/line-split --width 16 --depth 2 --batch 64 --steps 40"),
        ("evaluate runs/line-split data/line", "evaluate runs/line-split data/line --joint 8 --samples 2"),
    ),
    "docs/own_data.md": (
        ("for run in range(200)", "for run in range(40)"),
        ("for _ in range(200)", "for _ in range(40)"),
        ("for number in range(200)", "for number in range(20)"),
        ("--learn fusion --steps 2000", f"--learn fusion {ANSWERS_ALONE}"),
        ("evaluate runs/own data/own", "evaluate runs/own data/own --joint 8 --samples 2"),
        ('learn="fusion", steps=2_000', f'learn="fusion", {ANSWERS_ALONE_IN_PYTHON}'),
        ("--history 2 --steps 2000", f"--history 2 {ANSWERS_ALONE}"),
        ("evaluate runs/robots data/robots", "evaluate runs/robots data/robots --joint 8 --samples 2"),
    ),
    "docs/acting.md": (
        ("sensor:3x3,targets=2 --out runs/act", "sensor:2x2,targets=1,steps=3 --out runs/act --worlds 4 --rollout 10"),
        ("sensor:3x3,targets=2,miss=0.5", "sensor:2x2,targets=1,steps=3"),
        ("--pretrain 3000 --discount 0", "--pretrain 20 --pretrain-steps 5 --steps 40 --worlds 4 --rollout 10"),
        ("--steps 500000", "--steps 80 --denoiser-width 16"),
        ("evaluate-policy runs/act", "evaluate-policy runs/act --episodes 4"),
    ),
    "docs/fusion.md": (
        ("sensor:3x3,targets=2 --episodes 512", "sensor:2x2,targets=1 --episodes 64"),
        ("--out runs/a --learn both", "--out runs/a --learn both --width 16 --depth 2 --batch 64 --steps 40"),
        ("--out estimates --by fusion", "--out estimates --by fusion --joint 8"),
        ("--out by-chain --by chain", "--out by-chain --by chain --joint 8"),
        ("among=[0, 5]", "among=[0, 2]"),
    ),
    "docs/trust.md": (
        ("miss=0.3 --episodes 512 --out", "miss=0.3 --episodes 64 --out"),
        (
            "--learn fusion --watch-steps 3000",
            "--learn fusion --watch-steps 20 --width 16 --depth 2 --batch 64 --steps 40",
        ),
        ("miss=0.3 --episodes 512 --seed 1", "miss=0.3 --episodes 24 --seed 1"),
        ("miss=0.3 --episodes 128", "miss=0.3 --episodes 16"),
        ("sensor:3x3,targets=2", "sensor:2x2,targets=1"),
    ),
    "docs/over_time.md": (
        ("targets=2,miss=0.5 --episodes 512", "targets=2,miss=0.5 --episodes 40"),
        ("sensor:3x3,targets=2", "sensor:2x2,targets=1"),
        (
            "--learn fusion --over-time residual",
            "--learn fusion --over-time residual --no-team-denoiser --width 16 --depth 2 --batch 64 --steps 40",
        ),
        ("evaluate runs/miss data/miss", "evaluate runs/miss data/miss --joint 8"),
    ),
    "docs/page.md": (
        ("sensor:3x3,targets=2 --episodes 512", "sensor:2x2,targets=1 --episodes 64"),
        ("--out runs/a --learn both", "--out runs/a --learn both --width 16 --depth 2 --batch 64 --steps 40"),
        ("sensor:3x3,targets=2 --out runs/act", "sensor:2x2,targets=1,steps=3 --out runs/act --worlds 4 --rollout 10"),
        (
            "data/a --out runs/b --learn both",
            "data/a --out runs/b --learn both --width 16 --depth 2 --batch 64 --steps 40",
        ),
        (
            "sensor:3x3,targets=2 --out runs/watched",
            "sensor:2x2,targets=1,steps=3 --out runs/watched --worlds 4 --rollout 10",
        ),
        ("--steps 500000", "--memory none --steps 80 --denoiser-width 16"),
    ),
    "docs/runtime.md": (
        ("sensor:3x3,targets=2 --episodes 512", "sensor:2x2,targets=1,steps=4 --episodes 64"),
        ("--out runs/a --learn both", "--out runs/a --learn both --width 16 --depth 2 --batch 64 --steps 40"),
        ("team runs/a data/a", "team runs/a data/a --episodes 1 --deadline 1"),
        ("--over-time residual", "--over-time residual --width 16 --depth 2 --batch 64 --steps 40"),
    ),
    "docs/worlds.md": (
        ("composite-flow worlds     ", "composite-flow worlds --world tabular:xor "),
        ("num_episodes=512", "num_episodes=24"),
        ("steps=3_000)", f"{ANSWERS_ALONE_IN_PYTHON})"),
        ("steps=1_000)", f"{ANSWERS_ALONE_IN_PYTHON})"),
        ("2f-v3 --episodes 64", "2f-v3,steps=6 --episodes 24"),
        ("--learn fusion --steps 2000", f"--learn fusion {ANSWERS_ALONE}"),
        ("evaluate runs/field data/field", "evaluate runs/field data/field --joint 8"),
        ("--policy heuristics:load --out field.gif", "--policy heuristics:load --out field.gif --steps 3"),
        ("--steps 25 --out chase.gif", "--steps 3 --out chase.gif"),
        ("num_targets=8 --episodes 256", "num_targets=8,steps=4 --episodes 4"),
        ("steps=6 --episodes 512", "steps=6 --episodes 16"),
        ("analyze tiger.dpomdp,steps=6", "analyze tiger.dpomdp,steps=3 --joint 8"),
    ),
    "docs/extending.md": (
        ("ring:Ring,size=4 --episodes 256", "ring:Ring,size=4 --episodes 32"),
        ("--width 64 --steps 2000", "--width 16 --depth 2 --batch 64 --steps 40"),
        ("evaluate runs/ring data/ring", "evaluate runs/ring data/ring --joint 8 --samples 2"),
        ("--steps 100000 --memory none", "--steps 80 --memory none --worlds 4 --rollout 10"),
        (
            "--inputs mean_state:MeanState --memory none",
            "--inputs mean_state:MeanState --memory none --steps 80 --worlds 4 --rollout 10 --denoiser-width 16",
        ),
        ("evaluate-policy runs/mean-state", "evaluate-policy runs/mean-state --episodes 4"),
    ),
}
"""What is replaced before a page is run: training and data of a size that runs in seconds."""

BATTLES = "battles take a minute to compile, and strict promotion crashes SMAX; tests/policy trains in them"
LEFT_OUT = {
    "README.md": (
        ("make demo", "installs the package anew; tests/paper/test_demo.py runs the experiment"),
        ("make test", "is what runs this"),
        ("pip install", "installs"),
        ("composite-flow import vault", "needs a vault of OG-MARL; tests/data/test_vault.py imports one"),
        ("composite-flow train-policy smax:", BATTLES),
        ("composite-flow calibrate", "needs episodes of its own; tests/cli/test_fusion_commands.py runs it"),
        ("composite-flow analyze", "takes longest to compile; docs/tutorial.md runs it"),
        ("composite-flow team", "starts processes; docs/runtime.md runs it"),
        ("composite-flow reproduce", "minutes; tests/paper runs the smoke preset of each experiment"),
    ),
    "docs/battles.md": (
        ("pip install", "installs"),
        ("composite-flow train-policy smax:", BATTLES),
        ("composite-flow collect smax:", BATTLES),
        ("composite-flow train data/zerg", "needs the episodes of the battle above"),
        ("composite-flow evaluate runs/zerg", "needs the run above"),
        ("srun", "needs SLURM, and several machines"),
        ("import jax", "needs several hosts; tests/training/test_hosts.py trains on two"),
    ),
    "docs/page.md": (("composite-flow team", "stays until Ctrl-C; tests/page/test_live_team.py runs it"),),
    "docs/runtime.md": (
        ("composite-flow agent", "runs until it is stopped; tests/runtime/test_processes.py starts whole teams of it"),
        ("composite-flow team runs/carried", "as the team above; tests/runtime/test_chained.py starts such a one"),
    ),
    "docs/pytorch.md": (
        ("pip install", "installs"),
        ("import torch", "needs PyTorch; tests/export/test_pytorch.py runs it in the benchmark's environment"),
    ),
    "docs/index.md": (("make demo", "installs the package anew; tests/paper/test_demo.py runs the experiment"),),
    "docs/worlds.md": (
        (
            "composite-flow train-policy",
            "tests/problems/test_compiled_worlds.py trains and draws",
        ),
        ("composite-flow play runs/foraging", "draws the policy above"),
        ("composite-flow reproduce", "hours; tests/paper/test_worlds.py runs the smoke preset"),
    ),
    "docs/extending.md": (
        ("composite-flow reproduce sweeps", "a process lists its experiments when it starts; the next block runs it"),
    ),
    "CONTRIBUTING.md": (
        ("make", "installs, and runs tests and checks"),
        (".venv/bin/python -m pytest", "is what runs this"),
        ("composite-flow reproduce", "minutes; tests/paper/test_pages.py fills the pages"),
    ),
}
"""Blocks of Python and lines of shell that are not run, by how they begin, and why."""

PAGES = ("README.md", "CONTRIBUTING.md", "docs/index.md", "docs/tutorial.md", "docs/battles.md", "docs/acting.md")
PAGES += (
    "docs/starcraft.md",
    "docs/extending.md",
    "docs/fusion.md",
    "docs/own_data.md",
    "docs/over_time.md",
    "docs/trust.md",
    "docs/page.md",
    "docs/runtime.md",
    "docs/pytorch.md",
    "docs/worlds.md",
)

_IMPORTS = ast.Import | ast.ImportFrom
BLOCK = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', flags=re.MULTILINE | re.DOTALL)


class Page:
    """A page's blocks, run in a folder one after the other."""

    def __init__(self, name: str, folder: Path):
        self.name, self.folder = name, folder
        self.names: dict[str, object] = {}
        self.left_out = [start for start, _ in LEFT_OUT.get(name, ())]
        self.unused = set(self.left_out)

    def run(self) -> None:
        """All blocks, in order."""
        for language, title, block in BLOCK.findall(self.text()):
            if title:
                path = self.folder / title
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block)
            elif language == "python":
                if not self.leaves_out(block):
                    exec(compile(block, self.name, "exec"), self.names)
            else:
                assert language == "", f"{self.name} has a block in {language}, which is neither Python nor shell."
                for line in commands(block):
                    self.call(line)
        assert not self.unused, f"{self.name} no longer has what is listed as left out: {self.unused}"

    def text(self) -> str:
        """The page, made small."""
        text = (ROOT / self.name).read_text()
        for old, new in SMALLER.get(self.name, ()):
            assert old in text, f"{self.name} no longer has: {old}"
            text = text.replace(old, new)
        return text

    def leaves_out(self, block: str) -> bool:
        """Whether a block or line is listed as left out."""
        found = [start for start in self.left_out if block.startswith(start)]
        self.unused -= set(found)
        return bool(found)

    def call(self, line: str) -> None:
        """One command."""
        if self.leaves_out(line):
            return
        assert line.startswith("composite-flow "), f"{self.name}: {line} is neither run nor listed as left out."
        assert cli.main(shlex.split(line)[1:]) == 0, f"{self.name}: {line}"


def commands(block: str) -> list[str]:
    """Lines of shell without their comments; a backslash at the end joins two."""
    lines = (line.split(" #")[0].strip() for line in block.replace("\\\n", " ").splitlines())
    return [line for line in lines if line]


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.filterwarnings("default")  # as in anybody's own program
def test_every_block_of_a_page_runs(name, tmp_path, monkeypatch, permissive):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setattr(composite_flow_paper, "__path__", [*composite_flow_paper.__path__])
    composite_flow_paper.__path__.append(str(tmp_path / "composite_flow_paper"))
    before = set(sys.modules)
    Page(name, tmp_path).run()
    for module in set(sys.modules) - before:  # the page's own files
        if str(tmp_path) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]


def test_any_world_is_five_lines_from_an_estimate():
    """Of PettingZoo, in JAX, from a file: without imports, the function that reads the state, and the random key."""
    blocks = [block for language, title, block in BLOCK.findall((ROOT / "docs/worlds.md").read_text()) if not title]
    found = {}
    for block in blocks:
        for start in ("cf.from_pettingzoo", "cf.collect(Lamps()", "cf.from_dpomdp"):
            if f"= {start}" in block:
                lines = [one for one in ast.parse(block).body if not isinstance(one, ast.FunctionDef | _IMPORTS)]
                found[start] = [ast.unparse(one) for one in lines if not ast.unparse(one).startswith("key =")]
    assert len(found) == 3
    for lines in found.values():
        assert len(lines) <= 5 and any(line.startswith(("estimate =", "belief =")) for line in lines), lines


def test_every_page_with_blocks_is_run():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    speeds = {"benchmarks.md", "loader.md", "latency.md", "bus.md", "state_size.md", "policy_inputs.md"}
    generated = speeds | {"tracking.md"}
    typed = {str(path.relative_to(ROOT)) for path in pages if BLOCK.search(path.read_text())}
    assert typed - {f"docs/{name}" for name in generated} <= set(PAGES)


def test_what_is_not_listed_is_told(tmp_path):
    with pytest.raises(AssertionError, match="neither run nor listed"):
        Page("README.md", tmp_path).call("rm -r data")
    with pytest.raises(AssertionError, match="evaluate nowhere nothing"):
        Page("README.md", tmp_path).call("composite-flow evaluate nowhere nothing")
