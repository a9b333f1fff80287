"""Exported files compute what JAX does, and the agent in NumPy is the agent."""

import dataclasses
import json
from collections import Counter

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runtime.fused_team import (
    AGENTS,
    STATE,
    calibrated,
    dense_answers,
    episodes,
    replay,
    sparse_answers,
    strange,
    suspicious,
    team_model,
)
from runtime.simulated import SimulatedBus

import composite_flow as cf
from composite_flow import cli
from composite_flow.data.scaling import Scaling
from composite_flow.denoiser import NoDenoiser
from composite_flow.errors import FileError, InputError, MismatchError
from composite_flow.export import graphs
from composite_flow.export.folder import CLOSE, export_model
from composite_flow.numerics.merging import merge_points
from composite_flow.runtime.conversion import whole_shape
from composite_flow.runtime.identity import model_checksum
from composite_flow.runtime.inference import Inference
from composite_flow.runtime.report import summed_report
from composite_flow.runtime.start import make_rule

pytest.importorskip("onnx")
standalone = pytest.importorskip("composite_flow.export.standalone.agent")
from composite_flow.export.standalone.__main__ import parse, rule_of  # noqa: E402
from composite_flow.export.standalone.__main__ import tell as told_of  # noqa: E402
from composite_flow.export.standalone.estimate import MERGE_RADIUS, likeliest  # noqa: E402


@pytest.fixture(scope="module", params=[dense_answers, sparse_answers], ids=["dense", "sparse"])
def model(request):
    key = jax.random.key(0)
    return team_model(key, request.param(key))


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "out"
    export_model(model, folder)
    return folder


def agents_of(model, exported):
    """The team on JAX, and the team in NumPy."""
    numbers = range(AGENTS)
    return [cf.Agent(model, number) for number in numbers], [standalone.Agent(exported, number) for number in numbers]


def replayed(model, exported, logged, seed=2):
    """Both teams at every step of logged episodes, with a third of the messages lost."""
    ours, theirs = agents_of(model, exported)
    random = np.random.default_rng(seed)
    for (step, _), _ in zip(replay(ours, logged), replay(theirs, logged), strict=True):
        for sender in range(AGENTS):
            for listener in range(AGENTS):
                if sender != listener and random.random() < 0.7:
                    message = ours[sender].answer()
                    assert ours[listener].receive(sender, step, message)
                    assert theirs[listener].receive(sender, step, message)
        yield from zip(ours, theirs, strict=True)


def test_the_agent_in_numpy_is_the_agent(model, exported):
    """Over 24 steps: histories, answers, estimates, intervals, hops, and where most samples end."""
    random = np.random.default_rng(2)
    for one, other in replayed(model, exported, episodes(24)):
        np.testing.assert_allclose(other.history, one.history, atol=1e-6)
        for part, same in zip(other.answer(), one.answer(), strict=True):
            np.testing.assert_allclose(part, same, rtol=1e-5, atol=1e-5)
        expected, found = one.estimate(), other.estimate()
        np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.variance, expected.variance, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.uncertainty, expected.uncertainty, rtol=1e-5)
        np.testing.assert_array_equal(found.participants, expected.participants)
        bounds = other.intervals(found, 0.9)
        assert set(bounds) == {"speed", "heat"}
        np.testing.assert_allclose(bounds["heat"], expected.interval("heat", 0.9), rtol=1e-5, atol=1e-5)
        y = random.normal(size=(3, STATE)).astype(np.float32)
        np.testing.assert_allclose(other.hop(y), one.hop(jnp.asarray(y)), rtol=1e-5, atol=1e-5)


def test_states_that_need_64_bits_keep_them(model, tmp_path):
    """Metres of a map's coordinates: five million of them, told apart by millimetres."""
    low = np.array([5e6, 5e6, 0.0, 0.0, 0.0, 0.0])
    far = dataclasses.replace(model, scaling=Scaling(low, low + 1.0))
    assert far.scaling.is_double
    export_model(far, tmp_path / "out")
    for one, other in replayed(far, tmp_path / "out", episodes(8)):
        mean, expected = other.estimate().mean, np.asarray(one.estimate().mean)
        assert mean.dtype == np.float64
        np.testing.assert_allclose(mean - low, expected - low, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("robust", [False, True])
def test_verdicts_in_numpy_are_those_of_the_agent(model, tmp_path, robust):
    """Who is in doubt and why, who is left out, or that the estimate is too wide."""
    model, reasons, left_out = suspicious(calibrated(model, [1.0, 0.9, 0.9, 0.7])), Counter(), 0
    layout = dataclasses.replace(model.layout, agent_names=("red", "green", "blue", "3"))
    model, called = dataclasses.replace(model, layout=layout), set()
    export_model(model, tmp_path / "out")
    for one, other in replayed(model, tmp_path / "out", strange(episodes(24))):
        expected, found = one.estimate(robust=robust), other.estimate(robust=robust)
        verdict = dataclasses.asdict(expected.verdict)
        assert [found.verdict[name] for name in ("accepted", "reason")] == [verdict["accepted"], verdict["reason"]]
        assert tuple(found.verdict["agents"]) == verdict["agents"]
        if (
            expected.participants.sum() > 2 and verdict["reason"] != "too wide"
        ):  # of two, either may be called the worst
            assert found.verdict["sentence"] == verdict["sentence"]
            called |= {name for name in (*layout.agent_names, "agent 3") if f"{name} " in found.verdict["sentence"]}
        np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(found.left_out, expected.doubts.left_out)
        np.testing.assert_array_equal(found.participants, expected.participants)
        reasons[found.verdict["reason"]] += 1
        left_out += int(found.left_out.sum())
    assert reasons[""] and reasons["too wide"] and (left_out if robust else reasons["unlike training"])
    assert called & {"red", "green", "blue"}


def test_what_a_sum_says_in_numpy_is_what_it_says_in_jax(model, exported):
    """With the verdict as far as it can be told: where the own history is unlike training, or the estimate too wide."""
    rule, size, reasons = make_rule(model, Inference("tree")), AGENTS, Counter()
    for one, other in replayed(model, exported, strange(episodes(24))):
        ours, theirs = rule._whole(one), other.whole_answer()
        for part, same in zip(theirs, ours, strict=True):
            np.testing.assert_allclose(part, same, rtol=1e-5, atol=1e-5)
        whose = np.isin(np.arange(AGENTS), one.number)
        expected = summed_report(one, ours, whose, size, 0.9)
        found = told_of(other, other.estimate_of(theirs, whose), size, 0.9)
        assert set(found) == set(expected)
        assert found["verdict"]["reason"] == expected["verdict"]["reason"]
        assert found["verdict"]["sentence"] == expected["verdict"]["sentence"]
        reasons[found["verdict"]["reason"]] += 1
    shape, expected = standalone.Exported(exported).sums_shape, whole_shape(model.fusion)
    assert (shape.rest, shape.checks) == (expected.rest, expected.checks)
    np.testing.assert_array_equal(shape.is_number, expected.is_number)
    np.testing.assert_allclose(shape.unit, expected.unit)
    assert reasons[""] and reasons["unlike training"]


def test_a_team_of_both_kinds_infers_by_every_rule(model, exported):
    """Two members on JAX and two without it, on a simulated bus: all tell what the joint call says."""
    logged, about = episodes(8), standalone.Exported(exported)
    histories = np.asarray(cf.HistoryDataset(logged, model.layout.length).joint(np.arange(8)).histories)
    for by in ("broadcast", "tree", "ring"):
        asked = parse(["--name", "0", "--team", "t", "--rule", by])
        rules = {0: lambda by=by: make_rule(model, Inference(by)), 1: lambda asked=asked: rule_of(about, asked)}
        bus = SimulatedBus(model)
        for number in range(AGENTS):
            bus.make_rule = rules[number % 2]
            bus.start(number, agent=standalone.Agent(about, number) if number % 2 else None)
        for step in range(8):
            bus.step(logged, step)
            told = bus.told[-AGENTS:]
            assert all(one["participants"] == [0, 1, 2, 3] and one["step"] == step for one in told)
            means = np.asarray([list(one["mean"].values()) for one in told])
            expected = means[0] if by == "ring" else model.fuse(histories[step]).mean
            np.testing.assert_allclose(means, np.broadcast_to(expected, means.shape), rtol=1e-5, atol=1e-5)
        assert not any(member.refused for member in bus.members.values())


def test_where_most_samples_end_is_the_candidate_of_jax(model, exported):
    about, random = standalone.Exported(exported).about, np.random.default_rng(0)
    assert MERGE_RADIUS == cf.Sampling().merge_radius
    for _ in range(20):
        ends = np.repeat(random.normal(size=(3, STATE)), random.integers(1, 5, 3), axis=0).astype(np.float32)
        ends = random.permutation(ends + 0.01 * random.normal(size=ends.shape).astype(np.float32))
        merged = merge_points(jnp.asarray(ends), 0.1, 16)
        state, share = likeliest(about, ends)
        np.testing.assert_allclose(state, model.scaling.unscale(merged.points[0]), rtol=1e-5, atol=1e-5)
        assert share == pytest.approx(float(merged.counts[0]) / len(ends))


NETWORKS = [("relu", "every_layer"), ("silu", "every_layer"), ("gelu", "every_layer"), ("tanh", "input")]


@pytest.mark.parametrize(("activation", "history_at"), NETWORKS)
def test_every_network_can_be_exported(key, tmp_path, activation, history_at):
    model = team_model(key)
    network = cf.Network(model.layout, STATE, 8, 3, history_at, activation, key=key)
    answers = dense_answers(key, activation)
    changed = dataclasses.replace(model, denoiser=network, fusion=dataclasses.replace(model.fusion, answers=answers))
    differences = export_model(changed, tmp_path / "out", "onnx")
    assert set(differences) == {"answer", "fuse", "condition", "denoise"} and max(differences.values()) <= CLOSE


def test_a_model_can_be_exported_for_other_programs_of_jax(model, tmp_path):
    differences = export_model(model, tmp_path / "out", "stablehlo")
    assert set(differences) == {"answer", "fuse", "condition", "denoise"} and max(differences.values()) <= CLOSE


def test_what_differs_from_jax_is_not_written(model, tmp_path, monkeypatch):
    wrong = eqx.tree_at(lambda net: net.output_bias, model.denoiser, replace_fn=lambda bias: bias + 1e-3)
    right = graphs.denoise_graph
    monkeypatch.setattr(graphs, "denoise_graph", lambda network: right(wrong))
    with pytest.raises(MismatchError, match="`denoise` differs from JAX by 0.001"):
        export_model(model, tmp_path / "out")
    broken = eqx.tree_at(lambda net: net.output_bias, model.denoiser, replace_fn=lambda bias: bias * jnp.nan)
    monkeypatch.setattr(graphs, "denoise_graph", lambda network: right(broken))
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
    for changed in ({**about, "format": 1}, {**about, "form": "stablehlo"}):
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
    few = calibrated(model, [1.0] * AGENTS).fusion.calibration
    for lost in (0.0, 0.3):
        few = dataclasses.replace(few, num_episodes=60, lost=lost)
        fewer = dataclasses.replace(model, fusion=dataclasses.replace(model.fusion, calibration=few))
        export_model(fewer, tmp_path / "out", overwrite=True)
        one, other = cf.Agent(fewer, 0), standalone.Agent(tmp_path / "out", 0)
        for agent in (one, other):
            agent.observe(np.ones(2))
        expected, found = one.estimate(), other.estimate()
        for level in (0.5, 0.93, 0.975):
            bounds = other.intervals(found, level, team=3)["speed"]  # three were to answer: read where answers are lost
            np.testing.assert_allclose(bounds, expected.interval("speed", level, team=3 if lost else None), rtol=1e-5)
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
