"""A model fuses in the state's own units, comes back from its file, and refuses what it cannot fuse."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.data.scaling import Scaling
from composite_flow.denoiser import NoDenoiser
from composite_flow.errors import InputError, MismatchError
from composite_flow.fusion.answers import Prior
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.fuse import fuse, taking_part
from composite_flow.fusion.intervals import TeamQuantiles
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.levels import LEVELS
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.history import HistoryLayout

LAYOUT = HistoryLayout(length=1, observation_size=2, num_actions=2, num_agents=3)  # six columns
SCALING = Scaling(jnp.array([-1.0, 10.0, 0.0]), jnp.array([1.0, 30.0, 1.0]))
NAMES = ("speed", "heat", "door open")


@pytest.fixture
def network(key):
    prior = Prior(jnp.array([0.5, 0.4, 0.3]), jnp.array([4.0, 9.0, 1.0]), FeatureTypes((2,), (), 3))
    usual = jnp.concatenate([jnp.full((3, 3), 0.5), jnp.eye(3)], axis=1)
    built = AnswerNetwork(usual, (jnp.zeros(6), jnp.ones(6)), prior, 8, 2, 2, "silu", key=key)
    said = jax.random.normal(key, built.evidence_weights.shape)
    return jax.tree.map(lambda leaf: said if leaf is built.evidence_weights else leaf, built)


@pytest.fixture
def model(network):
    quantiles = TeamQuantiles((1, 3), jnp.stack([jnp.full(len(LEVELS), 1.0), jnp.full(len(LEVELS), 2.0)]))
    fusion = LearnedFusion(network, quantiles)
    return cf.Model(NoDenoiser(3), LAYOUT, SCALING, None, ({"step": 1},), NAMES, {}, fusion)


@pytest.fixture
def histories(key):
    return jnp.concatenate([jax.random.uniform(key, (3, 3)), jnp.eye(3)], axis=1)


def test_the_estimate_is_that_of_the_scaled_answers(model, network, histories):
    scaled = fuse(network.prior, network.answer_each(histories), jnp.asarray(taking_part(3, [2, 0])))
    found = model.fuse(histories, participants=[2, 0])
    unit = np.array([2.0, 20.0, 1.0])
    np.testing.assert_allclose(found.mean, np.array([-1.0, 10.0, 0.0]) + scaled.mean * unit, rtol=1e-5)
    np.testing.assert_allclose(found.variance, scaled.variance * unit**2, rtol=1e-5)
    assert found.participants.tolist() == [True, False, True]
    assert int(found.messages) == 2 and found.message_bytes == 4 * (3 + 2 * 2 + 2)
    assert found.named_mean["heat"] == pytest.approx(float(found.mean[1]))


def test_a_mask_leaves_out_as_leaving_out_does(model, histories):
    """What those who do not take part would say is not read."""
    other = histories.at[1].set(1000.0)
    np.testing.assert_array_equal(model.fuse(histories, [0, 2]).mean, model.fuse(other, [2, 0]).mean)


def test_many_at_once_are_each_alone(model, histories):
    many = jnp.stack([histories, 0.5 * histories])
    teams = np.array([[True, False, True], [True, True, True]])
    together = model.fuse_batch(many, teams)
    for place, named in enumerate(([0, 2], [0, 1, 2])):
        alone = model.fuse(many[place], named)
        np.testing.assert_allclose(together.mean[place], alone.mean, rtol=1e-5)
        one, other = together.interval("heat", 0.5), alone.interval("heat", 0.5)
        np.testing.assert_allclose([one[0][place], one[1][place]], other, rtol=1e-5)


def test_what_is_computed_once_is_of_these_weights(model, histories):
    """The mean histories are read once, for all estimates of a model; other weights read them anew."""
    before = model.fuse(histories)
    np.testing.assert_array_equal(model.fuse(histories).mean, before.mean)
    # a change of the first layer changes what is said of the usual histories as well
    other = eqx.tree_at(lambda fusion: fusion.answers.biases, model.fusion, replace_fn=lambda biases: biases + 0.5)
    changed = dataclasses.replace(model, fusion=other)
    usual = other.answers.mean_histories
    # agents whose histories are their usual ones have nothing to say beside the prior
    np.testing.assert_allclose(changed.fuse(usual).mean[:2], [0.0, 18.0], atol=1e-4)
    assert np.abs(changed.fuse(histories).mean - before.mean).max() > 1e-3


def test_histories_may_be_of_numpy(model, histories):
    found, same = model.fuse(np.asarray(histories)), model.fuse(histories)
    np.testing.assert_array_equal(found.mean, same.mean)
    np.testing.assert_array_equal(found.variance, same.variance)


def test_an_interval_reaches_as_far_as_teams_of_that_size_err(model, histories):
    for team, reach in (([1], 1.0), ([0, 1, 2], 2.0)):
        found = model.fuse(histories, team)
        low, high = found.interval("heat", 0.9)
        half = reach * float(found.variance[1]) ** 0.5
        np.testing.assert_allclose([low, high], [found.mean[1] - half, found.mean[1] + half], rtol=1e-5)


def test_a_model_comes_back_from_its_file(tmp_path, model, histories):
    model.save(tmp_path)
    loaded = cf.load(tmp_path)
    assert not loaded.has_denoiser
    np.testing.assert_array_equal(loaded.fuse(histories).mean, model.fuse(histories).mean)
    assert loaded.fuse(histories).interval("speed", 0.9) == model.fuse(histories).interval("speed", 0.9)


@pytest.mark.parametrize(
    ("participants", "sentence"),
    [([], "empty"), ([3], "agent 3, but the agents are 0 to 2"), ([-1], "agent -1"), ([1, 1], "an answer counts once")],
)
def test_participants_that_cannot_be(model, histories, participants, sentence):
    with pytest.raises(InputError, match=sentence):
        model.fuse(histories, participants)


def test_what_cannot_be_fused_is_refused(model, histories):
    with pytest.raises(MismatchError, match="6 columns, not 5"):
        model.fuse(histories[:, :5])
    with pytest.raises(MismatchError, match="of 3 agents, not of 2"):
        model.fuse_batch(histories[None, :2])
    with pytest.raises(MismatchError, match="of 3 agents, not of 2"):
        model.fuse(histories[:2])
    with pytest.raises(InputError, match="one at least"):
        model.fuse_batch(histories[None], np.zeros((1, 3), bool))
    other = cf.Model(NoDenoiser(3), LAYOUT, SCALING, None, (), NAMES, {})
    with pytest.raises(InputError, match="learned no fusion.*--learn both"):
        other.fuse(histories)


def test_intervals_that_cannot_be_told(model, histories):
    found = model.fuse(histories)
    with pytest.raises(InputError, match="'height'; the names are speed"):
        found.interval("height", 0.9)
    with pytest.raises(InputError, match="is no number"):
        found.interval("door open", 0.9)
    with pytest.raises(InputError, match="not for 0.9999"):
        found.interval("speed", 0.9999)
    with pytest.raises(InputError, match="not measured"):
        dataclasses.replace(found, quantiles=None).interval("speed", 0.9)


def test_composite_diffusion_needs_a_denoiser(model, histories, key):
    for work in (
        lambda: model.reconstruct(histories, key=key),
        lambda: cf.reconstruct(model.denoiser, histories, key=key),
        lambda: cf.find_fixed_points(model.denoiser, histories[0], key=key),
    ):
        with pytest.raises(InputError, match="learned fusion and no denoiser.*--learn both"):
            work()
