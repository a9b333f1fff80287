"""`inspect` tells what is in a folder or file, and refuses what is not ours; `--version` is the package's."""

import json
import os
import shutil

import h5py
import jax
import numpy as np
import pytest

import composite_flow as cf
from composite_flow import cli
from composite_flow.files.checkpoint import save_checkpoint
from composite_flow.files.estimates import Estimates
from composite_flow.files.plain_json import write_json
from composite_flow.policy.run import train_policy
from composite_flow.policy.saving import PolicySettings
from composite_flow.runs import SETTINGS_FILE, RunSettings, train_run
from composite_flow.training.config import TrainingConfig

PROBLEM = "sensor:2x2,targets=1,steps=4"
TRAINING = TrainingConfig(width=16, depth=1, batch=32, steps=20, record_every=10, evaluate_every=20)
SIZES = {"agents": 4, "actions": 3, "observation_features": 2, "state_features": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Episodes and a run of them, under an umask that lets others read."""
    folder, before = tmp_path_factory.mktemp("inspect"), os.umask(0o022)
    episodes = cf.collect(cf.problem_from_text(PROBLEM), 40, key=jax.random.key(0))
    episodes.save(folder / "data")
    settings = RunSettings(TRAINING, withhold_states=0.25)
    write_json(folder / "run" / SETTINGS_FILE, settings.flat())
    train_run(episodes, settings, folder / "run")
    os.umask(before)
    return folder


def told(capsys, path):
    assert cli.main(["inspect", str(path), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, path):
    assert cli.main(["inspect", str(path)]) == cli.FAILED
    printed = capsys.readouterr()
    assert not printed.out
    return " ".join(printed.err.split())


def test_a_run_tells_of_its_problem_training_checks_and_split(folder, capsys):
    found, model = told(capsys, folder / "run"), cf.load(folder / "run")
    assert found["what"] == "run" and found["problem"]["kind"] == "sensor"
    parameters = sum(leaf.size for leaf in jax.tree.leaves(model.denoiser) if hasattr(leaf, "shape"))
    assert found["sizes"] == {**SIZES, "history_steps": 1, "parameters": parameters}
    assert found["training"]["width"] == 16 and found["training"]["withhold_states"] == 0.25
    assert found["checks"] == {"radius": model.radius} and found["last_point"] == model.curves[-1]
    split = model.description["split"]
    assert found["split"]["test_episodes"] == len(split["test"]) and found["split"]["data"] == split["fingerprint"]
    assert found["split"]["withheld_states"] == len(split["withheld_states"]) == 1
    assert found["versions"]["jax"] == jax.__version__ and found["collected_by"] == {"kind": "random"}


def test_people_get_tables(folder, capsys):
    assert cli.main(["inspect", str(folder / "run")]) == 0
    printed = capsys.readouterr().out
    for words in ("last point", "radius", "num targets", "test episodes", "learning rate"):
        assert words in printed


def test_one_file_of_a_run_tells_the_same(folder, capsys):
    found = told(capsys, folder / "run" / "model.safetensors")
    assert found["what"] == "model"
    whole = told(capsys, folder / "run")
    assert {name: found[name] for name in found if name not in ("path", "what")}.items() <= whole.items()
    assert told(capsys, folder / "run" / "training.safetensors")["last_point"] == whole["last_point"]
    assert told(capsys, folder / "run" / SETTINGS_FILE)["training"] == whole["training"]


def test_a_training_that_has_not_finished_tells_how_far_it_came(folder, tmp_path, capsys):
    shutil.copytree(folder / "run", tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    found = told(capsys, tmp_path / "run")
    assert found["what"] == "unfinished training"
    assert found["last_point"]["step"] == 20 and found["training"]["batch"] == 32
    (tmp_path / "run" / "training.safetensors").unlink()
    assert told(capsys, tmp_path / "run")["training"]["batch"] == 32  # begun, but no checkpoint yet


def test_episodes_tell_their_sizes(folder, capsys):
    found = told(capsys, folder / "data")
    assert found["what"] == "episodes" and found["shards"] == 1
    assert found["sizes"] == {"episodes": 40, "steps": 160, **SIZES}
    assert found["problem"]["num_targets"] == 1 and "h5py" in found["versions"]


def test_estimates_tell_what_they_were_made_from(folder, capsys, tmp_path):
    arguments = ["reconstruct", folder / "run", folder / "data", "--out", tmp_path, "--joint", 6, "--samples", 2]
    assert cli.main([str(argument) for argument in arguments]) == 0
    capsys.readouterr()
    found = told(capsys, tmp_path)
    assert found["what"] == "estimates" and found["made_from"]["run"] == str(folder / "run")
    assert found["sizes"]["joint_histories"] == len(Estimates.load(tmp_path)) == 6
    assert told(capsys, tmp_path / "estimates.h5")["sizes"] == found["sizes"]


def test_a_policys_run_tells_its_inputs(tmp_path, capsys):
    settings = cf.MappoConfig(steps=64, worlds=4, rollout=8, width=8, piece=4)
    problem = cf.problem_from_text(PROBLEM)
    train_policy(problem, settings, key=jax.random.key(0), folder=tmp_path / "policy")
    write_json(tmp_path / "policy" / "policy_run.json", PolicySettings(PROBLEM, settings).flat())
    found = told(capsys, tmp_path / "policy")
    assert found["what"] == "policy run" and found["problem"]["kind"] == "sensor"
    assert {name: found["sizes"][name] for name in ("agents", "actions")} == {"agents": 4, "actions": 3}
    assert found["inputs"]["kind"] == "agent" and found["training"]["width"] == 8
    assert found["last_point"]["steps"] == found["steps"] == 64
    (tmp_path / "policy" / "policy.safetensors").unlink()
    assert told(capsys, tmp_path / "policy")["what"] == "unfinished training of a policy"


def test_cells_are_counted(tmp_path, capsys):
    for seed in range(3):
        write_json(tmp_path / f"width8-seed{seed}.json", {"settings": {}, "machine": MACHINE, "result": {"psnr": 1.0}})
    write_json(tmp_path / "summary.json", {"psnr": 1.0})
    found = told(capsys, tmp_path)
    assert (found["what"], found["cells"], found["summary"]) == ("cells", 3, True)
    assert found["devices"] == ["cpu"] and found["versions"] == {"jax": "0.10.2"}


MACHINE = {"device": "cpu", "versions": {"jax": "0.10.2"}}


def test_what_is_not_ours_or_damaged_is_refused_with_its_name(folder, tmp_path, capsys):
    assert "none does not exist" in refused(capsys, tmp_path / "none")
    shutil.copytree(folder / "data", tmp_path / "half.partial")
    assert "half.partial was left unfinished" in refused(capsys, tmp_path / "half")
    shutil.rmtree(tmp_path / "half.partial")
    assert "nothing that composite-flow wrote" in refused(capsys, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    assert "nothing that composite-flow wrote" in refused(capsys, tmp_path / "notes.txt")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["something"] = np.zeros(3)
    assert "other.h5" in refused(capsys, tmp_path / "other.h5")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "package.json").write_text("{}")
    assert "no cells" in refused(capsys, tmp_path / "data")
    shutil.copytree(folder / "run", tmp_path / "run")
    os.truncate(tmp_path / "run" / "model.safetensors", 100)
    assert "model.safetensors is damaged" in refused(capsys, tmp_path / "run")
    save_checkpoint(tmp_path / "strange" / "model.safetensors", {"a": np.zeros(2)}, {"kind": "model"})
    assert "strange" in refused(capsys, tmp_path / "strange")


def test_all_files_may_be_read_by_others(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in paths} == {".h5", ".json", ".safetensors"}
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o644}


def test_the_version_is_the_packages(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"composite-flow {cf.__version__}\n"
