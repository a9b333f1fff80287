"""MAPPO reaches a known optimum; a run that was killed goes on to the same bits; policies on disk and in commands."""

import csv
import dataclasses
import itertools
import json

import equinox as eqx
import jax
import numpy as np
import pytest

import composite_flow as cf
from composite_flow import cli
from composite_flow.errors import FileError, InputError, MismatchError
from composite_flow.policy.curves import CURVES_FILE, TENSORBOARD_FOLDER, TensorBoard, recent
from composite_flow.policy.run import TRAINING_FILE

pytestmark = pytest.mark.slow

PROBLEM = "sensor:2x2,steps=4"
SMALL = {
    "steps": 32_000,
    "memory": "none",
    "width": 32,
    "depth": 1,
    "worlds": 32,
    "rollout": 20,
    "epochs": 4,
    "minibatches": 2,
    "learning_rate": 5e-3,
    "critic_learning_rate": 5e-3,
    "schedule": "linear",
    "checkpoint_seconds": 0.0,
}
CONFIG = cf.MappoConfig(**SMALL)
FLAGS = [text for name, value in SMALL.items() for text in (f"--{name.replace('_', '-')}", str(value))]
TIMES = ("seconds", "steps_per_second")


def plain(rows):
    """Rows without what the clock says."""
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def assert_same_arrays(first, second):
    jax.tree.map(np.testing.assert_array_equal, eqx.filter(first, eqx.is_array), eqx.filter(second, eqx.is_array))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run on the 2×2 sensors, in a folder."""
    folder = tmp_path_factory.mktemp("mappo") / "run"
    problem = cf.problem_from_text(PROBLEM)
    return problem, folder, cf.train_policy(problem, CONFIG, key=jax.random.key(0), folder=folder)


def best_reward(problem):
    """The largest reward of a step, over all joint actions in every state."""
    rewards = []
    for targets in itertools.combinations(range(problem.num_areas), problem.num_targets):
        for actions in itertools.product(range(problem.num_actions), repeat=problem.num_agents):
            scans = [int(problem.slots[agent, action - 1]) for agent, action in enumerate(actions) if action]
            tracked = sum(scans.count(area) >= 2 for area in targets)
            rewards.append(problem.reward * tracked - problem.scan_cost * len(scans))
    return max(rewards)


def test_sensors_learn_to_scan_what_they_see(trained, key):
    problem, _, result = trained
    greedy = dataclasses.replace(result.policy, greedy=True)
    episodes = cf.collect(problem, 64, key=key, policy=greedy)
    # targets mind no scan, so the best of each step is the best of all, and both sensors beside a target see it
    np.testing.assert_allclose(episodes.rewards, best_reward(problem), atol=1e-6)
    assert best_reward(problem) == pytest.approx(0.8)
    # while it learned it drew its actions, which costs a little
    assert recent(result.curves, "return") > 0.9 * 4 * 0.8
    assert result.curves[0]["return"] < 0 < result.curves[-1]["entropy"] < result.curves[0]["entropy"]
    assert all(row["divergence"] >= 0 and 0 <= row["clipped"] <= 1 for row in result.curves)


def test_killed_and_resumed_equals_uninterrupted(trained, tmp_path):
    problem, _, whole = trained
    folder = tmp_path / "killed"

    class Killed(Exception):
        pass

    def kill(steps, total, rows):
        # nothing is saved after this, as after a SIGKILL: the checkpoint is that of the call before
        if steps > total / 3:
            raise Killed

    with pytest.raises(Killed):
        cf.train_policy(problem, CONFIG, key=jax.random.key(0), folder=folder, progress=kill)
    with pytest.raises(FileError):
        cf.load_policy(folder)
    with pytest.raises(FileError, match="exists already"):
        cf.train_policy(problem, CONFIG, key=jax.random.key(0), folder=folder)
    for config, seed in ((CONFIG, 1), (dataclasses.replace(CONFIG, clip=0.1), 0)):
        with pytest.raises(MismatchError):
            cf.train_policy(problem, config, key=jax.random.key(seed), folder=folder, resume=True)
    resumed = cf.train_policy(problem, CONFIG, key=jax.random.key(0), folder=folder, resume=True)
    assert_same_arrays(resumed.policy, whole.policy)
    assert plain(resumed.curves) == plain(whole.curves)


def test_loaded_policy_acts_the_same(trained, key):
    problem, folder, result = trained
    for greedy in (False, True):
        policy = dataclasses.replace(result.policy, greedy=greedy)
        episodes = [cf.collect(problem, 64, key=key, policy=p) for p in (policy, cf.load_policy(folder, greedy=greedy))]
        np.testing.assert_array_equal(episodes[0].actions, episodes[1].actions)
        record = episodes[0].policy
        assert record == episodes[1].policy
        assert (record["kind"], record["steps"], record["greedy"]) == ("mappo", 32_000, greedy)
        other = eqx.tree_at(lambda p: p.team.networks.actor.head.bias, policy, policy.actor.head.bias + 1.0)
        assert other.description["weights"] != record["weights"]
    with pytest.raises(MismatchError, match="num_agents"):
        result.policy.check(cf.problem_from_text("sensor:2x3"))


def test_curves_hold_a_row_per_update(trained):
    _, folder, result = trained
    with open(folder / CURVES_FILE, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["update"]) for row in rows] == list(range(1, CONFIG.num_updates + 1))
    assert int(rows[-1]["steps"]) == 32_000
    assert [float(row["return"]) for row in rows] == [row["return"] for row in result.curves]
    assert {row["win_rate"] for row in rows} == {""}


def call(capsys, *arguments):
    """One command with --json: its exit code, the object that it printed, and what it said."""
    code = cli.main([str(argument) for argument in arguments] + ["--json"])
    printed = capsys.readouterr()
    return code, json.loads(printed.out) if code == 0 else None, printed.err


def test_commands_train_and_collect(trained, tmp_path, capsys):
    problem, _, whole = trained
    run, data = tmp_path / "run", tmp_path / "data"
    code, result, told = call(capsys, "train-policy", PROBLEM, "--out", run, *FLAGS)
    assert code == 0, told
    assert result["steps"] == 32_000 and result["mean_return"] == pytest.approx(recent(whole.curves, "return"))
    assert_same_arrays(cf.load_policy(run), whole.policy)
    again = call(capsys, "train-policy", PROBLEM, "--out", run, "--resume")
    assert again[0] == 0 and again[1] == result
    assert cli.main(["train-policy", PROBLEM, "--out", str(run), "--resume"]) == 0
    assert capsys.readouterr().out.split("\n")[0].strip() == f"Trained a policy for {PROBLEM}"

    code, collected, told = call(
        capsys, "collect", PROBLEM, "--policy", run, "--greedy", "--episodes", 8, "--out", data
    )
    assert code == 0, told
    assert collected["policy"] == str(run)
    np.testing.assert_allclose(cf.Episodes.load(data).rewards, 0.8, atol=1e-6)

    for arguments, sentence in (
        (("train-policy", PROBLEM, "--out", run), "already holds a run"),
        (("train-policy", "sensor:2x3", "--out", run, "--resume"), "was started for sensor:2x2,steps=4"),
        (("train-policy", PROBLEM, "--out", run, "--resume", "--clip", "0.1"), "clip = 0.2, not 0.1"),
        (("train-policy", PROBLEM, "--out", tmp_path / "new", "--rollout", "15"), "multiple of piece"),
        (("collect", "sensor:2x3", "--policy", run, "--out", tmp_path / "other"), "num_agents = 4"),
        (("collect", "sensor:2x2,steps=5", "--policy", run, "--out", tmp_path / "other"), "num_steps (4, not 5)"),
        (("collect", PROBLEM, "--policy", data, "--out", tmp_path / "other"), "does not exist"),
        (("collect", PROBLEM, "--greedy", "--out", tmp_path / "other"), "needs a --policy"),
    ):
        code, _, told = call(capsys, *arguments)
        assert code == 1 and sentence in told and told.strip().count("\n") == 0, told
    (run / "policy.safetensors").unlink()
    code, _, told = call(capsys, "collect", PROBLEM, "--policy", run, "--out", tmp_path / "other")
    assert code == 1 and "has not finished" in told


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"discount": 1.5},
        {"rollout": 15},
        {"minibatches": 7},
        {"value_decay": 1.0},
        {"clip": np.nan},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InputError):
        cf.MappoConfig(**wrong)


def test_damaged_checkpoint_is_refused(trained, tmp_path):
    problem, folder, _ = trained
    (tmp_path / TRAINING_FILE).write_bytes((folder / TRAINING_FILE).read_bytes()[:-9])
    with pytest.raises(FileError, match="damaged"):
        cf.train_policy(problem, CONFIG, key=jax.random.key(0), folder=tmp_path, resume=True)


def test_curves_reach_tensorboard_and_hide_what_was_lost(tmp_path):
    pytest.importorskip("tensorboardX")

    rows = [{"update": k, "steps": 10 * k, "return": float(k), "win_rate": None} for k in (1, 2, 3)]
    for steps in (0, 10):  # anew, then on from the checkpoint after the first update
        board = TensorBoard(tmp_path, steps)
        board.add(rows if steps == 0 else rows[1:])
        board.close()
    written = b"".join(path.read_bytes() for path in sorted((tmp_path / TENSORBOARD_FOLDER).iterdir()))
    assert b"return" in written and b"win_rate" not in written
