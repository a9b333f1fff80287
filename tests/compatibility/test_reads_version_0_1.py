"""Files that version 0.1 wrote are read, used and continued (`v0_1/README.md` says how they were made).

What they give is compared with what version 0.1 gave. Another processor, or other flags of XLA, rounds otherwise: the
tolerances are far above that, and far below what a wrong weight, column or key would change.
"""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import composite_flow as cf
from composite_flow import cli
from composite_flow.files.checkpoint import load_description
from composite_flow.policy.saving import load_problem
from composite_flow_paper.figure4.experiment import EXPERIMENT as FIGURE4

FILES = Path(__file__).parent / "v0_1"
POLICIES = {"policy": "agent", "policy_denoised": "denoised", "policy_mean": "mean"}


@pytest.fixture
def files(tmp_path):
    """A copy, since commands write beside what they read."""
    return Path(shutil.copytree(FILES, tmp_path / "v0_1"))


def told(capsys, *arguments):
    """The JSON object that a command prints."""
    capsys.readouterr()
    assert cli.main([*map(str, arguments), "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def expected(name):
    return json.loads((FILES / "expected" / f"{name}.json").read_text())


def numbers(result, prefix=""):
    """The numbers of nested dictionaries, by their path."""
    flat = {}
    for name, value in result.items():
        if isinstance(value, dict):
            flat |= numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float):
            flat[prefix + name] = value
    return flat


def assert_close_to_expected(result, name, without=None, **tolerance):
    """Every number that the old version told is told again, and is about the same; new ones may be beside them."""
    ours, theirs = numbers(result), numbers(expected(name))
    theirs = {key: value for key, value in theirs.items() if without is None or not key.endswith(f".{without}")}
    assert {key: ours.get(key) for key in theirs} == pytest.approx(theirs, **tolerance)


def test_episodes_are_read():
    episodes = cf.Episodes.load(FILES / "data")
    assert (episodes.num_episodes, episodes.num_steps, episodes.num_agents) == (80, 320, 4)
    assert episodes.state_names == ("area 1", "area 2", "area 3", "area 4")
    assert episodes.policy == {"kind": "random"} and episodes.description["kind"] == "sensor"
    np.testing.assert_array_equal(np.sum(episodes.states, axis=1), 1)  # one target
    assert cf.problem_from_description(episodes.description).num_agents == 4


def test_a_model_gives_the_estimates_that_it_gave(files, capsys):
    arguments = ("reconstruct", files / "run", files / "data", "--joint", 8, "--samples", 4, "--out", files / "new")
    assert told(capsys, *arguments)["joint_histories"] == 8
    with h5py.File(FILES / "expected" / "estimates.h5") as old, h5py.File(files / "new" / "estimates.h5") as new:
        assert set(new) >= set(old)
        for name in ("steps", "episodes", "filled", "accepted"):
            np.testing.assert_array_equal(new[name], old[name])
        for name in ("estimates", "shares", "accepted_share"):
            np.testing.assert_allclose(new[name], old[name], atol=1e-3)


def test_a_model_is_judged_as_it_was(files, capsys):
    result = told(capsys, "evaluate", files / "run", files / "data", "--joint", 8)
    assert result["part"] == "test"
    assert_close_to_expected(result, "evaluate", rel=1e-2)


def test_an_unfinished_training_goes_on_to_the_same_model(files, capsys):
    before = load_description(files / "unfinished" / "training.safetensors")["curves"]
    assert before[-1]["step"] == 1000
    result = told(capsys, "train", files / "data", "--out", files / "unfinished", "--resume")
    assert result["step"] == 1500
    resumed, uninterrupted = cf.load(files / "unfinished"), cf.load(files / "run")
    assert list(resumed.curves[: len(before)]) == before
    assert resumed.radius == pytest.approx(uninterrupted.radius, rel=1e-3)
    for name in ("loss", "validation_loss", "psnr_composite"):
        assert resumed.curves[-1][name] == pytest.approx(uninterrupted.curves[-1][name], rel=3e-4)
    for one, other in zip(resumed.denoiser.state_weights, uninterrupted.denoiser.state_weights, strict=True):
        np.testing.assert_allclose(one, other, atol=3e-4)  # batches drawn a step later: 1e-3


@pytest.mark.parametrize(("folder", "inputs"), POLICIES.items())
def test_policies_act_as_they_did(folder, inputs, capsys):
    assert load_problem(FILES / folder).description["kind"] == "sensor"
    result = told(capsys, "evaluate-policy", FILES / folder, "--episodes", 20, "--samples", 0)
    assert (result["inputs"], result["steps"]) == (inputs, 400)
    assert_close_to_expected(result, folder, rel=1e-2)


def test_an_unfinished_policy_goes_on_to_the_same_policy(files, capsys):
    folder = files / "policy_unfinished"
    before = load_description(folder / "policy_training.safetensors")["curves"]
    assert before[-1]["steps"] == 200
    told(capsys, "train-policy", "sensor:2x2,steps=4", "--out", folder, "--resume")
    after = load_description(folder / "policy_training.safetensors")["curves"]
    with open(files / "policy_denoised" / "policy_curves.csv") as file:
        *_, uninterrupted = rows = list(csv.DictReader(file))
    assert after[: len(before)] == before and len(after) == len(rows) == 10
    for name in ("return", "entropy", "value_loss", "psnr"):
        assert after[-1][name] == pytest.approx(float(uninterrupted[name]), rel=1e-2)


def test_cells_are_read_and_not_computed_again(tmp_path, capsys, monkeypatch):
    """Computing them takes minutes; reading and drawing them, seconds. Version 0.1 had no fusion."""
    monkeypatch.setitem(FIGURE4.presets, "smoke", replace(FIGURE4.presets["smoke"], fusion=None, samples=None))
    shutil.unpack_archive(FILES / "cells.zip", tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(before) == 5
    result = told(capsys, "reproduce", "figure4", "--preset", "smoke", "--out", tmp_path)
    assert {path: path.read_bytes() for path in before} == before
    assert (tmp_path / "figure4.svg").exists()
    assert_close_to_expected(result, "figure4", without="lower_bound", rel=1e-6)
    # 0.1 took the samples of one joint history for independent, so its bounds were higher
    ours, theirs = numbers(result), numbers(expected("figure4"))
    assert all(ours[name] <= theirs[name] + 1e-9 for name in theirs if name.endswith(".lower_bound"))
