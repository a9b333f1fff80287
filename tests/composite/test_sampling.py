"""Options of a reconstruction are declared once, and checked once, whoever takes them."""

import dataclasses
import inspect
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from teams import Linear

from composite_flow import Model, evaluate, reconstruct, reconstruct_batch
from composite_flow.composite.plan import make_plan, speaking_order
from composite_flow.composite.sampling import Sampling, SamplingOptions, sampling_from
from composite_flow.data.scaling import Scaling
from composite_flow.errors import InputError
from composite_flow.history import HistoryLayout


@pytest.fixture
def linear(key):
    key_points, key_jacobians = jax.random.split(key)
    return Linear(jax.random.normal(key_points, (3, 2)), 0.3 * jax.random.normal(key_jacobians, (3, 2, 2)))


def test_keywords_are_the_fields():
    fields, keywords = typing.get_type_hints(Sampling), typing.get_type_hints(SamplingOptions)
    named = {"order", "participants"}  # where models take names of agents as well
    assert {**fields, **{name: keywords[name] for name in named}} == keywords
    assert list(fields) == [field.name for field in dataclasses.fields(Sampling)]


@pytest.mark.parametrize("function", [reconstruct, reconstruct_batch, Model.reconstruct, evaluate])
def test_no_function_declares_an_option_itself(function):
    assert not set(inspect.signature(function).parameters) & {field.name for field in dataclasses.fields(Sampling)}


def test_keywords_replace_the_fields_of_a_sampling():
    mine = Sampling(num_samples=3, stir=0.1)
    assert sampling_from(mine, {"num_samples": 5}) == Sampling(num_samples=5, stir=0.1)
    assert sampling_from(None, {}) == Sampling() and sampling_from(mine, {}) == mine
    with pytest.raises(InputError, match="do not rest"):
        sampling_from(mine, {"tolerance": 0.1})


def test_both_ways_of_giving_options_are_one(linear, key):
    sampling = Sampling(num_samples=3, num_sweeps=2, order=[1, 0], merge_radius=0.2)
    given = reconstruct(linear, jnp.eye(3), key=key, sampling=sampling)
    named = reconstruct(linear, jnp.eye(3), key=key, num_samples=3, num_sweeps=2, order=[1, 0], merge_radius=0.2)
    mixed = reconstruct_batch(linear, jnp.eye(3)[None], key=key, sampling=sampling, num_samples=4)
    assert all(map(np.array_equal, jax.tree.leaves(given), jax.tree.leaves(named)))
    assert given.samples.shape == (3, 2) and mixed.samples.shape == (1, 4, 2)
    assert np.array_equal(given.order, [[1, 0], [1, 0]])


def test_a_model_hands_them_on(key):
    layout = HistoryLayout(1, 2, 1, 3)
    agents = Linear(jnp.ones((layout.size, 2)), jnp.zeros((layout.size, 2, 2)))
    model = Model(agents, layout, Scaling.identity(2), 0.1, (), ("first", "second"), {})
    answer = model.reconstruct(jnp.ones((3, layout.size)), key=key, sampling=Sampling(num_sweeps=2), num_samples=5)
    assert answer.estimate.samples.shape == (5, 2) and int(answer.estimate.messages) == 6


def test_an_option_that_does_not_exist_is_named(linear, key):
    with pytest.raises(TypeError, match="num_sample"):
        reconstruct(linear, jnp.eye(3), key=key, num_sample=3)  # type: ignore[call-arg]


def test_equal_samplings_are_one_program():
    plain = Sampling(order=[2, 0], participants=range(0, 3, 2), sigma=1.0)
    same = Sampling(order=(2, 0), participants=[0, 2])
    assert plain == same and hash(plain) == hash(same)
    # the scale of the noise is traced, so that it makes no program of its own
    halved = make_plan(3, dataclasses.replace(plain, sigma=0.5))
    assert halved.sampling == make_plan(3, plain).sampling and float(halved.sigma) == 0.5


def test_who_speaks_in_a_team():
    assert speaking_order(3, "random") == (0, 1, 2)
    assert speaking_order(3, "fixed", [2, 0]) == (2, 0)
    assert speaking_order(3, [2, 0], [0, 2]) == (2, 0)
    with pytest.raises(InputError, match="participants names agent 3, but the agents are 0 to 2"):
        speaking_order(3, "fixed", [0, 3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "num_samples must be at least 1"),
        ({"num_sweeps": -1}, "num_sweeps must be at least 1"),
        ({"max_candidates": 0}, "max_candidates must be at least 1"),
        ({"sigma": float("inf")}, "sigma must be a finite number"),
        ({"merge_radius": -0.1}, "merge_radius must be a finite number"),
        ({"participants": [1, 1]}, "participants names an agent twice"),
        ({"order": "backwards"}, 'not "backwards"'),
    ],
)
def test_what_no_team_can_use_is_refused_before_there_is_a_team(options, message):
    with pytest.raises(InputError, match=message):
        Sampling(**options)
