"""A world and an input of one's own go through every command, by MODULE:NAME, with no edit of the library."""

import json

import equinox as eqx
import jax
import numpy as np
import pytest
from PIL import Image
from ring_world import PaintedRing, Registered, Ring

import composite_flow as cf
from composite_flow import cli
from composite_flow.problems import kinds

pytestmark = pytest.mark.slow

WORLD = "ring_world:Ring,size=4"
POLICY = (
    "--steps 160 --memory none --width 8 --depth 1 --worlds 8 --rollout 10 --epochs 1 --history 2 --calls 1 "
    "--samples 2 --denoiser-width 8 --denoiser-depth 1 --denoiser-updates 0.1 --denoiser-batch 8"
).split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("own")


def call(capsys, *arguments):
    """One command with --json: the object that it printed."""
    code = cli.main([str(argument) for argument in arguments] + ["--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return json.loads(printed.out)


def refused(capsys, *arguments):
    """The sentence with which a command fails."""
    assert cli.main([str(argument) for argument in arguments]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith("Error:") and "Traceback" not in said
    return said


def test_collect_train_and_evaluate(folder, capsys):
    data, run = folder / "data", folder / "run"
    collected = call(capsys, "collect", WORLD, "--episodes", 40, "--out", data)
    assert collected["problem"] == Ring(4).description and collected["steps"] == 40 * 3
    steps = ("--steps", 30, "--width", 8, "--depth", 1, "--batch", 16, "--history", 2)
    assert call(capsys, "train", data, "--out", run, *steps)["step"] == 30
    assert cf.load(run).description["problem"] == Ring(4).description
    measured = call(capsys, "evaluate", run, data, "--joint", 4, "--samples", 1, "--sweeps", 1)
    assert measured["part"] == "test" and measured["joint_histories"] == 4
    call(capsys, "collect", "ring_world:Ring,size=6", "--episodes", 4, "--out", folder / "other")
    assert "observation features" in refused(capsys, "evaluate", run, folder / "other")


@pytest.fixture(scope="module")
def run(folder):
    """A team that acts on an input of one's own in a world of one's own."""
    out = folder / "policy"
    assert cli.main(["train-policy", WORLD, "--out", str(out), "--inputs", "ring_world:BothValues", *POLICY]) == 0
    return out


def test_train_policy_and_evaluate_policy(run, capsys):
    policy = cf.load_policy(run)
    assert (policy.team.inputs.kind, policy.steps) == ("ring_world:BothValues", 160)
    # own observation, a state and two action values, the agent's number
    assert policy.actor.num_inputs == 2 + 4 + 2 + 2
    found = call(capsys, "evaluate-policy", run, "--episodes", 4, "--samples", 2)
    assert found["inputs"] == "ring_world:BothValues" and found["length"] == 3.0
    assert found["win_rate"] in (0.0, 0.25, 0.5, 0.75, 1.0)
    again = call(capsys, "train-policy", WORLD, "--out", run, "--resume")
    assert again["steps"] == 160


def test_loaded_policies_act_as_they_were_trained(run, key):
    """V(s), Q(s, a) and denoiser come back from their files: networks of other weights would act otherwise."""
    policy = cf.load_policy(run)
    networks = policy.team.networks
    assert networks.critic.num_inputs == 4 and networks.values.num_inputs == 4 + 2
    config = cf.MappoConfig(
        inputs="ring_world:BothValues", steps=160, memory="none", width=8, depth=1, worlds=8, rollout=10, epochs=1,
        inference=_inference(),
    )  # fmt: skip
    trained = cf.train_policy(Ring(4), config, key=jax.random.key(0)).policy
    jax.tree.map(np.testing.assert_array_equal, eqx.filter(trained, eqx.is_array), eqx.filter(policy, eqx.is_array))


def _inference():
    from composite_flow.policy.config import InferenceConfig

    return InferenceConfig(
        history=2, calls=1, samples=2, denoiser_width=8, denoiser_depth=1, denoiser_updates=0.1, denoiser_batch=8
    )


def test_collect_with_its_policy(run, folder, capsys):
    data = folder / "acted"
    collected = call(capsys, "collect", WORLD, "--policy", run, "--episodes", 2, "--out", data)
    assert collected["collected_by"]["inputs"] == "ring_world:BothValues"
    said = refused(capsys, "collect", f"{WORLD},num_steps=5", "--policy", run, "--out", folder / "new")
    assert "num_steps (3, not 5)" in said


def test_play(run, folder, capsys):
    out = folder / "episode.gif"
    told = call(capsys, "play", run, "--out", out)["episodes"][0]
    assert told["steps"] == 3 and isinstance(told["won"], bool)
    with Image.open(out) as image:
        assert image.n_frames == 3
    call(capsys, "play", run, "--out", out, "--steps", 2, "--overwrite")
    with Image.open(out) as image:
        assert image.n_frames == 2


def test_worlds_and_inputs_that_are_none_are_refused(folder, capsys):
    new = folder / "none"
    for command in (("collect",), ("train-policy",)):
        assert "cannot be imported" in refused(capsys, *command, "no_such_module:make", "--out", new)
        assert "its factory raised" in refused(capsys, *command, "ring_world:broken", "--out", new)
        assert "or MODULE:FACTORY of your own" in refused(capsys, *command, "maze:3x3", "--out", new)
    for name, sentence in (
        ("hope", "There is no input 'hope' of an actor: there are agent, observations"),
        ("no_such_module:Belief", "cannot be imported"),
        ("ring_world:Ring", "must be a subclass of composite_flow.PolicyInput"),
    ):
        assert sentence in refused(capsys, "train-policy", WORLD, "--out", new, "--inputs", name)
    assert not new.exists()


def test_registered_names_work_in_commands_of_the_same_process(folder, capsys, monkeypatch):
    monkeypatch.setattr(kinds._KINDS, "_registered", {})
    cf.register_problem("ring", Registered)
    collected = call(capsys, "collect", "ring:4,num_steps=2", "--episodes", 2, "--out", folder / "registered")
    assert collected["problem"]["kind"] == "ring" and collected["steps"] == 4
    assert PaintedRing(4).description["kind"] == "ring_world:Ring"
