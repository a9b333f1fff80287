"""Bad input gets one sentence that says what is wrong: a `CompositeFlowError`, or exit code 1 without a traceback."""

import dataclasses
import errno
import os
import shutil

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow import cli
from composite_flow.files.plain_json import write_json
from composite_flow.model import MODEL_FILE
from composite_flow.runs import check_same_problem

PROBLEM = "sensor:2x2,steps=4"


def sentence(capsys, *arguments):
    """The one sentence with which a command fails; nothing on standard output, no traceback."""
    capsys.readouterr()
    assert cli.main([str(argument) for argument in arguments]) == cli.FAILED
    printed = capsys.readouterr()
    said = " ".join(printed.err.split())
    assert said.count("Error:") == 1 and "Traceback" not in said
    return said[said.index("Error:") :]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data of a 2×2 network, and an untrained model of it as a run would leave it."""
    folder = tmp_path_factory.mktemp("bad")
    episodes = cf.collect(cf.problem_from_text(PROBLEM), 8, key=jax.random.key(0))
    episodes.save(folder / "data")
    model_of(episodes).save(folder / "run")
    return folder


def model_of(episodes):
    """A model with the record that `train` keeps, of which nothing was trained."""
    layout = cf.HistoryDataset(episodes).layout
    network = cf.Network(layout, episodes.state_size, width=8, depth=1, key=jax.random.key(0))
    split = {"fingerprint": "of other data", "test": [0], "withheld_states": None}
    description = {"problem": episodes.description, "split": split}
    return cf.Model(network, layout, episodes.scaling, 0.1, (), episodes.state_names, description)


def test_missing_folders_are_named(folder, tmp_path, capsys):
    assert str(tmp_path / "none") in sentence(capsys, "train", tmp_path / "none", "--out", tmp_path / "run")
    assert str(tmp_path / "none") in sentence(capsys, "evaluate", tmp_path / "none", folder / "data")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "asked, told",
    [
        (["figure5", "--preset", "smoke", "--jobs", "0"], "job"),
        (["figure1", "--preset", "smoke", "--jobs", "10000"], "cores"),
        (["figure1", "--preset", "smoke", "--cluster", "local", "--jobs", "0"], "job"),
        (["figure1", "--preset", "smoke", "--cluster", "slurm"], "no SLURM here"),
        (["figure1", "--preset", "smoke", "--partition", "long"], "--cluster slurm"),
        (["demo", "--preset", "paper"], "smoke, laptop"),
    ],
)
def test_cells_that_cannot_be_computed_as_asked_are_refused(tmp_path, capsys, monkeypatch, asked, told):
    monkeypatch.setenv("PATH", str(tmp_path))  # no SLURM, wherever tests run
    assert told in sentence(capsys, "reproduce", *asked, "--out", tmp_path / "out")
    assert not list(tmp_path.glob("out/*.json"))


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_truncated_data_and_models_are_refused(folder, tmp_path, capsys, keep):
    for name in ("data", "run"):
        shutil.copytree(folder / name, tmp_path / name)
        (path,) = (tmp_path / name).iterdir()
        size = path.stat().st_size
        os.truncate(path, int(keep * size) if isinstance(keep, float) else keep)
        arguments = (tmp_path / "run", folder / "data") if name == "run" else (folder / "run", tmp_path / "data")
        assert path.name in sentence(capsys, "evaluate", *arguments)


def test_foreign_files_are_refused(folder, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    with h5py.File(tmp_path / "data" / "episodes-00000.h5", "w") as file:
        file["something"] = np.zeros(3)
    assert "not a shard of episodes" in sentence(capsys, "train", tmp_path / "data", "--out", tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / MODEL_FILE).write_text("not a model")
    assert MODEL_FILE in sentence(capsys, "evaluate", tmp_path / "other", folder / "data")


def test_models_of_another_problem_are_refused(folder, tmp_path, capsys):
    for text, difference in (("sensor:2x3,steps=4", "agents"), ("sensor:2x2,steps=4,targets=2", "num_targets")):
        cf.collect(cf.problem_from_text(text), 4, key=jax.random.key(0)).save(tmp_path / difference)
        assert difference in sentence(capsys, "evaluate", folder / "run", tmp_path / difference)


def test_worlds_of_another_library_version_are_refused(folder, tmp_path, capsys):
    episodes = cf.Episodes.load(folder / "data")
    for name, installed in (("run", "0.2.0"), ("data", "0.3.1")):
        battle = dataclasses.replace(episodes, description={"kind": "smax", "jaxmarl": installed})
        model_of(battle).save(tmp_path / name) if name == "run" else battle.save(tmp_path / name)
    said = sentence(capsys, "evaluate", tmp_path / "run", tmp_path / "data")
    assert "version of JaxMARL (0.2.0, not 0.3.1)" in said


def test_who_acted_is_no_part_of_the_problem(folder):
    episodes = cf.Episodes.load(folder / "data")
    assert episodes.policy == {"kind": "random"}
    check_same_problem(model_of(episodes), dataclasses.replace(episodes, policy={"kind": "mappo"}))


def test_episodes_and_samples_exclude_each_other(tmp_path, capsys):
    arguments = ("collect", PROBLEM, "--out", tmp_path / "data")
    assert "not both" in sentence(capsys, *arguments, "--episodes", 4, "--samples", 4)
    assert "at least 1" in sentence(capsys, *arguments, "--samples", 0)
    assert "minutes" in sentence(capsys, *arguments, "--minutes", 0)
    assert not (tmp_path / "data").exists()


def test_unfinished_runs_say_how_to_go_on(folder, tmp_path, capsys):
    write_json(tmp_path / "run" / "run.json", {})
    assert "--resume" in sentence(capsys, "evaluate", tmp_path / "run", folder / "data")


def test_nothing_is_overwritten_unasked(folder, tmp_path, capsys):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert "--overwrite" in sentence(capsys, "train", folder / "data", "--out", folder / "run")
    assert "overwrite" in sentence(capsys, "collect", PROBLEM, "--episodes", 4, "--out", folder / "data")
    (tmp_path / "estimates.h5").write_text("mine")
    assert "--overwrite" in sentence(capsys, "reconstruct", folder / "run", folder / "data", "--out", tmp_path)
    assert (tmp_path / "estimates.h5").read_text() == "mine"
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_that_are_no_episodes_are_never_overwritten(tmp_path, capsys):
    (tmp_path / "precious.txt").write_text("mine")
    said = sentence(capsys, "collect", PROBLEM, "--episodes", 4, "--out", tmp_path, "--overwrite")
    assert "precious.txt" in said
    assert (tmp_path / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "text", ["sensor", "sensor:5", "sensor:0x0", "sensor:2x2,targets=9", "sensor:2x2,targets=a", "maze:3x3", ""]
)
def test_unknown_problems_are_refused(text, tmp_path, capsys):
    sentence(capsys, "collect", text, "--episodes", 4, "--out", tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "options",
    [
        ("--width", 0),
        ("--batch", -1),
        ("--steps", 10, "--epochs", 2),
        ("--learning-rate", "nan"),
        ("--history", 0),
        ("--withhold-states", 1.0),
    ],
)
def test_settings_out_of_range_are_refused(folder, tmp_path, capsys, options):
    sentence(capsys, "train", folder / "data", "--out", tmp_path / "run", *options)


def test_numbers_of_samples_must_be_positive(folder, capsys, tmp_path):
    arguments = (folder / "run", folder / "data", "--out", tmp_path / "new")
    assert "joint" in sentence(capsys, "reconstruct", *arguments, "--joint", 0)
    assert "num_samples" in sentence(capsys, "reconstruct", *arguments, "--samples", 0)
    assert "radius" in sentence(capsys, "reconstruct", *arguments, "--radius", -1)


def test_a_full_disk_is_told_and_leaves_nothing_behind(folder, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    said = sentence(capsys, "collect", PROBLEM, "--episodes", 4, "--out", tmp_path / "data")
    assert "full" in said or "space" in said
    assert not (tmp_path / "data").exists()
    said = sentence(capsys, "reconstruct", folder / "run", folder / "data", "--out", tmp_path, "--samples", 1)
    assert "space" in said
    assert not list(tmp_path.glob("estimates*"))
    with pytest.raises(cf.FileError, match="space"):
        cf.load(folder / "run").save(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_errors_of_the_operating_system_are_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "file" in sentence(capsys, "collect", PROBLEM, "--episodes", 4, "--out", tmp_path / "file" / "data")


def test_python_callers_get_the_same_errors(folder):
    episodes = cf.Episodes.load(folder / "data")
    model, joint = cf.load(folder / "run"), cf.HistoryDataset(episodes).joint(np.arange(1))
    histories, key = joint.histories[0], jax.random.key(0)
    with pytest.raises(cf.MismatchError, match="columns"):
        model.reconstruct(histories[:, :-1], key=key)
    for bad in (jnp.nan, jnp.inf):
        with pytest.raises(cf.InputError, match="NaN or infinite"):
            cf.reconstruct(model.denoiser, histories.at[0, 0].set(bad), key=key)
    with pytest.raises(cf.InputError, match="agent 7"):
        cf.reconstruct(model.denoiser, histories, key=key, order=[0, 7])
    with pytest.raises(cf.InputError, match="at least one"):
        cf.reconstruct(model.denoiser, histories[:0], key=key)


def test_logs_that_cannot_be_used_are_refused():
    logs = {
        "observations": np.zeros((2, 3, 1)),
        "actions": np.zeros((2, 3), int),
        "states": np.zeros((2, 4)),
        "ends": np.array([False, True]),
    }
    cf.Episodes.from_arrays(**logs)
    broken = {
        "at least one step": {name: array[:0] for name, array in logs.items()},
        "NaN": {"states": np.full((2, 4), np.nan)},
        "at least one": {"observations": np.zeros((2, 0, 1)), "actions": np.zeros((2, 0), int)},
        "same number of steps": {"actions": np.zeros((1, 3), int)},
        "last step": {"ends": np.array([True, False])},
    }
    for message, changes in broken.items():
        with pytest.raises(cf.InputError, match=message):
            cf.Episodes.from_arrays(**{**logs, **changes})


def test_exact_methods_refuse_what_is_too_large():
    problem = cf.SensorNetwork.grid(32, 32, num_targets=3)
    with pytest.raises(cf.TooLargeError, match="too many to list"):
        problem.states()
