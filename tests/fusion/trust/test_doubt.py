"""An agent that contradicts all others is named; sound ones are doubted as rarely as stated."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from seeing_team import AGENTS, NOISE, played, seeing

import composite_flow as cf
from composite_flow.data.scaling import Scaling
from composite_flow.denoiser import NoDenoiser
from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answer, Prior
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.trust.doubt import discrepancies, doubts_of, measure_gate


def answers_of(data, answers):
    histories = data.joint(np.asarray(data.steps)).histories
    return jax.vmap(answers.answer_each)(histories)


def test_discrepancies_of_sound_numbers_are_chi_square():
    """Also for a team of two, and for a prior that says as much as an agent."""
    answers, data = seeing(), played(3000, jax.random.key(0))
    each = answers_of(data, answers)
    for team in (jnp.ones(AGENTS, bool), jnp.array([True, True, False])):
        found = jax.vmap(lambda one, team=team: discrepancies(answers.prior, one, team))(each)
        values = np.asarray(found[::4, 0, 0])  # steps are independent here; one of each episode all the same
        assert stats.kstest(values, stats.chi2(1).cdf).pvalue > 0.01
        np.testing.assert_array_equal(found[:, ~np.asarray(team)], 0.0)
    alone = jax.vmap(lambda one: discrepancies(answers.prior, one, jnp.array([True, False, False])))(each)
    np.testing.assert_array_equal(alone, 0.0)


def test_choices_contradict_each_other_as_bayes_rule_says():
    """Two agents of a rare feature (1/10) and a group of three: −2 log of how much likelier both are together."""
    types = FeatureTypes((0,), ((1, 4),), 4)
    prior = Prior(jnp.array([0.1, 0.5, 0.25, 0.25]), jnp.ones(4), types)
    one, other = np.array([0.9, 0.8, 0.1, 0.1]), np.array([0.05, 0.1, 0.8, 0.1])

    def evidence(p):
        odds = np.log(p) - np.array([np.log1p(-p[0]), 0, 0, 0])
        return odds - np.asarray(prior.logits)

    nothing = jnp.zeros((2, 4))
    each = Answer(
        jnp.asarray(np.stack([evidence(one), evidence(other)]), jnp.float32), nothing, nothing, nothing[:, :0]
    )
    found = discrepancies(prior, each, jnp.ones(2, bool))
    binary = 0.9 * 0.05 / 0.1 + 0.1 * 0.95 / 0.9
    group = 0.8 * 0.1 / 0.5 + 0.1 * 0.8 / 0.25 + 0.1 * 0.1 / 0.25
    np.testing.assert_allclose(found, np.tile(-2 * np.log([binary, group, group, group]), (2, 1)), rtol=1e-4)
    agreeing = jax.tree.map(lambda part: jnp.broadcast_to(part[:1], part.shape), each)
    np.testing.assert_array_equal(discrepancies(prior, agreeing, jnp.ones(2, bool)), 0.0)


@pytest.fixture(scope="module")
def gate():
    return measure_gate(seeing(4.0), played(300, jax.random.key(1)), played(600, jax.random.key(2)))


def doubts_of_each(answers, each, team, gate, level):
    return jax.vmap(lambda one: doubts_of(answers.prior, one, team, gate.scale, gate.bound(level)))(each)


def test_sound_teams_are_doubted_as_rarely_as_stated_although_claims_are_wrong(gate):
    answers = seeing(4.0)
    each = answers_of(played(1000, jax.random.key(3)), answers)
    found = jax.vmap(lambda one: doubts_of(answers.prior, one, jnp.ones(AGENTS, bool), gate.scale, gate.bound(0.9)))(
        each
    )
    assert np.mean(np.max(found.values, axis=1) > gate.bound(0.9)) == pytest.approx(0.1, abs=0.02)
    assert np.mean(np.any(found.left_out, axis=1)) == pytest.approx(0.1, abs=0.02)


def test_a_broken_agent_is_named_and_left_out(gate):
    answers, data = seeing(4.0), played(200, jax.random.key(4))
    broken = eqx.tree_at(lambda d: d.windows.observations, data, data.windows.observations.at[:, 1].add(12.0 * NOISE))
    each = answers_of(broken, answers)
    found = jax.vmap(lambda one: doubts_of(answers.prior, one, jnp.ones(AGENTS, bool), gate.scale, gate.bound(0.99)))(
        each
    )
    assert np.mean(found.left_out[:, 1]) > 0.95 and np.mean(found.left_out[:, [0, 2]]) < 0.02
    assert np.mean(np.argmax(found.values, axis=1) == 1) > 0.95
    np.testing.assert_array_equal(found.feature[:, 1], 0)
    # of two nobody can say which one is wrong
    pair = jnp.array([True, True, False])
    two = doubts_of_each(answers, each, pair, gate, 0.99)
    assert not np.any(two.left_out) and np.mean(two.values[:, :2] > gate.bound(0.99)) > 0.9


def test_who_contradicts_two_is_left_out_and_not_one_of_them():
    """Agents 0 and 1 tell of x, 1 and 2 of y. In x doubt is largest and the same for 0 and 1; without 1 all is well."""
    prior = Prior(jnp.zeros(2), jnp.ones(2), FeatureTypes((), (), 2))
    means, weight = jnp.array([[0.0, 0.0], [3.0, 2.0], [0.0, 0.0]]), jnp.array([[99.0, 0.0], [99.0, 99.0], [0.0, 99.0]])
    each = Answer(means * weight, weight, weight, jnp.zeros((3, 0)))
    found = doubts_of(prior, each, jnp.ones(3, bool), jnp.ones(2), 10.0)
    x, y = 9 * 0.99**2 / 0.0198, 4 * 0.99**2 / 0.0198  # both claim the variance 0.01, and contain the prior
    np.testing.assert_allclose(found.values, [x, x, y], rtol=1e-4)
    assert found.feature.tolist() == [0, 0, 1] and found.left_out.tolist() == [False, True, False]


def test_robust_fusion_tells_who_was_left_out_and_is_that_of_the_others(gate):
    answers, data = seeing(4.0), played(4, jax.random.key(4))
    histories = data.joint(np.asarray(data.steps[:1])).histories[0]
    layout = data.layout
    limits = jnp.zeros(layout.size), jnp.ones(layout.size)
    means = jnp.zeros((AGENTS, layout.size))
    network = AnswerNetwork(means, limits, answers.prior, width=4, depth=1, key=jax.random.key(0))
    fusion = eqx.tree_at(lambda f: f.answers, LearnedFusion(network, gate=gate), answers)  # exact ones in its place
    scaling = Scaling(jnp.array([10.0, 0.0]), jnp.array([30.0, 1.0]))
    model = cf.Model(NoDenoiser(2), layout, scaling, None, (), ("x", "coin"), {}, fusion)
    broken = histories.at[1, 0].add(100.0)
    robust, without = model.fuse(broken, robust=True), model.fuse(broken, participants=[0, 2])
    np.testing.assert_allclose(robust.mean, without.mean, rtol=1e-6)
    np.testing.assert_allclose(robust.variance, without.variance, rtol=1e-6)
    assert robust.participants.tolist() == [True, False, True] and int(robust.messages) == 2
    assert robust.doubts.left_out.tolist() == [False, True, False]
    assert robust.doubts.in_words(("x", "coin")) == ["agent 1 contradicts all others, most of all in x: left out"]
    assert model.fuse(broken, robust=0.5).doubts.left_out.tolist()[1]
    with pytest.raises(InputError, match=r"were measured, not 0\.999"):
        model.fuse(broken, robust=0.999)
    sound = model.fuse(histories, robust=True)
    np.testing.assert_allclose(sound.mean, model.fuse(histories).mean, rtol=1e-6)
    assert sound.doubts.in_words(("x", "coin")) == [] and model.fuse(histories).doubts is None
    with pytest.raises(InputError, match="`calibrate`"):
        dataclasses.replace(model, fusion=LearnedFusion(network)).fuse(histories, robust=True)


def test_a_level_beyond_the_calibration_is_refused():
    few = measure_gate(seeing(), played(20, jax.random.key(1)), played(20, jax.random.key(2)))
    assert few.bound(0.95) > 0
    with pytest.raises(InputError, match="20 calibration episodes are too few to tell what 0.99 of them do"):
        few.bound(0.99)
