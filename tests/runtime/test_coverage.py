"""Intervals that agents tell over a bus that loses messages cover as often as they say, on whole new episodes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runtime.simulated import SimulatedBus
from seeing_team import AGENTS, NOISE, played, seeing

import composite_flow as cf
from composite_flow.denoiser import NoDenoiser
from composite_flow.export.folder import export_model
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.trust.measure import calibrate_answers
from composite_flow.runtime.loss import Loss
from composite_flow.runtime.message import unpack

pytest.importorskip("onnx")
standalone = pytest.importorskip("composite_flow.export.standalone.agent")
from composite_flow.export.standalone.__main__ import parse, rule_of  # noqa: E402

pytestmark = pytest.mark.slow
ASKED = parse(["--name", "0", "--team", "test", "--level", "0.9"])
EPISODES, LENGTH, LEVEL = 400, 4, 0.9


def seeing_network(boast):
    """The exact answers of `seeing`, as a network of one unit: x = relu(o + 10), beside its mean history's 10."""
    known = seeing(boast)
    columns = 2 + AGENTS  # what is seen, the mask, the identity
    usual = jnp.concatenate([jnp.zeros((AGENTS, 1)), jnp.ones((AGENTS, 1)), jnp.eye(AGENTS)], axis=1)
    blank = AnswerNetwork(usual, (jnp.zeros(columns), jnp.ones(columns)), known.prior, 1, 1, key=jax.random.key(0))
    precision = jnp.log(1.0 / NOISE**2)  # of the number, whose prior has 1
    weights = {
        "history_weights": jnp.zeros((columns, 1)).at[0].set(1.0),
        "biases": jnp.full((1, 1), 10.0),
        "evidence_weights": jnp.array([[1.0, 0.0]]),
        "weight_bias": jnp.array([precision / 4, 0.0]),
        "precision_bias": jnp.array([(precision + jnp.log(boast)) / 4, 0.0]),
    }
    for name, value in weights.items():
        blank = eqx.tree_at(lambda net, name=name: getattr(net, name), blank, value)
    history = usual[0].at[0].set(0.3)
    np.testing.assert_allclose(
        blank.answer(blank.condition(history)).evidence, known.answer(jnp.float32(0.3)).evidence, rtol=1e-5
    )
    return blank


@pytest.mark.parametrize("known_lost", [0.0, 0.3])
def test_intervals_cover_on_400_episodes_with_a_third_of_the_messages_lost(tmp_path, known_lost):
    """Agents boast, claiming four times the precision that they have, which calibration corrects.

    For every size of the team; or where it knows of the losses, for the team that was to answer.
    """
    answers, data = seeing_network(boast=4.0), played(EPISODES, jax.random.key(7), LENGTH)
    key = jax.random.key(1)
    calibration = calibrate_answers(answers, played(2000, jax.random.key(0), LENGTH), key=key, lost=known_lost)
    fusion = LearnedFusion(answers, calibration=calibration)
    model = cf.Model(NoDenoiser(2), data.layout, data.scaling, None, (), ("number", "coin"), {}, fusion)
    export_model(model, tmp_path / "out")  # agents in NumPy, which are quick, and held to those in JAX elsewhere
    exported = standalone.Exported(tmp_path / "out")
    bus, loss = SimulatedBus(model, rule=lambda: rule_of(exported, ASKED)), Loss(0.3, seed=2)
    bus.lost = lambda sent, sender, listener: loss.fate(sender, listener, unpack(sent).step) is None
    for number in range(AGENTS):
        bus.start(number, agent=standalone.Agent(exported, number))
    observations, states = np.asarray(data.windows.observations), np.asarray(data.windows.states)
    for step in range(EPISODES * LENGTH):
        for number in range(AGENTS):
            bus.observe(number, observations[step, number], step=step, begins=step % LENGTH == 0)
        bus.carry()
        bus.wait(1.0)
    assert len(bus.told) == AGENTS * EPISODES * LENGTH
    inside = np.zeros((EPISODES, AGENTS))
    sizes = np.zeros(AGENTS + 1)
    for told in bus.told:
        low, high = told["intervals"]["number"]
        inside[told["step"] // LENGTH, told["agent"]] += (low <= states[told["step"], 0] <= high) / LENGTH
        sizes[len(told["participants"])] += 1
    # the mean over episodes of the share of its steps; agents of a step share most answers, and are judged one by one
    error = inside.std(axis=0) / np.sqrt(EPISODES)
    assert {told["level"] for told in bus.told} == {LEVEL}
    assert (np.abs(inside.mean(axis=0) - LEVEL) < 4 * error + 0.01).all() and (error < 0.01).all()
    assert (sizes[1:] > 300).all()  # teams of every size
    # as they claim it themselves, they would cover far less
    assert float(calibration.reach(0, LEVEL, jnp.int32(1), "step")) > 1.5 * 1.645
