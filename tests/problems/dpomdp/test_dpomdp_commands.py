"""A `.dpomdp` file goes through every command like any other problem."""

import json
from pathlib import Path

import pytest

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
