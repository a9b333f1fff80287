"""Exported agents carry over time what agents on JAX do: the product filter's estimate, and chains' messages."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runtime.fused_team import AGENTS, PRIOR, SCALING, STATE, episodes, replay, team_model, with_chain, with_filter
from runtime.simulated import SimulatedBus

import composite_flow as cf
from composite_flow.errors import InputError, MismatchError
from composite_flow.export import graphs
from composite_flow.export.folder import CLOSE, export_model
from composite_flow.fusion.answers import Prior
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.over_time.rule import Belief
from composite_flow.runtime.identity import model_checksum
from composite_flow.runtime.inference import Inference
from composite_flow.runtime.start import make_rule

pytest.importorskip("onnx")
standalone = pytest.importorskip("composite_flow.export.standalone.agent")
from composite_flow.export.standalone.__main__ import parse, rule_of  # noqa: E402

UNIT = np.asarray(SCALING.maximum - SCALING.minimum)
FILTERED = {
    "product": {"filter_say", "filter_predict", "filter_take_in"},
    "residual": {"filter_hop"},
    "gated": {"filter_hop"},
}


@pytest.fixture(scope="module", params=list(FILTERED))
def made(request, tmp_path_factory):
    """The kind of a filter, a model that carries by it and has a gated chain too, and its folder."""
    key = jax.random.key(3)
    model = with_filter(key, request.param)
    model = dataclasses.replace(model, fusion=dataclasses.replace(model.fusion, chain=with_chain(key).chain))
    folder = tmp_path_factory.mktemp(request.param) / "out"
    differences = export_model(model, folder)
    expected = {"answer", "fuse", "condition", "denoise", "chain_hop", *FILTERED[request.param]}
    assert set(differences) == expected and max(differences.values()) <= CLOSE
    return request.param, model, folder


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    model, folder = with_filter(jax.random.key(3)), tmp_path_factory.mktemp("product") / "out"
    export_model(model, folder)
    return model, folder


def assert_same(found, expected):
    np.testing.assert_allclose(found.mean / UNIT, expected.mean / UNIT, atol=1e-5)
    np.testing.assert_allclose(found.variance / UNIT**2, expected.variance / UNIT**2, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found.participants, expected.participants)
    np.testing.assert_allclose(found.uncertainty, expected.uncertainty, rtol=1e-4)


def test_an_exported_agent_carries_the_product_as_the_agent_does(product):
    """Over three episodes, with answers lost and late: what both say of the same answers, and what each sends."""
    model, folder = product
    ours = [cf.Agent(model, number, over_time=True, max_age=1) for number in range(AGENTS)]
    theirs = [standalone.Agent(folder, number, over_time=True, max_age=1) for number in range(AGENTS)]
    logged, random, late = episodes(24), np.random.default_rng(4), []
    for (step, _), _ in zip(replay(ours, logged), replay(theirs, logged), strict=True):
        told, late = [(at, sender, listener, sent) for at, sender, listener, sent in late if step % 8], []
        for sender in range(AGENTS):
            sent = ours[sender].answer()
            for part, same in zip(theirs[sender].answer(), sent, strict=True):
                np.testing.assert_allclose(same, part, rtol=1e-4, atol=1e-4)
            for listener in set(range(AGENTS)) - {sender}:
                fate = random.random()
                (told if fate < 0.5 else late if fate < 0.7 else []).append((step, sender, listener, sent))
        for at, sender, listener, sent in told:
            assert ours[listener].receive(sender, at, sent) and theirs[listener].receive(sender, at, sent)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(other.estimate(), one.estimate())
            assert other.intervals(other.estimate(), 0.9) is None  # which were measured of single steps
    assert late


def test_an_exported_agent_predicts_where_nobody_speaks_and_says_what_it_does_not_know(product):
    model, folder = product
    one, other = cf.Agent(model, 1, over_time=True), standalone.Agent(folder, 1, over_time=True)
    for agent in (one, other):
        agent.observe(np.ones(2))
        agent.estimate()
        agent.miss(4)
    assert_same(other.estimate(), one.estimate())
    assert not other.estimate().participants.any()
    other.reset()
    with pytest.raises(InputError, match="began before step 7"):
        other.observe(np.ones(2), step=7)
    with pytest.raises(InputError, match="no other options"):
        other.estimate(robust=True)
    broken = one.sent_shape.nothing._replace(weight=np.full(STATE, -1.0, np.float32))
    with pytest.raises(InputError, match="is no answer"):
        other.receive(0, 0, broken)


def test_an_exported_agent_hops_as_the_agent_does(made):
    kind, model, folder = made
    random = np.random.default_rng(0)
    y = random.random((1, STATE)).astype(np.float32)
    for over_time in (False, True)[: 1 + (kind != "product")]:
        one = cf.Agent(model, 2, by="denoiser" if over_time else "chain", over_time=over_time)
        other = standalone.Agent(folder, 2, by="denoiser" if over_time else "chain", over_time=over_time)
        for agent in (one, other):
            agent.observe(np.full(2, 0.3))
        begun = one.begin()
        np.testing.assert_allclose(other.begin(), begun.mean if over_time else begun, atol=1e-6)
        for first in (True, False):
            message = Belief(jnp.asarray(y), jnp.full(1, not first)) if over_time else jnp.asarray(y)
            sent = one.hop(message)
            np.testing.assert_allclose(other.hop(y, first), sent.mean if over_time else sent, atol=1e-5)
        if over_time:
            assert one.end(sent, [0, 2]) and other.end(np.asarray(sent.mean), [0, 2])
            np.testing.assert_allclose(other.begin(), one.begin().mean, atol=1e-6)
            expected, found = one.estimate(), other.estimate()
            np.testing.assert_allclose(found.mean / UNIT, expected.mean / UNIT, atol=1e-5)
            np.testing.assert_allclose(found.variance / UNIT**2, expected.variance / UNIT**2, atol=1e-5)
            np.testing.assert_array_equal(found.participants, expected.participants)
    assert model_checksum(model, by_chain=True) == standalone.Exported(folder).checksum(False, True)
    assert model_checksum(model, over_time=True) == standalone.Exported(folder).checksum(True, False)


def test_a_team_of_both_kinds_carries_the_same(made):
    """Two members on JAX and two without it, on a simulated bus: by broadcast or a ring over time, and by the chain."""
    kind, model, folder = made
    logged, about = episodes(8), standalone.Exported(folder)
    for over_time in (False, True):
        by = "chain" if not over_time else "broadcast" if kind == "product" else "ring"
        asked = parse(["--name", "0", "--team", "t", "--rule", by, *["--over-time"] * over_time])
        inference, hops = Inference(by, over_time=over_time), {"by": "chain"} if by == "chain" else {}
        alone = SimulatedBus(model, rule=lambda inference=inference: make_rule(model, inference))
        both = SimulatedBus(model)
        for number in range(AGENTS):
            agents = [cf.Agent(model, number, over_time=over_time, **hops) for _ in range(2)]
            alone.start(number, agent=agents[0])
            without = standalone.Agent(about, number, over_time=over_time, **hops) if number % 2 else agents[1]
            both.make_rule = lambda n=number, i=inference, a=asked: rule_of(about, a) if n % 2 else make_rule(model, i)
            both.start(number, agent=without)
        for step in range(8):
            alone.step(logged, step)
            both.step(logged, step)
        expected = {(one["agent"], one["step"]): one for one in alone.told}
        assert len(both.told) == len(expected) == 8 * AGENTS
        for told in both.told:
            one = expected[told["agent"], told["step"]]
            assert set(told) == set(one) and told["participants"] == one["participants"] == [0, 1, 2, 3]
            means = (np.asarray(list(each["mean"].values())) / UNIT for each in (told, one))
            np.testing.assert_allclose(*means, atol=1e-5)
        assert not any(member.refused for member in both.members.values())


def test_filters_of_other_features_are_exported_too(tmp_path):
    """No numbers, of which there is no weight to read; and nothing but numbers, with another activation."""
    for kind, types in (
        ("binary", FeatureTypes(tuple(range(STATE)), (), STATE)),
        ("numbers", FeatureTypes((), (), STATE)),
    ):
        model = with_filter(jax.random.key(1), prior=Prior(PRIOR.mean, PRIOR.precision, types), activation="gelu")
        assert max(export_model(model, tmp_path / kind).values()) <= CLOSE


def test_other_programs_of_jax_get_the_filter_too(product, tmp_path):
    differences = export_model(product[0], tmp_path / "out", "stablehlo")
    assert FILTERED["product"] <= set(differences) and max(differences.values()) <= CLOSE


@pytest.mark.parametrize("name", ["say", "predict", "take_in", "carried_hop", "chain_hop"])
def test_a_filter_that_differs_from_jax_is_not_written(tmp_path, monkeypatch, name):
    """A thousandth in a bias, or in the prior's mean, is enough."""
    key = jax.random.key(3)
    model = (
        with_filter(key, "gated" if name == "carried_hop" else "product") if name != "chain_hop" else with_chain(key)
    )
    right = getattr(graphs, f"{name}_graph")

    def wrong(*parts):
        def moved(part):
            return jax.tree.map(lambda leaf: leaf + 1e-3 if leaf.ndim == 1 else leaf, part)

        return right(*map(moved, parts))

    monkeypatch.setattr(graphs, f"{name}_graph", wrong)
    with pytest.raises(MismatchError, match="differs from JAX by"):
        export_model(model, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_a_folder_does_not_carry_is_said(product, tmp_path):
    export_model(team_model(jax.random.key(0)), tmp_path / "plain")
    plain, carrying = standalone.Exported(tmp_path / "plain"), standalone.Exported(product[1])
    asked = lambda *options: parse(["--name", "0", "--team", "t", *options])  # noqa: E731
    for folder, options, sentence in (
        (plain, ["--over-time"], "learned no filter over time"),
        (plain, ["--rule", "chain"], "learned no chain"),
        (carrying, ["--over-time", "--rule", "ring"], "goes with --rule broadcast, not ring"),
        (carrying, ["--over-time", "--robust"], "--robust has no meaning"),
    ):
        with pytest.raises(InputError, match=sentence):
            rule_of(folder, asked(*options))
    with pytest.raises(InputError, match="learned no filter over time"):
        standalone.Agent(plain, 0, over_time=True)
    robot = standalone.Agent(plain, 0)
    robot.observe(np.zeros(2))
    for call, sentence in (
        (robot.begin, "begins with noise"),
        (lambda: robot.end(np.zeros((1, STATE))), "Only a chain's"),
    ):
        with pytest.raises(InputError, match=sentence):
            call()
    about = json.loads((tmp_path / "plain" / "manifest.json").read_text())
    assert about["over_time"] is None and about["chain"] is None
