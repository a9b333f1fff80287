"""Exported files compute what JAX does, and the agent in NumPy is the agent."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runtime.fused_team import AGENTS, STATE, dense_answers, episodes, replay, sparse_answers, team_model

import composite_flow as cf
from composite_flow import cli
from composite_flow.denoiser import NoDenoiser
from composite_flow.errors import FileError, InputError, MismatchError
from composite_flow.export import folder as export_folder
from composite_flow.export.folder import CLOSE, export_model
from composite_flow.fusion.calibration import LEVELS, Calibration
from composite_flow.runtime.identity import model_checksum

pytest.importorskip("onnx")
standalone = pytest.importorskip("composite_flow.export.standalone.agent")


@pytest.fixture(scope="module", params=[dense_answers, sparse_answers], ids=["dense", "sparse"])
def model(request):
    key = jax.random.key(0)
    return team_model(key, request.param(key))


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "out"
    export_model(model, folder)
    return folder


def test_the_agent_in_numpy_is_the_agent(model, exported):
    """Over 24 steps with a third of the messages lost: histories, answers, estimates, intervals, hops."""
    ours = [cf.Agent(model, number) for number in range(AGENTS)]
    theirs = [standalone.Agent(exported, number) for number in range(AGENTS)]
    random, logged = np.random.default_rng(2), episodes(24)
    for (step, _), _ in zip(replay(ours, logged), replay(theirs, logged), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(other.history, one.history, atol=1e-6)
            for part, same in zip(other.to_send(), one.to_send(), strict=True):
                np.testing.assert_allclose(part, same, rtol=1e-5, atol=1e-5)
        for sender in range(AGENTS):
            for listener in range(AGENTS):
                if sender != listener and random.random() < 0.7:
                    message = ours[sender].to_send()
                    assert ours[listener].receive(sender, step, message)
                    assert theirs[listener].receive(sender, step, message)
        for one, other in zip(ours, theirs, strict=True):
            expected, found = one.estimate(), other.estimate()
            np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(found.variance, expected.variance, rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(found.participants, expected.participants)
            bounds = other.intervals(found, 0.9)
            assert set(bounds) == {"speed", "heat"}
            np.testing.assert_allclose(bounds["heat"], expected.interval("heat", 0.9), rtol=1e-5)
            y = random.normal(size=(3, STATE)).astype(np.float32)
            np.testing.assert_allclose(other.hop(y), one.hop(jnp.asarray(y)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "silu", "gelu", "tanh"])
@pytest.mark.parametrize("history_at", ["every_layer", "input"])
def test_every_network_can_be_exported(key, tmp_path, activation, history_at):
    model = team_model(key)
    network = cf.Network(model.layout, STATE, 8, 3, history_at, activation, key=key)
    answers = dense_answers(key, activation)
    changed = dataclasses.replace(model, denoiser=network, fusion=dataclasses.replace(model.fusion, answers=answers))
    for form in ("onnx", "stablehlo"):
        differences = export_model(changed, tmp_path / form, form)
        assert set(differences) == {"answer", "fuse", "condition", "denoise"} and max(differences.values()) <= CLOSE


def test_what_differs_from_jax_is_not_written(model, tmp_path, monkeypatch):
    wrong = eqx.tree_at(lambda net: net.output_bias, model.denoiser, replace_fn=lambda bias: bias + 1e-3)
    right = export_folder.denoise_graph
    monkeypatch.setattr(export_folder, "denoise_graph", lambda network: right(wrong))
    with pytest.raises(MismatchError, match="`denoise` differs from JAX by 0.001"):
        export_model(model, tmp_path / "out")
    broken = eqx.tree_at(lambda net: net.output_bias, model.denoiser, replace_fn=lambda bias: bias * jnp.nan)
    monkeypatch.setattr(export_folder, "denoise_graph", lambda network: right(broken))
    with pytest.raises(MismatchError, match="differs from JAX by nan"):
        export_model(model, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_only_where_that_is_asked_and_it_is_an_export(model, exported, tmp_path):
    with pytest.raises(FileError, match="is not empty"):
        export_model(model, exported)
    export_model(model, exported, overwrite=True)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileError, match="is not empty"):
        export_model(model, tmp_path, overwrite=True)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_folder_of_another_version_is_refused(exported, tmp_path):
    about = json.loads((exported / "manifest.json").read_text())
    for changed in ({**about, "format": 2}, {**about, "form": "stablehlo"}):
        (tmp_path / "manifest.json").write_text(json.dumps(changed))
        with pytest.raises(FileError, match="another version or form.*export the model anew"):
            standalone.Agent(tmp_path, 0)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(FileError, match="cannot be read"):
        standalone.Agent(tmp_path, 0)
    with pytest.raises(InputError, match="agents are 0 to 3"):
        standalone.Agent(exported, 4)


def test_the_manifest_tells_whose_messages_it_understands(model, exported):
    about = json.loads((exported / "manifest.json").read_text())
    assert bytes.fromhex(about["checksum"]) == model_checksum(model)
    assert about["state_names"] == list(model.state_names) and about["version"] == cf.__version__


def test_calibrated_intervals_go_along(key, tmp_path):
    model = team_model(key)
    table = jnp.arange(2.0 * len(LEVELS) * STATE).reshape(2, len(LEVELS), STATE)
    flat = jnp.ones((2, len(LEVELS)))
    calibration = Calibration((1, AGENTS), 60, jnp.ones((2, STATE)), table, 2 * table, flat, flat, flat)
    calibrated = dataclasses.replace(model, fusion=dataclasses.replace(model.fusion, calibration=calibration))
    export_model(calibrated, tmp_path / "out")
    one, other = cf.Agent(calibrated, 0), standalone.Agent(tmp_path / "out", 0)
    for agent in (one, other):
        agent.observe(np.ones(2))
    expected, found = one.estimate(), other.estimate()
    for level in (0.5, 0.93, 0.975):
        np.testing.assert_allclose(other.intervals(found, level)["speed"], expected.interval("speed", level), rtol=1e-5)
    assert other.intervals(found, 0.99) is None and not expected.promises(0.99)  # of 60 episodes


def test_what_was_not_learned_is_not_exported(key, tmp_path):
    model = team_model(key)
    fused = dataclasses.replace(model, denoiser=NoDenoiser(STATE))
    assert set(export_model(fused, tmp_path / "fused")) == {"answer", "fuse"}
    agent = standalone.Agent(tmp_path / "fused", 0)
    agent.observe(np.zeros(2))
    with pytest.raises(InputError, match="no `condition`"):
        agent.hop(np.zeros((1, STATE)))
    assert set(export_model(dataclasses.replace(model, fusion=None), tmp_path / "flow")) == {"condition", "denoise"}
    with pytest.raises(InputError, match="nothing that could be exported"):
        export_model(dataclasses.replace(fused, fusion=None), tmp_path / "none")


def test_the_command_exports(model, tmp_path, capsys):
    model.save(tmp_path / "run")
    arguments = ["export", str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--format", "onnx", "--json"]
    assert cli.main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert max(told["differences"].values()) <= CLOSE and (tmp_path / "out" / "agent.py").exists()
    assert cli.main(arguments) == 1 and "--overwrite" in capsys.readouterr().err


def test_the_agent_is_short(exported):
    assert len((exported / "agent.py").read_text().splitlines()) < 200
