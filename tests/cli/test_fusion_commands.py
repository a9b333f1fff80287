"""Fusion from the command line: learned, measured, written, and added to a run that lacks it."""

import json

import numpy as np
import pytest

import composite_flow as cf
from composite_flow import cli

SMALL = "--width 24 --depth 2 --batch 256 --steps 400 --learning-rate 4e-3 --warmup 50 --record-every 200".split()
SMALL += ["--no-team-denoiser"]


def call(capsys, *arguments):
    """One command with --json: the object that it printed."""
    capsys.readouterr()
    code = cli.main([*map(str, arguments), "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return json.loads(printed.out)


def refused(capsys, *arguments):
    """The sentence by which a command is refused."""
    capsys.readouterr()
    assert cli.main([*map(str, arguments)]) == 1
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Data of four sensors and one target, and a run that learned fusion."""
    folder = tmp_path_factory.mktemp("fusion")
    collect = ["collect", "sensor:2x2,targets=1,steps=8", "--episodes", "80", "--out", str(folder / "data")]
    assert cli.main(collect) == 0
    assert cli.main(["train", str(folder / "data"), "--out", str(folder / "run"), "--learn", "fusion", *SMALL]) == 0
    return folder


def test_fusion_is_measured_by_size_of_team(runs, capsys):
    result = call(capsys, "evaluate", runs / "run", runs / "data")
    fusion = result["fusion"]
    told = call(capsys, "inspect", runs / "run")
    assert told["answers"] == "dense" and told["sizes"]["parameters"] == 0
    assert told["sizes"]["fusion_parameters"] > 0 and told["sizes"]["team_denoiser_parameters"] == 0
    assert set(result) == {"fusion", "part", "joint_histories"} and result["part"] == "test"
    assert set(fusion["sizes"]) == {"1", "2", "3", "4"} and fusion["messages"] == 4
    assert fusion["message_bytes"] == 16  # four log-probabilities
    assert fusion["exact_rate"] == 1.0 and fusion["psnr"] > fusion["sizes"]["1"]["psnr"] > fusion["psnr_constant"]


def test_estimates_are_written_with_variances(runs, capsys):
    result = call(capsys, "reconstruct", runs / "run", runs / "data", "--joint", 20, "--out", runs / "estimates")
    assert result["by"] == "fusion" and "accepted" not in result
    found = cf.Estimates.load(runs / "estimates")
    model, episodes = cf.load(runs / "run"), cf.Episodes.load(runs / "data")
    joint = cf.HistoryDataset(episodes).joint(found.steps)
    expected = model.fuse_batch(joint.histories)
    np.testing.assert_allclose(found.estimates, expected.mean, atol=1e-6)
    np.testing.assert_allclose(found.variances, expected.variance, atol=1e-6)
    assert found.accepted is None and found.about["by"] == "fusion"
    np.testing.assert_array_equal(found.estimates > 0.5, joint.states > 0.5)
    told = call(capsys, "inspect", runs / "estimates")
    assert told["what"] == "estimates" and told["checks"] is None


def test_what_a_run_did_not_learn_is_said_with_the_command_that_adds_it(runs, capsys):
    sentence = refused(capsys, "analyze", runs / "run", runs / "data", "--radius", 1, "--out", runs / "analysis")
    assert "learned fusion and no denoiser" in sentence and "--resume --learn both" in sentence
    sentence = refused(
        capsys, "reconstruct", runs / "run", runs / "data", "--by", "composite", "--radius", 1, "--out", runs / "none"
    )
    assert "--resume --learn both" in sentence and not (runs / "none").exists()


def test_options_of_composite_diffusion_do_nothing_for_fusion_and_are_refused(runs, capsys):
    sentence = refused(capsys, "reconstruct", runs / "run", runs / "data", "--sweeps", 3, "--out", runs / "none")
    assert "of composite diffusion" in sentence and not (runs / "none").exists()


def test_fusion_is_added_to_a_run_of_a_denoiser(runs, capsys):
    run, data = runs / "denoiser", runs / "data"
    call(capsys, "train", data, "--out", run, *SMALL)
    assert "learned no fusion" in refused(capsys, "reconstruct", run, data, "--by", "fusion", "--out", runs / "none")
    call(capsys, "train", data, "--out", run, "--resume", "--learn", "both")
    result = call(capsys, "evaluate", run, data, "--joint", 20)
    assert result["fusion"]["exact_rate"] == 1.0 and result["psnr_composite"] > 0
    assert call(capsys, "reconstruct", run, data, "--joint", 4, "--out", runs / "both")["by"] == "composite"
    # what was added stays when the run is resumed without a word of it
    call(capsys, "train", data, "--out", run, "--resume")
    assert cf.load(run).fusion is not None and cf.load(run).has_denoiser
