"""What a page holds of a model and episodes, against what the model itself says."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from page_teams import SCALING, robots, sensors

import composite_flow as cf
from composite_flow.certificate.verdict import Names
from composite_flow.denoiser import NoDenoiser
from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answer
from composite_flow.fusion.doubts import NUM_CHECKS, Doubts, what_is_doubted
from composite_flow.fusion.posterior import posterior
from composite_flow.page import from_model
from composite_flow.page.content import PageContent
from composite_flow.page.from_model import content_of_model


def block_of(model, episodes, num_episodes=20):
    return content_of_model(model, cf.HistoryDataset(episodes, 1), num_episodes, title="a page").block()


def test_sums_of_the_kept_answers_are_the_models_estimates(key):
    model, episodes = robots(key)
    header, arrays = block_of(model, episodes)
    histories = cf.HistoryDataset(episodes, 1).joint(np.arange(8)).histories
    total = [
        jnp.asarray((arrays[f"answer_{name}"][:, [0, 2]].sum(axis=1)) * arrays["answer_unit"])
        for name in ("evidence", "weight", "precision")
    ]
    mean, variance = jax.vmap(lambda *parts: posterior(model.answers.prior, Answer(*parts, jnp.zeros(0))))(*total)
    for step in range(8):
        found = model.fuse(histories[step], participants=[0, 2])
        np.testing.assert_allclose(SCALING.unscale(mean[step]), found.mean, rtol=1e-4)
        unit = arrays["span"].astype(np.float32)
        np.testing.assert_allclose(variance[step] * unit**2, found.variance, rtol=1e-4)
    assert header["lengths"] == [4, 4] and header["features"] == list(model.state_names)


def test_intervals_are_those_of_the_estimate(key):
    model, episodes = robots(key)
    header, arrays = block_of(model, episodes)
    histories = cf.HistoryDataset(episodes, 1).joint(np.arange(1)).histories[0]
    for team in ([1], [0, 1, 2]):
        found = model.fuse(histories, participants=team)
        low, high = found.interval("robot x", from_model.LEVEL)
        half = arrays["reach"][len(team) - 1, 0] * np.sqrt(found.variance[0])
        np.testing.assert_allclose((high - low) / 2, half, rtol=1e-5)
    assert header["intervals"] == {"level": 0.9, "by": "validation episodes"}
    assert np.isnan(arrays["reach"][:, 2:]).all()


def test_a_page_of_sensors_holds_their_map_what_they_see_and_the_network(key):
    model, episodes = sensors(key)
    header, arrays = block_of(model, episodes, num_episodes=2)
    assert header["map"]["kind"] == "sensors" and header["lengths"] == [5, 5]
    np.testing.assert_array_equal(arrays["observed"], episodes.observations[:10])
    np.testing.assert_array_equal(arrays["states"], episodes.states[:10])
    assert header["network"]["width"] == 12 and arrays["histories"].shape == (10, 6, model.layout.size - 6)


def test_states_that_are_not_known_are_no_numbers(key):
    model, episodes = robots(key)
    known = np.arange(8) != 5
    header, arrays = block_of(model, dataclasses.replace(episodes, known=known))
    assert header["lengths"] == [4, 4]
    assert np.isnan(arrays["states"][5]).all() and np.isfinite(arrays["states"][known]).all()


def test_agents_that_are_not_there_say_nothing(key):
    model, episodes = robots(key)
    alive = np.ones((8, 3), bool)
    alive[2:4, 1] = False
    _, arrays = block_of(model, dataclasses.replace(episodes, alive=alive))
    np.testing.assert_array_equal(arrays["there"], alive)


def test_a_network_that_is_too_large_is_left_out_with_a_sentence(key, monkeypatch):
    model, episodes = robots(key)
    monkeypatch.setattr(from_model, "NETWORK_WEIGHTS", 100)
    header, arrays = block_of(model, episodes)
    assert "network" not in header and "histories" not in arrays
    assert "and a page runs 100 at most" in header["notes"][0]
    with pytest.raises(InputError, match="nothing to show: this model learned no fusion, and its denoiser has"):
        block_of(dataclasses.replace(model, fusion=None), episodes)


def test_a_denoiser_alone_is_shown(key):
    model, episodes = robots(key)
    header, arrays = block_of(dataclasses.replace(model, fusion=None), episodes)
    assert "answers" not in header and header["network"]["activation"] == "relu"
    assert header["types"] == {"binary": [2], "groups": [[3, 5]]}


def test_nothing_is_shown_of_no_episodes_or_of_no_model(key):
    model, episodes = robots(key, with_network=False)
    with pytest.raises(InputError, match="at least 1, not 0"):
        block_of(model, episodes, num_episodes=0)
    with pytest.raises(InputError, match="learned no denoiser"):
        block_of(dataclasses.replace(model, denoiser=NoDenoiser(5), fusion=None), episodes)
    with pytest.raises(InputError, match="cannot be made of 2 states"):
        PageContent("t", ("a",), ("x",), model.answers.prior.types, SCALING, (3,), np.zeros((2, 1), np.float32))


def test_what_is_doubted_is_said_as_estimates_say_it():
    names = ("heat", "door")
    for place in range(len(names) + NUM_CHECKS):
        flags = jnp.zeros(1, bool)
        doubts = Doubts(jnp.ones(1), jnp.array([place]), jnp.array(0.5), flags, flags)
        assert doubts.why(0, Names(names)) == f"agent 0 {what_is_doubted(place, names)}"
    assert what_is_doubted(1, names) == "contradicts all others, most of all in door"
    angle = ("x", "sin heading (degrees)", "cos heading (degrees)")
    assert [what_is_doubted(place, angle).split()[-1] for place in range(3)] == ["x", "heading", "heading"]
