"""The command line as people use it: from a problem's name to estimates, and on after an interruption."""

import dataclasses
import json
import signal
import subprocess
import sys
import time

import h5py
import jax
import numpy as np
import pytest

import composite_flow as cf
from composite_flow import cli, training
from composite_flow.data.run_split import fingerprint
from composite_flow.files.plain_json import read_json
from composite_flow.runs import RunSettings, open_run

PROBLEM = "sensor:2x2,targets=1,steps=8"
SMALL = [
    "--width",
    "32",
    "--depth",
    "3",
    "--batch",
    "64",
    "--steps",
    "400",
    "--learning-rate",
    "3e-3",
    "--warmup",
    "50",
]
SMALL += ["--record-every", "100", "--evaluate-every", "200"]


def call(capsys, *arguments):
    """One command with --json: its exit code and the object that it printed."""
    code = cli.main([str(argument) for argument in arguments] + ["--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return json.loads(printed.out)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with data `a`, data `b` of the same problem, and a small run of `a`."""
    folder = tmp_path_factory.mktemp("cli")
    assert cli.main(["collect", PROBLEM, "--episodes", "120", "--out", str(folder / "a")]) == 0
    assert cli.main(["collect", PROBLEM, "--episodes", "12", "--seed", "1", "--out", str(folder / "b")]) == 0
    assert cli.main(["train", str(folder / "a"), "--out", str(folder / "run"), *SMALL]) == 0
    return folder


def test_collect_writes_the_episodes_of_its_seed(trained):
    episodes = cf.Episodes.load(trained / "a")
    assert (episodes.num_episodes, episodes.num_steps, episodes.num_agents) == (120, 960, 4)
    assert cf.problem_from_description(episodes.description).description == episodes.description
    # deterministic sensors: an area with a target is seen by exactly the two sensors beside it
    np.testing.assert_array_equal(episodes.observations.sum(axis=(1, 2)), 2 * episodes.states.sum(axis=1))


def test_samples_are_time_steps_of_the_team(trained, tmp_path, capsys):
    result = call(capsys, "collect", PROBLEM, "--samples", 50, "--out", tmp_path / "c")
    assert (result["steps"], result["episodes"]) == (56, 7)  # episodes of eight steps
    assert result["collected_by"] == {"kind": "random"}
    whole = cf.Episodes.load(trained / "a")
    np.testing.assert_array_equal(cf.Episodes.load(tmp_path / "c").states, whole.states[:56])


def test_run_keeps_what_evaluating_it_needs(trained):
    model, episodes = cf.load(trained / "run"), cf.Episodes.load(trained / "a")
    split = model.description["split"]
    assert split["fingerprint"] == fingerprint(episodes)
    assert len(split["test"]) == 12
    assert model.radius is not None and model.radius > 0
    last = model.curves[-1]
    assert last["step"] == 400
    assert last["loss"] < model.curves[0]["loss"]
    # no denoiser is below the ideal one, up to the noise of both estimates
    assert last["excess"] > -0.05
    assert 0 <= last["exact_rate_composite"] <= 1
    assert read_json(trained / "run" / "run.json") == RunSettings.from_flat(model.description["settings"]).flat()


def test_own_data_means_the_test_episodes_and_foreign_data_all(trained):
    own, foreign = open_run(trained / "run", trained / "a"), open_run(trained / "run", trained / "b")
    assert (own.part, foreign.part) == ("test", "all")
    assert own.dataset.episode_ids.tolist() == own.model.description["split"]["test"]
    assert foreign.dataset.num_steps == 12 * 8


@pytest.fixture(scope="module")
def fitted(trained):
    """A folder with a model that `fit` saved by itself, of states with names of their own."""
    dataset = cf.HistoryDataset(cf.Episodes.load(trained / "a"))
    config = cf.TrainingConfig(width=16, depth=2, batch=32, steps=20)
    cf.fit(dataset, dataset, config, key=jax.random.key(0), folder=trained / "fitted")
    return trained / "fitted"


@pytest.mark.parametrize("command", ["evaluate", "reconstruct", "analyze"])
def test_a_model_without_a_split_is_judged_on_all_data_and_told_so(command, trained, fitted, tmp_path, capsys):
    opened = open_run(fitted, trained / "a")
    assert opened.part == "unknown" and opened.dataset.num_steps == 120 * 8
    assert opened.model.state_names == tuple(cf.Episodes.load(trained / "a").state_names)
    few = ["--joint", "2"] + (["--samples", "1"] if command != "analyze" else ["--anchors", "4", "--max-pairs", "40"])
    assert cli.main([command, str(fitted), str(trained / "b"), "--out", str(tmp_path), *few]) == 0
    printed = capsys.readouterr()
    assert "all episodes, training episodes perhaps among them" in printed.out + printed.err


def test_a_model_without_a_radius_wants_one(trained, fitted, tmp_path, capsys):
    dataclasses.replace(cf.load(fitted), radius=None).save(tmp_path / "run")
    arguments = ["reconstruct", str(tmp_path / "run"), str(trained / "b"), "--joint", "1", "--samples", "1"]
    assert cli.main([*arguments, "--out", str(tmp_path / "a")]) == 1
    assert "give one with --radius" in capsys.readouterr().err
    assert cli.main([*arguments, "--out", str(tmp_path / "a"), "--radius", "0.1"]) == 0


def test_evaluate_has_the_promised_keys(trained, capsys):
    arguments = ("evaluate", trained / "run", trained / "a", "--joint", 24, "--samples", 2)
    result = call(capsys, *arguments)
    names = ("psnr_composite", "psnr_individual", "exact_rate_composite", "exact_rate_individual")
    names += ("exact_rate_unseen_states", "accepted_share", "wrong_among_accepted", "denoiser_calls", "baselines")
    assert set(names) <= set(result)
    assert result["denoiser_calls"] == 6 * 4 * 2
    assert result["exact_rate_unseen_states"] is None
    assert set(result["baselines"]) == {"individual_flow", "one_step", "mean_of_individual_flows", "parallel_mean"}
    assert result == call(capsys, *arguments)
    stirred = call(capsys, *arguments, "--stir", 0.5)
    assert stirred["psnr_composite"] != result["psnr_composite"] and stirred["baselines"] == result["baselines"]


def test_reconstruct_writes_estimates_in_the_states_units(trained, capsys):
    result = call(capsys, "reconstruct", trained / "run", trained / "b", "--out", trained / "estimates", "--samples", 4)
    episodes = cf.Episodes.load(trained / "b")
    with h5py.File(result["estimates"]) as file:
        assert json.loads(file.attrs["state_names"]) == list(episodes.state_names)
        np.testing.assert_array_equal(file["steps"][:], np.arange(episodes.num_steps))
        np.testing.assert_array_equal(file["episodes"][:], episodes.episode_of_step)
        np.testing.assert_allclose(file["estimates"][:], file["candidates"][:, 0])
        np.testing.assert_allclose(file["shares"][:].sum(axis=1), 1.0, rtol=1e-6)
        # on 2×2 sensors, each of which sees half of the areas, the team's answer follows from any sensor that sees
        exact = np.all((file["estimates"][:] > 0.5) == (episodes.states > 0.5), axis=1)
        assert exact.mean() > 0.5
        assert result["accepted"] == pytest.approx(file["accepted"][:].mean())


def test_analyze_tells_and_draws_what_it_found(trained, tmp_path, capsys):
    arguments = ("analyze", trained / "run", trained / "a", "--anchors", "8", "--joint", "3", "--out", tmp_path)
    found = call(capsys, *arguments)
    assert found["part"] == "test"
    assert found["pairs"]["stable"] <= found["pairs"]["pairs"]
    # half of the test episodes gives radii and their coverage, and is used for nothing else; so few do not make 99%
    tested, radii = cf.load(trained / "run").description["split"]["test"], found["conformal"]["deviation"]
    assert radii["episodes"] + radii["other_episodes"] == round(len(tested) / 2)
    assert found["conformal"]["deviation"]["levels"]["0.99"]["radius"] is None
    assert json.loads((tmp_path / "analysis.json").read_text()) == found
    assert (tmp_path / "analysis.png").stat().st_size > 10_000
    assert cli.main([str(argument) for argument in arguments]) == cli.FAILED
    assert "analysis.json" in capsys.readouterr().err


def test_resuming_needs_no_settings_and_allows_no_others(trained, capsys):
    again = call(capsys, "train", trained / "a", "--out", trained / "run", "--resume")
    assert again["step"] == 400
    assert cli.main(["train", str(trained / "a"), "--out", str(trained / "run"), "--resume", "--width", "48"]) == 1
    assert "was started with width = 32, not 48" in " ".join(capsys.readouterr().err.split())


def test_an_interrupt_says_how_to_go_on(trained, tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("composite_flow.cli.train.train_run", interrupted)
    assert cli.main(["train", str(trained / "a"), "--out", str(tmp_path / "run"), *SMALL]) == cli.INTERRUPTED
    assert f"train {trained / 'a'} --out {tmp_path / 'run'} --resume" in " ".join(capsys.readouterr().err.split())


def test_the_table_of_a_run_says_in_words_what_was_done(trained, capsys, monkeypatch):
    """A finished run that is resumed is told again at once."""
    monkeypatch.setenv("COLUMNS", "500")  # titles are not wrapped
    assert cli.main(["train", str(trained / "a"), "--out", str(trained / "run"), "--resume"]) == 0
    title, *rows = capsys.readouterr().out.splitlines()
    assert title.strip() == f"Trained {trained / 'run'}"
    assert any("validation loss" in row for row in rows)


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bits(trained):
    """SIGKILL after the first checkpoint, then --resume: the weights are those of the run that was not killed."""
    command = [sys.executable, "-m", "composite_flow", "train", trained / "a", "--out", trained / "killed"]
    options = ["--checkpoint-seconds", "0.1"]
    process = subprocess.Popen([*command, *SMALL, *options], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    checkpoint = trained / "killed" / training.TRAINING_FILE
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert cli.main([*(str(part) for part in command[3:]), "--resume"]) == 0
    killed, whole = cf.load(trained / "killed"), cf.load(trained / "run")
    for ours, theirs in zip(killed.denoiser.state_weights, whole.denoiser.state_weights, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    assert [point["loss"] for point in killed.curves] == [point["loss"] for point in whole.curves]


def test_wrong_usage_exits_with_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["collect", "--episodes", "many"])
    assert stopped.value.code == 2


def test_every_command_has_help(capsys):
    for command in (
        "demo",
        "collect",
        "import",
        "train",
        "evaluate",
        "reconstruct",
        "calibrate",
        "analyze",
        "reproduce",
        "inspect",
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.main([command, "--help"])
        assert stopped.value.code == 0
        assert "--json" in capsys.readouterr().out


def test_compiled_programs_go_to_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cli.cache_folder() == tmp_path
