"""Fusion from the command line: learned, measured, written, and added to a run that lacks it."""

import json

import jax
import numpy as np
import pytest

import composite_flow as cf
from composite_flow import cli
from composite_flow.baselines.linear import LINEAR_FILE
from composite_flow.runs import open_run

pytestmark = pytest.mark.slow

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


SMALL_TEAM = "--width 24 --depth 2 --batch 256 --steps 100 --learning-rate 4e-3 --average 0.9".split()


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
    assert cf.load(runs / "run").curves[-1]["excess_fusion"] < 0.02  # of 0.75, the error of the mean
    told = call(capsys, "inspect", runs / "run")
    assert told["answers"] == "dense" and told["sizes"]["parameters"] == 0
    assert told["sizes"]["fusion_parameters"] > 0 and told["sizes"]["team_denoiser_parameters"] == 0
    told = {"part", "joint_histories", "units", "episodes", "calibration_episodes", "apart", "sample_spread"}
    assert set(result) == {"fusion", "ways", "left_out", "errors", "answering", *told}
    assert result["part"] == "test"
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


@pytest.fixture(scope="module")
def everything(runs):
    """A run that learned a denoiser, answers, a team denoiser and the chain."""
    assert (
        cli.main(["train", str(runs / "data"), "--out", str(runs / "all"), "--learn", "both", "--chain", *SMALL_TEAM])
        == 0
    )
    return runs / "all"


def test_all_ways_are_shown_beside_each_other_with_their_costs(runs, everything, capsys):
    result = call(capsys, "evaluate", everything, runs / "data", "--joint", 20)
    ways = result["ways"]
    names = ["composite", "individual_flow", "one_step", "mean_of_individual_flows", "parallel_mean", "fusion", "chain"]
    names += ["mean_of_joint_samples", "ridge_of_all_histories", "ridge_of_own_history", "constant"]
    assert list(ways) == names and result["left_out"] == {}
    costs = {name: (way["calls"], way["messages"], way["message_bytes"]) for name, way in ways.items()}
    assert costs["composite"] == (96, 24, 4 * 16)  # four agents, six sweeps, four samples of four features
    assert costs["fusion"] == costs["chain"] == (4, 4, 16) and costs["constant"] == (0, 0, 0)
    assert costs["mean_of_joint_samples"] == (4 + 16 * 30, 4, 4 * (4 + 4 + 16))
    assert costs["ridge_of_all_histories"] == (1, 4, 4 * 3) and costs["ridge_of_own_history"] == (4, 0, 0)
    assert ways["composite"]["psnr"] == result["psnr_composite"]
    assert ways["individual_flow"]["exact_rate"] == result["exact_rate_individual"]
    assert ways["fusion"]["psnr"] == result["fusion"]["psnr"] > ways["constant"]["psnr"]
    assert ways["constant"]["psnr"] == pytest.approx(result["fusion"]["psnr_constant"], abs=0.1)
    # one target in four areas: a line through two sensors tells where it is
    assert ways["ridge_of_all_histories"]["psnr"] > 40 > ways["ridge_of_own_history"]["psnr"] > ways["constant"]["psnr"]
    assert ways["chain"]["psnr"] > ways["constant"]["psnr"] and ways["mean_of_joint_samples"]["exact_rate"] > 0.5
    assert cli.main(["evaluate", str(everything), str(runs / "data"), "--joint", "20"]) == 0
    printed = capsys.readouterr().out
    assert "gated chain" in printed and "mean of 16 samples" in printed and "bytes each" in printed


def test_linear_regressions_are_kept_beside_the_model(runs, everything, capsys):
    opened = open_run(everything, runs / "data")
    train, validation = opened.training_parts()
    used = [set(part.episode_ids.tolist()) for part in (train, validation, opened.dataset)]
    assert sum(map(len, used)) == len(set.union(*used)) == 80 and len(used[0]) == 64
    call(capsys, "collect", "sensor:2x2,targets=1,steps=8", "--episodes", 5, "--seed", 9, "--out", runs / "foreign")
    assert open_run(everything, runs / "foreign").training_parts() is None
    ours, foreign = (call(capsys, "evaluate", runs / "run", runs / data, "--joint", 20) for data in ("data", "foreign"))
    assert list(ours["ways"]) == list(foreign["ways"]) and foreign["left_out"] == {}
    # a run that lacks the file, as those of before it was written, has them fitted anew or is told why not
    (runs / "run" / LINEAR_FILE).rename(runs / "kept")
    again = call(capsys, "evaluate", runs / "run", runs / "data", "--joint", 20)
    for name, way in ours["ways"].items():
        assert again["ways"][name]["psnr"] == pytest.approx(way["psnr"], abs=0.01)  # kept in float32
    without = call(capsys, "evaluate", runs / "run", runs / "foreign", "--joint", 20)
    assert list(without["ways"]) == ["fusion", "constant"] and "it was trained on" in without["left_out"]["ridge"]
    (runs / "kept").rename(runs / "run" / LINEAR_FILE)


@pytest.mark.parametrize("by", ["composite", "fusion", "chain", "samples"])
def test_estimates_are_written_by_each_way(runs, everything, capsys, by):
    out = runs / f"by-{by}"
    arguments = ["reconstruct", everything, runs / "data", "--joint", 20, "--out", out, "--by", by]
    arguments += [] if by in ("fusion", "chain") else ["--samples", 5]
    assert call(capsys, *arguments)["by"] == by
    found, model = cf.Estimates.load(out), cf.load(everything)
    joint = cf.HistoryDataset(cf.Episodes.load(runs / "data")).joint(found.steps)
    assert (found.candidates is not None) == (by == "composite") and (found.variances is not None) == (by == "fusion")
    if by == "chain":
        np.testing.assert_allclose(found.estimates, model.infer_by_chain(joint.histories).mean, atol=1e-6)
    if by == "samples":
        assert found.samples.shape == (20, 5, 4) and found.about["num_samples"] == 5
        np.testing.assert_allclose(found.estimates, found.samples.mean(axis=1), atol=1e-6)
        again = model.fusion.sample_each(joint.histories, 5, jax.random.fold_in(jax.random.key(0), 0))
        np.testing.assert_allclose(found.samples, again, atol=1e-5)
        assert np.mean(found.samples.round() == np.asarray(joint.states)[:, None]) > 0.8
    else:
        assert found.samples is None


def test_the_default_is_composite_diffusion_where_there_is_a_denoiser(runs, everything, capsys):
    out = runs / "default"
    assert call(capsys, "reconstruct", everything, runs / "data", "--joint", 2, "--out", out)["by"] == "composite"


@pytest.mark.parametrize("by", [(), ("--by", "composite")])
def test_whoever_did_not_choose_hears_that_fusion_was_learned_as_well(runs, everything, capsys, by):
    arguments = ["reconstruct", everything, runs / "data", "--joint", 2, "--out", runs / f"told-{len(by)}", *by]
    assert cli.main(list(map(str, arguments))) == 0
    assert ("--by fusion" in " ".join(capsys.readouterr().out.split())) == (not by)


@pytest.mark.parametrize(
    ("by", "sentence"),
    [
        ("chain", "learned no chain; `composite-flow train DATA --out RUN --resume --chain`"),
        ("samples", "--out NEW --learn"),
    ],
)
def test_what_was_left_out_of_fusion_is_said_with_the_command_that_adds_it(runs, capsys, by, sentence):
    told = refused(capsys, "reconstruct", runs / "run", runs / "data", "--by", by, "--out", runs / "none")
    assert sentence in told and not (runs / "none").exists()


def test_joint_samples_have_no_sweeps(runs, everything, capsys):
    arguments = ("reconstruct", everything, runs / "data", "--out", runs / "none", "--by")
    told = refused(capsys, *arguments, "samples", "--samples", 3, "--sweeps", 3)
    assert "--sweeps, --stir and --radius are of composite diffusion, not of --by samples" in told
    assert "--samples, --sweeps" in refused(capsys, *arguments, "chain", "--samples", 3)


def test_the_chain_is_added_by_the_command_that_is_told(runs, capsys):
    call(capsys, "train", runs / "data", "--out", runs / "run", "--resume", "--chain")
    model = cf.load(runs / "run")
    assert model.chain is not None and not model.has_denoiser
    told = call(capsys, "inspect", runs / "run")
    assert told["sizes"]["chain_parameters"] > 0 and told["last_point"]["exact_rate_chain"] == 1.0
    assert "chain" in call(capsys, "evaluate", runs / "run", runs / "data", "--joint", 20)["ways"]
    sentence = refused(capsys, "train", runs / "data", "--out", runs / "alone", "--chain", *SMALL)
    assert "beside fusion" in sentence and not (runs / "alone").exists()


def test_a_run_that_is_calibrated_anew_keeps_its_linear_regressions(runs, capsys):
    world = ["sensor:2x2,targets=1,steps=8", "--episodes", 24]
    call(capsys, "collect", *world, "--seed", 11, "--out", runs / "new")
    (runs / "others").mkdir()
    (runs / "others" / "linear.safetensors").write_text("somebody's")
    sentence = refused(capsys, "calibrate", runs / "run", runs / "new", "--out", runs / "others")
    assert "linear.safetensors already exists" in sentence and len([*(runs / "others").iterdir()]) == 1
    found = call(capsys, "calibrate", runs / "run", runs / "new", "--out", runs / "calibrated")
    assert found["calibration_episodes"] == 24
    call(capsys, "collect", *world, "--seed", 12, "--out", runs / "newer")
    result = call(capsys, "evaluate", runs / "calibrated", runs / "newer", "--joint", 20)
    assert "ridge_of_all_histories" in result["ways"] and not result["left_out"]


def test_the_analysis_tells_of_fusion(runs, everything, capsys):
    sizes = ["--anchors", 4, "--joint", 8, "--max-pairs", 40, "--out", runs / "analysis"]
    found = call(capsys, "analyze", everything, runs / "data", *sizes)
    assert found["fusion"]["exact_rate"] == 1.0 and 0.0 < found["fusion"]["median_error"] < 0.5
    assert found["summary"][-1].startswith("Fusion, one answer an agent, was")
