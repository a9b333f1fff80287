"""Sums in any grouping, and what is lost where messages are cut or rounded."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answer
from composite_flow.fusion.compression import larger_than, largest_first, num_sent, quantised
from composite_flow.fusion.fuse import add_up


@pytest.fixture
def answers(key):
    keys = jax.random.split(key, 4)
    positive = [jnp.exp(3 * jax.random.normal(k, (20, 6))) for k in keys[:2]]
    return Answer(10 * jax.random.normal(keys[2], (20, 6)), *positive, jax.random.normal(keys[3], (20, 2)))


def plus(first, second):
    return jax.tree.map(jnp.add, first, second)


def along_a_tree(parts, branches):
    """Sums of `branches` neighbours, of these sums again, until one is left; how many messages that took."""
    messages = 0
    while len(parts) > 1:
        groups = [parts[first : first + branches] for first in range(0, len(parts), branches)]
        messages += sum(len(group) - 1 for group in groups)
        parts = [functools.reduce(plus, group) for group in groups]
    return parts[0], messages


@pytest.mark.parametrize("branches", [2, 3, 7, 20])
def test_sums_along_a_tree_are_sums(answers, branches):
    """Whoever adds up what, in which order: the same sum up to rounding, in one message fewer than there are agents."""
    whole = add_up(answers, jnp.ones(20, bool))
    order = np.random.default_rng(branches).permutation(20)
    each = [jax.tree.map(lambda part, agent=agent: part[agent], answers) for agent in order]
    found, messages = along_a_tree(each, branches)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, whole)
    assert messages == 19


def test_the_largest_entries_are_kept_and_nothing_else(answers):
    cut = largest_first(answers, 2)
    evidence = np.asarray(answers.evidence)
    for row, kept in zip(evidence, np.asarray(cut.evidence), strict=True):
        places = np.argsort(-np.abs(row))[:2]
        assert set(np.flatnonzero(kept)) == set(places) and np.all(kept[places] == row[places])
    np.testing.assert_array_equal(cut.weight != 0, cut.evidence != 0)
    np.testing.assert_array_equal(cut.precision != 0, cut.evidence != 0)
    np.testing.assert_array_equal(cut.free, answers.free)
    assert int(num_sent(cut)) == 40
    whole = largest_first(answers, 99)
    jax.tree.map(np.testing.assert_array_equal, whole, answers)
    with pytest.raises(InputError, match="num_values"):
        largest_first(answers, 0)


def test_a_threshold_keeps_what_is_above_it(answers):
    cut = larger_than(answers, 8.0)
    np.testing.assert_array_equal(cut.evidence != 0, jnp.abs(answers.evidence) > 8.0)
    assert int(num_sent(cut)) == int(jnp.sum(jnp.abs(answers.evidence) > 8.0))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rounding_errs_by_half_a_step_at_most_and_has_few_levels(answers, bits):
    found = quantised(answers, bits)
    mean, rounded = answers.evidence / answers.weight, found.evidence / found.weight
    largest = jnp.max(jnp.abs(mean), axis=1)
    step = largest / (2 ** (bits - 1) - 1)
    assert np.all(np.abs(rounded - mean).max(axis=1) <= step * 0.501)
    np.testing.assert_allclose(jnp.max(jnp.abs(rounded), axis=1), largest, rtol=1e-5)
    plain = Answer(answers.evidence, 0.0 * answers.weight, 0.0 * answers.weight, answers.free)
    step = jnp.max(jnp.abs(answers.evidence), axis=1) / (2 ** (bits - 1) - 1)
    assert np.all(np.abs(quantised(plain, bits).evidence - answers.evidence).max(axis=1) <= step * 0.501)
    logs = np.log(answers.weight)
    step = (logs.max(axis=1) - logs.min(axis=1)) / (2**bits - 2)
    assert np.all(np.abs(np.log(found.weight) - logs).max(axis=1) <= 0.501 * step + 1e-5)
    many = quantised(Answer(*(jnp.linspace(-3.0, 5.0, 4001)[None] for _ in range(4))), bits)
    assert len(np.unique(np.asarray(many.free))) <= 2**bits
    assert len(np.unique(np.asarray(many.weight))) <= 2**bits  # zero among them


def test_what_is_zero_stays_zero_and_one_bit_is_refused():
    silent = Answer(*(jnp.zeros((3, size)) for size in (4, 4, 4, 0)))
    jax.tree.map(np.testing.assert_array_equal, quantised(silent, 8), silent)
    with pytest.raises(InputError, match="two bits"):
        quantised(silent, 1)
