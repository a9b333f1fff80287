"""Running sums along a tree, and composite diffusion round a ring, on a simulated bus."""

import dataclasses
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from runtime.fused_team import AGENTS, SCALING, STATE, dense_answers, episodes, sparse_answers, team_model
from runtime.simulated import SimulatedBus

import composite_flow as cf
from composite_flow.certificate.reconstruction import Reconstruction
from composite_flow.composite.plan import make_plan
from composite_flow.composite.reconstruct import candidates_of
from composite_flow.denoiser import NoDenoiser
from composite_flow.errors import InputError
from composite_flow.runtime.inference import Inference
from composite_flow.runtime.loss import Loss
from composite_flow.runtime.member import Settings
from composite_flow.runtime.message import RING, SUMS, TOTAL, unpack
from composite_flow.runtime.ring import draw_order
from composite_flow.runtime.rounds import draw_start
from composite_flow.runtime.start import make_rule


@pytest.fixture(params=[dense_answers, sparse_answers], ids=["dense", "sparse"])
def model(request, key):
    return team_model(key, request.param(key))


def started(model, inference, **options):
    bus = SimulatedBus(model, rule=lambda: make_rule(model, inference), **options)
    for number in range(AGENTS):
        bus.start(number)
    return bus


def joint(model, logged):
    return np.asarray(cf.HistoryDataset(logged, model.layout.length).joint(np.arange(logged.num_steps)).histories)


def means_of(told):
    return np.asarray(list(told["mean"].values()))


def assert_close(told, expected):
    unit = np.asarray(SCALING.maximum - SCALING.minimum)
    np.testing.assert_allclose(means_of(told) / unit, np.asarray(expected) / unit, atol=1e-5)


def test_sums_go_up_and_the_total_comes_down(model):
    bus, logged = started(model, Inference("tree")), episodes(16)
    histories = joint(model, logged)
    for step in range(16):
        bus.step(logged, step)
    assert len(bus.told) == 16 * AGENTS
    for told in bus.told:
        assert told["participants"] == [0, 1, 2, 3] and told["late"] == 0
        assert_close(told, model.fuse(histories[told["step"]]).mean)
    kinds = [unpack(data).kind for data, _, _ in bus.sent]
    assert kinds.count(SUMS) == 16 * (AGENTS - 1) and kinds.count(TOTAL) == 16


def test_a_tree_without_some_sums_tells_of_those_that_came(model):
    """Lost sums, dead members: whatever is told is the joint call's of the participants that it names."""
    bus, logged, loss = started(model, Inference("tree")), episodes(40, length=10), Loss(0.3, seed=1)
    histories, sizes = joint(model, logged), set()
    bus.lost = lambda data, sender, listener: loss.fate(sender, listener, unpack(data).step) is None
    for step in range(40):
        if step == 10:
            bus.kill(0)  # the root
        if step == 20:
            bus.start(0)
        bus.step(logged, step)
        for _ in range(12):
            bus.wait(0.01)
            bus.carry()
    for told in bus.told:
        assert told["participants"]
        assert_close(told, model.fuse(histories[told["step"]], told["participants"]).mean)
        sizes.add(len(told["participants"]))
        assert (0 in told["participants"]) <= (not 10 <= told["step"] < 20)
    assert {1, 4} <= sizes and len(bus.told) == 30 * AGENTS + 10 * (AGENTS - 1)


def test_no_answer_is_added_twice(model):
    """Members that see the team differently send sums that overlap."""
    bus, logged = started(model, Inference("tree")), episodes(8)
    member = bus.members[0]
    bus.step(logged, 0)
    del bus.told[:], bus.sent[:]
    bus.lost = lambda data, sender, listener: sender == 1  # held back, so that the root still waits
    bus.step(logged, 1)
    again = next(data for data, sender, _ in bus.sent if sender == 2)
    forged = unpack(again)
    bus.members[2].send(SUMS, forged.payload, 0)
    bus.lost = lambda *_: False
    bus.carry()
    assert member.refused == {"said already": 1}


def by_hand(model, inference, step, histories, dead=()):
    """Definition 6 over those who are alive: the states of each sample after each hop, and who made it."""
    order = draw_order(inference.seed, step, inference.num_sweeps, AGENTS)
    order = [agent for agent in order if agent not in dead]
    start = jnp.asarray(draw_start(inference.seed, step, (inference.num_samples, STATE)))
    contexts = jax.vmap(model.denoiser.condition)(jnp.asarray(histories))
    flow = jax.vmap(cf.composite.composite_flow, in_axes=(None, None, None, 0))
    return flow(model.denoiser, contexts, jnp.asarray(order), start), order


def reconstruction(model, inference, step, histories):
    """What `model.reconstruct` makes of these orders and this noise."""
    states, order = by_hand(model, inference, step, histories)
    sampling = cf.Sampling(num_samples=inference.num_samples, num_sweeps=inference.num_sweeps)
    drawn = cf.reconstruct(model.denoiser, jnp.asarray(histories), key=jax.random.key(9), sampling=sampling)
    estimate = cf.Estimate(
        **candidates_of(states[:, -1], make_plan(AGENTS, sampling)),
        samples=states[:, -1],
        path=jnp.swapaxes(states[:, -AGENTS - 1 : -1], 0, 1),
        order=jnp.asarray(order, jnp.int32).reshape(-1, AGENTS),
        sweeps=drawn.sweeps,
        messages=drawn.messages,
        denoiser_calls=drawn.denoiser_calls,
    )
    certificate = cf.certify(model.denoiser, jnp.asarray(histories), estimate, radius=model.radius)
    return Reconstruction.of(estimate, certificate, model.scaling, model.names)


def test_orders_and_noise_of_a_ring_stay_as_they_are_and_are_fair():
    """Members of other versions draw the same; every permutation is as likely, and noise is normal."""
    assert draw_order(5, 17, 2, 6) == [2, 4, 0, 5, 1, 3, 0, 4, 1, 5, 2, 3]
    np.testing.assert_allclose(draw_start(5, 17, (1, 3)), [[1.534671, 0.967470, -0.839368]], atol=1e-6)
    orders = Counter(tuple(draw_order(0, step, 1, 3)) for step in range(6000))
    assert len(orders) == 6 and all(abs(count - 1000) < 5 * 29 for count in orders.values())
    noise = np.stack([draw_start(0, step, (4, 5)) for step in range(500)])
    assert abs(noise.mean()) < 0.05 and abs(noise.std() - 1.0) < 0.03
    assert len(np.unique(noise[:, 0, 0])) == 500  # each step has its own


def test_a_ring_tells_what_composite_diffusion_does_with_its_orders_and_noise(key):
    model, inference = team_model(key), Inference("ring", num_samples=3, num_sweeps=2, seed=5)
    bus, logged = started(model, inference), episodes(8)
    for step, history in enumerate(joint(model, logged)):
        bus.step(logged, step)
        found = reconstruction(model, inference, step, history)
        latest = bus.told[-AGENTS:]
        for told in latest:
            assert told["participants"] == [0, 1, 2, 3] and told["hops"] == int(found.estimate.messages)
            assert_close(told, found.state)
            assert told["share"] == pytest.approx(float(found.shares[0]))
        doubtful = {told["agent"] for told in latest if told["verdict"]["reason"] == "sensors in doubt"}
        if found.verdict.reason in ("", "sensors in doubt"):
            assert doubtful == set(found.verdict.agents)
        assert all(told["verdict"]["accepted"] for told in latest) >= found.verdict.accepted
    kinds = [unpack(data).kind for data, _, _ in bus.sent]
    # where an agent ends a sweep and begins the next, it sends the message to nobody
    assert kinds.count(TOTAL) == 8 and 8 * (8 - 2) <= kinds.count(RING) <= 8 * (8 - 1)


def test_the_dead_are_stepped_over_in_a_ring(key):
    model, inference = team_model(key), Inference("ring", num_samples=1, num_sweeps=3)
    bus, logged = started(model, inference), episodes(8)
    histories = joint(model, logged)
    bus.step(logged, 0)
    bus.kill(2)
    for step in (1, 2):
        bus.step(logged, step)
        states, order = by_hand(model, inference, step, histories[step], {2})
        for told in bus.told[-3:]:
            assert told["participants"] == [0, 1, 3] and told["hops"] == len(order) == 9
            assert_close(told, model.scaling.unscale(states[0, -1]))


def test_a_message_that_died_with_its_receiver_goes_to_the_next(key):
    model, inference = team_model(key), Inference("ring", num_samples=1, num_sweeps=3)
    bus, logged = started(model, inference), episodes(8)
    bus.step(logged, 0)
    dead = draw_order(inference.seed, 1, inference.num_sweeps, AGENTS)[
        2
    ]  # it hears nothing when its turn comes, and dies
    bus.lost = lambda data, sender, listener: listener == dead and unpack(data).step == 1
    bus.step(logged, 1)
    assert all(told["step"] == 0 for told in bus.told)
    bus.kill(dead)
    others = [agent for agent in range(AGENTS) if agent != dead]
    assert [told["participants"] for told in bus.told[AGENTS:]] == [others] * 3


def test_a_ring_that_does_not_close_says_so_at_the_deadline(key):
    model, inference = team_model(key), Inference("ring", num_samples=1, num_sweeps=2)
    bus = started(model, inference, settings=Settings("test", deadline=0.2))
    bus.lost = lambda *_: True
    bus.step(episodes(8), 0)
    bus.wait(0.21)
    assert len(bus.told) == AGENTS and all("did not come round" in told["nothing"] for told in bus.told)


def test_a_rule_that_the_model_did_not_learn_is_refused(key):
    model = team_model(key)
    alone = cf.Model(model.denoiser, model.layout, model.scaling, 0.7, (), model.state_names, {})
    for by in ("broadcast", "tree"):
        with pytest.raises(InputError, match="learned no fusion"):
            make_rule(alone, Inference(by))
    blind = dataclasses.replace(model, denoiser=NoDenoiser(STATE))
    with pytest.raises(InputError, match="fusion and no denoiser"):
        make_rule(blind, Inference("ring"))
