"""Whom to ask next against closed forms of linear-Gaussian teams, and what estimates say of it."""

import dataclasses
import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.certificate.verdict import Names
from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answer, Prior
from composite_flow.fusion.asking import Turns, _check, _stop, turns
from composite_flow.fusion.doubts import Doubts
from composite_flow.fusion.expected_error import ExpectedError
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.fuse import fuse, taking_part
from composite_flow.fusion.next_agent import NextAgentNetwork
from composite_flow.fusion.next_agent_loss import NUM_TEAMS, draw_lacking_teams, team_loss

SEEN = np.array([[4.0, 0.0], [0.5, 3.0], [1.0, 1.0], [1e-9, 1e-9]])  # precision of each agent's view of each feature
PRIOR = Prior(jnp.array([0.3, 0.6]), jnp.array([2.0, 0.5]), FeatureTypes((), (), 2))
TEAMS = [team for size in range(5) for team in itertools.combinations(range(4), size)]


def mask(team):
    return jnp.isin(jnp.arange(4), jnp.asarray(team, jnp.int32))


def set_by_hand(precisions=SEEN, prior=PRIOR):
    """B = log(ρ/P_0), C = 1, D = h = 0."""
    network = NextAgentNetwork(prior, len(precisions), 8, key=jax.random.key(0))
    offsets = jnp.log(jnp.asarray(np.maximum(precisions, 1e-12), jnp.float32) / prior.precision[None])
    return eqx.tree_at(lambda n: n.offsets, network, offsets)


def answers_of(views, precisions=SEEN, prior=PRIOR):
    """Of agents that see every feature with independent noise."""
    precision = jnp.asarray(precisions, jnp.float32)
    return Answer(precision * (views - prior.mean[None]), precision, precision, jnp.zeros((len(precisions), 0)))


@pytest.mark.parametrize("team", TEAMS)
def test_set_by_hand_it_is_exact_for_linear_gaussian_teams(team):
    answers, network = answers_of(jnp.full((4, 2), 0.7)), set_by_hand()
    now = fuse(PRIOR, answers, mask(team))
    expected = network.expected(now.mean, now.variance, mask(team))
    for agent in range(4):
        then = fuse(PRIOR, answers, mask((*team, agent)))
        np.testing.assert_allclose(expected[agent], jnp.sum(now.variance - then.variance), rtol=1e-4, atol=1e-6)
    assert all(expected[agent] == 0.0 for agent in team)


def test_it_reads_mean_and_who_was_heard_once_it_has_learned_to():
    network = set_by_hand()
    mean, variance, nobody = PRIOR.mean, 1 / PRIOR.precision, jnp.zeros(4, bool)
    off = eqx.tree_at(lambda n: n.mean_weights, network, jnp.ones((4, 2)))
    assert off.decreases(mean + 0.1, variance, nobody)[0, 0] > off.decreases(mean, variance, nobody)[0, 0]
    np.testing.assert_allclose(off.decreases(mean, variance, nobody), network.decreases(mean, variance, nobody))
    joint = eqx.tree_at(lambda n: n.layers.weights[-1], network, jnp.ones_like(network.layers.weights[-1]))
    assert jnp.any(joint.decreases(mean, variance, nobody) != joint.decreases(mean, variance, mask((2,))))
    shares = joint.decreases(mean, variance, nobody) / variance[None]
    assert jnp.all((shares >= 0) & (shares <= 1))


MIXED = Prior(jnp.array([0.2, 0.5, 0.3, 0.2, 0.4]), jnp.full(5, 4.0), FeatureTypes((0,), ((1, 4),), 5))


def corrected_by(bias):
    """An expected error with g the same whatever is told."""
    errors = ExpectedError(MIXED, 3, 8, key=jax.random.key(0))
    return eqx.tree_at(lambda e: e.layers.biases[-1], errors, jnp.asarray(bias))


def test_the_error_that_is_expected_starts_at_what_is_claimed():
    mean, nobody = jnp.array([0.3, 0.1, 0.7, 0.2, 0.9]), jnp.zeros(3, bool)
    variance = jnp.where(MIXED.types.is_number, 0.04, mean * (1 - mean))
    found = corrected_by(jnp.zeros(5)).of(mean, variance, nobody)
    np.testing.assert_allclose(found, variance, rtol=1e-5)


def test_the_error_that_is_expected_is_that_of_the_corrected_belief():
    """log 2 to the odds of 3 : 7, to the second of three, and to the variance; tanh keeps it but for a thousandth."""
    mean, nobody = jnp.array([0.3, 0.1, 0.7, 0.2, 0.9]), jnp.zeros(3, bool)
    variance = jnp.where(MIXED.types.is_number, 0.04, mean * (1 - mean))
    errors = corrected_by(jnp.log(jnp.array([2.0, 1.0, 2.0, 1.0, 2.0])))
    r = np.array([6 / 13, 0.1 / 1.7, 1.4 / 1.7, 0.2 / 1.7])
    expected = r * (1 - r) + (r - np.asarray(mean)[:4]) ** 2
    found = errors.of(mean, variance, nobody)
    np.testing.assert_allclose(found[:4], expected, rtol=3e-3)
    assert float(found[4]) == pytest.approx(0.08, rel=3e-3)
    state = jnp.array([1.0, 0.0, 1.0, 0.0, 0.7])
    likelihood = np.log(r[0]) + np.log(r[2]) - 0.5 * (np.log(2) + 0.04 / 0.08)
    assert float(errors.loss(mean, variance, nobody, state)) == pytest.approx(-likelihood / 5, rel=3e-3)


def test_the_loss_is_of_those_who_are_there_and_were_not_heard(key):
    answers, network, state = answers_of(jnp.full((4, 2), 0.7)), set_by_hand(), jnp.array([0.5, 0.9])
    there, team = mask((0, 1, 2)), mask((1,))

    def of_errors(teams):
        told = [fuse(PRIOR, answers, mask(each)) for each in teams]
        return np.mean(
            [
                network.errors.loss(one.mean, one.variance, mask(each), state)
                for one, each in zip(told, teams, strict=True)
            ]
        )

    teams = ((1,), (0, 1), (1, 2), (1, 3), (1,))  # of everybody; counted are those who are there
    expected = of_errors(teams)
    assert team_loss(network, answers, there, team, state, key) == pytest.approx(float(expected), rel=1e-5)
    blind = NextAgentNetwork(PRIOR, 4, 8, key=key)
    now = fuse(PRIOR, answers, team)
    falls = [now.variance - fuse(PRIOR, answers, mask((1, agent))).variance for agent in (0, 2)]
    said = blind.decreases(now.mean, now.variance, team)
    wrong = sum(jnp.sum((fall - said[agent]) ** 2) for fall, agent in zip(falls, (0, 2), strict=True))
    scale = jnp.sum(now.variance) + 0.02 * jnp.sum(1 / PRIOR.precision)
    found = team_loss(blind, answers, there, team, state, key) - expected
    assert found == pytest.approx(float(wrong / 2 / scale), rel=1e-4)


def test_falls_are_relative_to_the_error_before_them(key):
    """Nobody has answered, and nothing is expected of anybody: their squares over the prior's own variance."""
    answers, blind, nobody = answers_of(jnp.full((4, 2), 0.7)), NextAgentNetwork(PRIOR, 4, 8, key=key), mask(())
    blind = eqx.tree_at(lambda n: n.offsets, blind, jnp.full_like(blind.offsets, -30.0))
    state, before = jnp.array([0.5, 0.9]), fuse(PRIOR, answers, nobody)
    after = [fuse(PRIOR, answers, mask((agent,))) for agent in range(4)]
    each = [(nobody, before), *((mask((agent,)), one) for agent, one in enumerate(after))]
    of_errors = np.mean([blind.errors.loss(one.mean, one.variance, team, state) for team, one in each])
    falls = sum(float(jnp.sum((before.variance - one.variance) ** 2)) for one in after)
    scale = 1.02 * float(jnp.sum(1 / PRIOR.precision))
    found = team_loss(blind, answers, jnp.ones(4, bool), nobody, state, key)
    assert float(found) == pytest.approx(falls / 4 / scale + of_errors, rel=1e-4)


def test_of_a_large_team_eight_agents_drawn_anew_are_asked(key):
    """Nobody has answered; whose answer is read is who was asked."""
    precisions = np.ones((12, 2))
    answers, network = answers_of(jnp.full((12, 2), 0.7), precisions), set_by_hand(precisions)
    there, nobody, state = jnp.ones(12, bool), jnp.zeros(12, bool), jnp.array([0.5, 0.9])

    def asked(key):
        def loss(each):
            return team_loss(network, each, there, nobody, state, key)

        return np.any(np.asarray(jax.grad(loss)(answers).evidence) != 0.0, axis=1)

    each = [asked(one) for one in jax.random.split(key, 3)]
    assert [int(one.sum()) for one in each] == [8, 8, 8]
    assert (each[0] != each[1]).any() and (each[1] != each[2]).any()


def test_teams_that_learn_are_of_every_size_but_the_largest(key):
    drawn = jax.vmap(lambda k: draw_lacking_teams(k, 4))(jax.random.split(key, 400))
    sizes = np.asarray(drawn.sum(-1)).ravel()
    assert drawn.shape == (400, NUM_TEAMS, 4) and np.bincount(sizes).min() > 300 and sizes.max() == 3
    assert jnp.all(jnp.abs(jnp.mean(drawn, axis=(0, 1)) - 1.5 / 4) < 0.05)


def test_in_turns_the_most_useful_is_asked_first_and_who_sees_nothing_last():
    answers, nobody, everyone = answers_of(jnp.full((4, 2), 0.7)), mask(()), mask(range(4))
    found = turns(set_by_hand(), answers, everyone, nobody)
    assert found.agents.tolist()[0] == 1 and found.agents.tolist()[-1] == 3  # 3.0 where the prior knows least
    team: list[int] = []
    for place, agent in enumerate(found.agents.tolist()):
        now = fuse(PRIOR, answers, mask(team))
        left = [jnp.sum(fuse(PRIOR, answers, mask((*team, other))).variance) for other in range(4) if other not in team]
        then = fuse(PRIOR, answers, mask((*team, agent)))
        assert float(jnp.sum(then.variance)) == pytest.approx(float(min(left)), rel=1e-5)
        assert float(found.error[place]) == pytest.approx(float(now.uncertainty), rel=1e-6)
        team.append(agent)
    np.testing.assert_allclose(found.expected, -jnp.diff(found.error**2), rtol=1e-3, atol=1e-6)


def test_who_is_absent_or_was_heard_is_not_asked():
    answers = answers_of(jnp.full((4, 2), 0.7))
    found = turns(set_by_hand(), answers, mask((0, 2, 3)), mask((2,)))
    assert found.agents.tolist() == [0, 3, -1, -1] and found.expected.tolist()[2:] == [0.0, 0.0]
    nobody_else = turns(set_by_hand(), answers, mask((0, 2)), mask((0, 2)))
    assert nobody_else.agents.tolist() == [-1] * 4


def test_asking_stops_at_an_accuracy_a_price_and_a_number():
    """One feature of variance 1, agents of precision 1: variances 1, 1/2, 1/3, 1/4, decreases 1/2, 1/6, 1/12."""
    found = Turns(jnp.arange(3), jnp.array([1 / 2, 1 / 6, 1 / 12]), jnp.sqrt(1 / jnp.arange(1.0, 5.0)))
    counts = {
        **{(("accuracy", math.sqrt(v) + 1e-6),): k for k, v in enumerate((1, 1 / 2, 1 / 3, 1 / 4))},
        (("accuracy", 0.1),): 3,
        (("price", 0.6),): 0,
        (("price", 0.2),): 1,
        (("price", 0.1),): 2,
        (("price", 0.0),): 3,
        (("most", 2),): 2,
        (("price", 0.1), ("most", 1)): 1,
        (("accuracy", 0.6), ("most", 1)): 1,
        (): 3,
    }
    for enough, count in counts.items():
        assert _stop(found, dict(enough))[0] == count, enough
    assert "accurate" in _stop(found, {"accuracy": 0.8})[1] and "price" in _stop(found, {"price": 0.2})[1]
    assert "allowed" in _stop(found, {"most": 1})[1] and "nobody is left" in _stop(found, {})[1]


@pytest.mark.parametrize(
    ("enough", "sentence"),
    [
        ({"accuracy": 0.0}, "accuracy must be positive, not 0.0"),
        ({"accuracy": math.nan}, "accuracy must be positive"),
        ({"price": -0.1}, "price must be 0 or more, not -0.1"),
        ({"price": math.nan}, "price must be 0 or more"),
        ({"most": 0}, "most"),
    ],
)
def test_rules_that_cannot_be_are_refused(enough, sentence):
    with pytest.raises(InputError, match=sentence):
        _check(enough)


def estimate(team, scaling=None):
    found = fuse(PRIOR, answers_of(jnp.full((4, 2), 0.7)), jnp.asarray(taking_part(4, team)))
    scaling = cf.Scaling(jnp.zeros(2), jnp.ones(2)) if scaling is None else scaling
    return dataclasses.replace(found.in_own_units(scaling, Names(("x", "y")), None), asking=set_by_hand())


def test_an_estimate_ranks_who_has_not_answered():
    found = estimate([1])
    assert [agent for agent, _ in found.ranked_agents()] == [0, 2, 3] and found.next_agent() == 0
    assert [agent for agent, _ in found.ranked_agents(among=[3, 1, 2])] == [2, 3] and found.next_agent([3]) == 3
    for agent, decrease in found.ranked_agents():
        fall = found.variance.sum() - estimate([1, agent]).variance.sum()
        assert decrease == pytest.approx(float(fall), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("team", [team for team in TEAMS if 0 < len(team) < 4])
def test_nobody_is_named_who_took_part_whatever_the_order(team):
    named = {estimate(order).next_agent() for order in itertools.permutations(team)}
    assert len(named) == 1 and not named & set(team)


def test_units_change_nothing():
    scaled = cf.Scaling(jnp.array([-10.0, 5.0]), jnp.array([90.0, 5.5]))
    np.testing.assert_allclose(estimate([2], scaled).expected_decreases, estimate([2]).expected_decreases, rtol=1e-4)


def test_who_was_left_out_has_been_asked():
    found = estimate([1])
    left = Doubts(jnp.zeros(4), jnp.zeros(4, jnp.int32), jnp.ones(()), jnp.zeros(4, bool), mask((0,)))
    found = eqx.tree_at(lambda e: e.doubts, found, left, is_leaf=lambda leaf: leaf is None)
    assert found.next_agent() == 2 and found.expected_decreases[0] == 0.0


def test_what_an_estimate_cannot_say_is_told():
    with pytest.raises(InputError, match="have answered already"):
        estimate([0, 1, 2, 3]).next_agent()
    with pytest.raises(InputError, match="have answered already"):
        estimate([1]).next_agent(among=[1])
    with pytest.raises(InputError, match="among names agent 4"):
        estimate([1]).ranked_agents(among=[4])
    many = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), eqx.filter(estimate([1]), eqx.is_array))
    asking = estimate([1]).asking
    many = eqx.tree_at(lambda e: (e.asking, e.scaling), many, (asking, estimate([1]).scaling))
    assert many.expected_decreases.shape == (2, 4)
    with pytest.raises(InputError, match="of one estimate"):
        many.next_agent()
    with pytest.raises(InputError, match="--resume --next-agent"):
        fuse(PRIOR, answers_of(jnp.full((4, 2), 0.7)), mask((1,))).next_agent()
