"""Answers are kept exactly where they are few; rounding tells what it changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.fusion.answers import Answer, Prior
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.posterior import posterior
from composite_flow.page.stored_answers import KEPT, Room, in_16_bits, stored_answers

STATE = 20
PRIOR = Prior(jnp.full(STATE, 0.3), jnp.geomspace(1.0, 1e6, STATE), FeatureTypes((0, 1), ((2, 5),), STATE))


@pytest.fixture
def answers(key):
    """(7 steps, 4 agents, 20 features); numbers say as much as an answer can."""
    keys = jax.random.split(key, 3)
    exponent = jax.random.uniform(keys[0], (7, 4, STATE), minval=-12.0, maxval=12.0)
    weight = jnp.where(PRIOR.types.is_number[None, None], PRIOR.precision[None, None] * jnp.exp(exponent), 0.0)
    said = jax.random.normal(keys[1], (7, 4, STATE))
    evidence = jnp.where(PRIOR.types.is_number[None, None], weight * 0.3 * said, 4.0 * said)
    return Answer(evidence, weight, 0.5 * weight, jnp.zeros((7, 4, 0)))


def team_mean(evidence, weight):
    total = Answer(evidence.sum(1), weight.sum(1), 0 * weight.sum(1), jnp.zeros((7, 0)))
    return jax.vmap(lambda each: posterior(PRIOR, each)[0])(total)


def read(part, name):
    """What the page adds up: the stored numbers times their unit, as its script does."""
    entry, arrays = part
    values = arrays[f"answer_{name}"].astype(np.float32)
    if entry["answers"]["kept"]:
        spread = np.zeros((7, 4, STATE), np.float32)
        np.put_along_axis(spread, arrays["answer_place"].astype(int), values, axis=-1)
        values = spread
    return jnp.asarray(values * arrays["answer_unit"])


def test_few_answers_are_kept_in_32_bits(answers):
    part = stored_answers(PRIOR, answers)
    assert part[0]["answers"]["bits"] == 32 and part[0]["answers"]["changed"] < 1e-6
    np.testing.assert_allclose(read(part, "weight"), answers.weight, rtol=1e-6)


@pytest.mark.parametrize("room", [Room(0, 10**6), Room(0, 0)])
def test_rounding_tells_the_largest_change_of_the_means(answers, room):
    part = stored_answers(PRIOR, answers, room)
    assert part[0]["answers"]["kept"] == (0 if room.whole else KEPT)
    assert part[1]["answer_evidence"].dtype == np.float16
    exact = team_mean(answers.evidence, answers.weight)
    apart = jnp.abs(team_mean(read(part, "evidence"), read(part, "weight")) - exact)
    assert part[0]["answers"]["changed"] == pytest.approx(float(apart.max()), rel=1e-3)
    assert part[0]["answers"]["changed"] < (2e-3 if room.whole else np.inf)


def test_the_largest_weights_are_kept(answers):
    arrays = stored_answers(PRIOR, answers, Room(0, 0))[1]
    unit = np.asarray(PRIOR.precision)
    size = np.where(PRIOR.types.is_number, np.asarray(answers.weight) / unit / 16, np.abs(answers.evidence))
    kept = np.take_along_axis(size, arrays["answer_place"].astype(int), axis=-1)
    np.testing.assert_allclose(np.sort(kept, axis=-1), np.sort(size, axis=-1)[..., -KEPT:], rtol=1e-6)


def test_what_16_bits_cannot_hold_becomes_the_largest():
    assert in_16_bits(np.array([1e9, -1e9, 1.0])).tolist() == [65504, -65504, 1]


def test_answers_without_numbers_keep_their_evidence_alone(key):
    prior = Prior(jnp.full(2, 0.5), jnp.ones(2), FeatureTypes((0, 1), (), 2))
    nothing = jnp.zeros((3, 2, 2))
    _, arrays = stored_answers(prior, Answer(nothing, nothing, nothing, jnp.zeros((3, 2, 0))))
    assert "answer_evidence" in arrays and "answer_weight" not in arrays
