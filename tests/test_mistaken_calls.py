"""Common mistakes of callers: each works, or is told in one sentence that names it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import config

import composite_flow as cf
from composite_flow.errors import InputError
from composite_flow.training.config import TrainingConfig


@pytest.fixture(scope="module")
def taught():
    """A model of everything, one joint history and many."""
    key = jax.random.key(0)
    episodes = cf.collect(cf.problem_from_text("sensor:2x2,targets=1,steps=4"), 60, key=key)
    train, validation, test = cf.HistoryDataset(episodes).split(key=key)
    config = TrainingConfig(width=8, depth=1, batch=16, steps=3, learn="both", chain=True)
    model = cf.fit(train, validation, config, key=key, progress=False)
    return model, test.joint(np.array([0])).histories[0], test.joint(np.array([0, 1])).histories


@pytest.fixture(autouse=True)
def as_users_call_it():
    """Without the checks of shapes and types that only the tests switch on."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


INFER = {
    "reconstruct": lambda model, histories, key: model.reconstruct(histories, key=key),
    "fuse": lambda model, histories, key: model.fuse(histories),
    "sample": lambda model, histories, key: model.sample(histories, 2, key=key),
}


@pytest.mark.parametrize("way", INFER)
def test_many_in_the_place_of_one_and_one_agent_in_that_of_all(taught, way, key):
    model, one, many = taught
    with pytest.raises(InputError, match=r"One joint history has the axes \(agents, columns\)"):
        INFER[way](model, many, key)
    with pytest.raises(InputError, match="the history of one agent"):
        INFER[way](model, one[0], key)
    with pytest.raises(InputError, match="an array, not a list"):
        INFER[way](model, np.asarray(one).tolist(), key)


def test_one_in_the_place_of_many(taught, key):
    model, one, _ = taught
    for infer in (model.fuse_batch, lambda histories: model.reconstruct_batch(histories, key=key)):
        with pytest.raises(InputError, match="Many joint histories have the axes"):
            infer(one)


def test_a_number_is_no_key_however_it_is_given(taught):
    model, one, _ = taught
    for infer in (
        lambda: model.reconstruct(one, key=0),
        lambda: model.sample(one, 2, key=0),
        lambda: model.fusion.sample(one, 2, None, "blind", 0),
        lambda: cf.find_fixed_points(model.denoiser, one[0], key=0),
    ):
        with pytest.raises(InputError, match=r"key must be a random key, .* not 0"):
            infer()


def test_names_where_only_numbers_are_known(taught, key):
    model, one, _ = taught
    for name in ("participants", "order"):
        with pytest.raises(InputError, match=f"{name} must be numbers of agents here; a model's `reconstruct` knows"):
            cf.reconstruct(model.denoiser, one, key=key, **{name: ["ann"]})


TRACED = {
    "fuse": lambda model, one, key: model.fuse(one).mean,
    "sample": lambda model, one, key: model.sample(one, 2, key=key),
    "infer_by_chain": lambda model, one, key: model.infer_by_chain(one).mean,
    "find_fixed_points": lambda model, one, key: (
        cf.find_fixed_points(model.denoiser, one[0], key=key, num_starts=8, max_points=4).masses
    ),
    "reconstruct": lambda model, one, key: cf.reconstruct(model.denoiser, one, key=key, num_samples=2).samples,
}


@pytest.mark.parametrize("way", TRACED)
def test_what_can_be_traced_gives_the_same_within_jit(taught, way, key):
    model, one, _ = taught
    traced = jax.jit(lambda history: TRACED[way](model, history, key))(one)
    np.testing.assert_allclose(traced, TRACED[way](model, one, key), atol=2e-5)  # fused otherwise: float32's rounding


def test_checks_say_that_they_cannot_be_traced(taught, key):
    model, one, _ = taught
    estimate = cf.reconstruct(model.denoiser, one, key=key, num_samples=2)
    for checks in (
        lambda history: cf.certify(model.denoiser, history, estimate, radius=1.0),
        lambda history: model.reconstruct(history, key=key, num_samples=2).state,
        lambda history: jax.grad(lambda x: jnp.sum(model.reconstruct(x, key=key, num_samples=2).state))(history),
    ):
        with pytest.raises(InputError, match="cannot be traced by jit"):
            jax.jit(checks)(one)
