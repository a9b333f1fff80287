"""A model infers by its chain as the rule of composition does, in the state's own units; old files are read."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.data.scaling import Scaling
from composite_flow.denoiser import NoDenoiser
from composite_flow.errors import InputError, MismatchError
from composite_flow.files.checkpoint import load_checkpoint, load_description, save_checkpoint
from composite_flow.fusion.answers import Prior
from composite_flow.fusion.chain import ChainNetwork
from composite_flow.fusion.chain_estimate import chain_quality, pass_on, random_orders
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.history import HistoryLayout
from composite_flow.model import MODEL_FILE

LAYOUT = HistoryLayout(length=1, observation_size=2, num_actions=2, num_agents=3)  # six columns
SCALING = Scaling(jnp.array([-1.0, 10.0]), jnp.array([1.0, 30.0]))
NAMES = ("speed", "heat")
MEAN = jnp.array([0.3, 0.6])


@pytest.fixture
def chain(key):
    built = ChainNetwork((jnp.zeros(6), jnp.ones(6)), MEAN, width=8, depth=2, activation="silu", key=key)
    heads = lambda n: (n.message_weights, n.gate_weights)  # noqa: E731
    return eqx.tree_at(heads, built, tuple(jax.random.normal(k, (8, 2)) for k in jax.random.split(key)))


@pytest.fixture
def model(chain, key):
    prior = Prior(MEAN, jnp.ones(2), FeatureTypes((), (), 2))
    answers = AnswerNetwork(jnp.zeros((3, 6)), (jnp.zeros(6), jnp.ones(6)), prior, 4, 2, key=key)
    return cf.Model(
        NoDenoiser(2), LAYOUT, SCALING, None, ({"step": 1},), NAMES, {}, LearnedFusion(answers, chain=chain)
    )


@pytest.fixture
def histories(key):
    return jnp.concatenate([jax.random.uniform(key, (3, 3)), jnp.eye(3)], axis=1)


@pytest.mark.parametrize("participants", [None, [2, 0], [1]])
def test_it_is_the_rule_of_composition_in_the_order_of_the_participants(model, chain, histories, key, participants):
    order = [0, 1, 2] if participants is None else participants
    scaled = cf.reconstruct(chain, histories, rule=chain.rule, num_samples=1, num_sweeps=1, order=order, key=key)
    found = model.infer_by_chain(histories, participants)
    np.testing.assert_allclose(found.mean, np.array([-1.0, 10.0]) + scaled.state * np.array([2.0, 20.0]), rtol=1e-5)
    assert (found.participants, found.messages, found.message_bytes) == (tuple(order), len(order), 8)
    assert found.named_mean["heat"] == pytest.approx(float(found.mean[1]))
    assert int(scaled.messages) == found.messages


def test_the_order_matters_a_little_and_others_histories_not_at_all(model, histories):
    one, other = model.infer_by_chain(histories, [2, 0]).mean, model.infer_by_chain(histories, [0, 2]).mean
    assert 0.0 < np.max(np.abs(one - other))
    unread = histories.at[1].set(1000.0)
    np.testing.assert_array_equal(model.infer_by_chain(unread, [2, 0]).mean, one)


def test_many_at_once_are_each_alone(model, histories):
    many = jnp.stack([histories, 0.5 * histories])
    together = model.infer_by_chain(many, [1, 2])
    assert together.messages == 2 and together.named_mean["speed"] == pytest.approx(together.mean[:, 0].tolist())
    for place in range(2):
        np.testing.assert_allclose(together.mean[place], model.infer_by_chain(many[place], [1, 2]).mean, rtol=1e-5)


def test_each_joint_history_may_have_an_order_of_its_own(chain, histories, key):
    orders = random_orders(key, 40, 3)
    assert {tuple(order) for order in np.sort(orders, axis=1).tolist()} == {(0, 1, 2)}
    assert len({tuple(order) for order in orders.tolist()}) == 6
    found = pass_on(chain, jnp.stack([histories] * 40), orders)
    for place in (0, 1, 2):
        alone = pass_on(chain, histories[None], orders[place : place + 1])
        np.testing.assert_allclose(found[place], alone[0], rtol=1e-5)


def test_the_quality_of_a_chain_that_says_nothing_is_that_of_the_prior_mean(histories, key):
    """Eight joint histories of three agents: rounded, the mean (0.3, 0.6) is the state (0, 1), two of these eight."""
    silent = ChainNetwork((jnp.zeros(6), jnp.ones(6)), MEAN, width=8, depth=2, key=key)
    states = jnp.tile(jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), (2, 1))
    found = chain_quality(silent, jnp.stack([histories] * 8), states)
    error = np.mean([0.3**2, 0.7**2, 0.6**2, 0.4**2])
    for name in ("psnr_chain_of_1", "psnr_chain_of_2", "psnr_chain"):
        assert found[name] == pytest.approx(-10 * np.log10(error), rel=1e-5)
    assert found["exact_rate_chain"] == 0.25


def test_a_model_comes_back_from_its_file(tmp_path, model, histories):
    model.save(tmp_path)
    loaded = cf.load(tmp_path)
    np.testing.assert_array_equal(loaded.infer_by_chain(histories).mean, model.infer_by_chain(histories).mean)
    assert loaded.chain.activation == "silu"


def test_files_from_before_the_chain_are_read(tmp_path, model, histories):
    """They say nothing of a chain, not even that there is none."""
    plain = eqx.tree_at(lambda fusion: fusion.chain, model.fusion, None)
    old = cf.Model(NoDenoiser(2), LAYOUT, SCALING, None, (), NAMES, {}, plain)
    old.save(tmp_path)
    description = load_description(tmp_path / MODEL_FILE)
    tree = load_checkpoint(tmp_path / MODEL_FILE, {"denoiser": NoDenoiser(2), "scaling": SCALING, "fusion": plain})
    assert description["fusion"].pop("chain") is None
    save_checkpoint(tmp_path / MODEL_FILE, tree, description, overwrite=True)
    loaded = cf.load(tmp_path)
    assert loaded.chain is None
    np.testing.assert_array_equal(loaded.fuse(histories).mean, old.fuse(histories).mean)


def test_what_cannot_be_is_refused(model, histories):
    for participants, sentence in (([], "empty"), ([3], "agent 3, but the agents are 0 to 2"), ([1, 1], "twice")):
        with pytest.raises(InputError, match=sentence):
            model.infer_by_chain(histories, participants)
    with pytest.raises(MismatchError, match="6 columns, not 5"):
        model.infer_by_chain(histories[:, :5])
    with pytest.raises(MismatchError, match="of 3 agents, not of 2"):
        model.infer_by_chain(histories[:2])
    nothing = cf.Model(NoDenoiser(2), LAYOUT, SCALING, None, (), NAMES, {})
    with pytest.raises(InputError, match="learned no chain.*--resume --learn both --chain.*chain=True"):
        nothing.infer_by_chain(histories)
    plain = eqx.tree_at(lambda fusion: fusion.chain, model.fusion, None)
    with pytest.raises(InputError, match="learned no chain.*RUN --resume --chain"):
        cf.Model(NoDenoiser(2), LAYOUT, SCALING, None, (), NAMES, {}, plain).infer_by_chain(histories)
