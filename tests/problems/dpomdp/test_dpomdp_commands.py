"""A `.dpomdp` file goes through every command like any other problem."""

import json
from pathlib import Path

import pytest
from problems.dpomdp.test_dpomdp_grammar import SMALL

import composite_flow as cf
from composite_flow import cli

FILE = Path(__file__).parent / "files" / "recycling.dpomdp"


@pytest.mark.slow
def test_a_file_is_collected_learned_and_judged(tmp_path, monkeypatch, capsys, permissive):
    """Afterwards the file may be gone: episodes and models hold its statements."""
    monkeypatch.chdir(tmp_path)
    Path("robots.dpomdp").write_text(FILE.read_text())
    small = ["--width", "16", "--depth", "2", "--batch", "32", "--steps", "20"]
    assert cli.main(["collect", "robots.dpomdp,steps=4", "--episodes", "24", "--out", "data"]) == 0
    Path("robots.dpomdp").unlink()
    assert cli.main(["train", "data", "--out", "run", "--learn", "both", "--history", "2", *small]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", "run", "data", "--joint", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
    problem = cf.problem_from_description(cf.Episodes.load("data").description)
    assert (problem.num_states, problem.num_steps) == (8, 4)


@pytest.mark.slow
def test_policies_are_trained_in_a_file_and_drawn(tmp_path, monkeypatch, permissive):
    monkeypatch.chdir(tmp_path)
    options = ["--steps", "80", "--worlds", "4", "--rollout", "10", "--memory", "none"]
    assert cli.main(["train-policy", f"{FILE},steps=4", "--out", "policy", *options]) == 0
    assert cli.main(["evaluate-policy", "policy", "--episodes", "4"]) == 0
    assert cli.main(["play", "policy", "--out", "robots.gif"]) == 0
    assert Path("robots.gif").read_bytes()[:3] == b"GIF"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("identity", "0.98 1.0\n0 1"), "wrong.dpomdp, line 12: P(s' | s = a, a = 0 0) adds up to 1.98"),
        (("states: a b", "states: 10000"), "wrong.dpomdp, line 12: the table has"),
        (("agents: 2", "agents:"), "wrong.dpomdp, line 1: a number of agents"),
    ],
)
def test_files_that_are_wrong_are_refused_in_one_sentence(change, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = SMALL.replace(*change)
    Path("wrong.dpomdp").write_text(text.replace("identity", "uniform"))
    for command in (["collect", "wrong.dpomdp", "--out", "data"], ["analyze", "wrong.dpomdp"]):
        assert cli.main(command) == 1
        said = capsys.readouterr().err.strip().splitlines()
        assert said[-1].startswith("Error: ") and sentence in said[-1] and "Traceback" not in " ".join(said)
    assert not Path("data").exists()
