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
from composite_flow.certificate.verdict import Names, Verdict
from composite_flow.data.scaling import Scaling
from composite_flow.denoiser import NoDenoiser
from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answer, Prior
from composite_flow.fusion.contradictions import discrepancies, doubts_of
from composite_flow.fusion.doubts import NUM_CHECKS, Watch
from composite_flow.fusion.familiar import Familiar
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.trust.measure import calibrate_answers
from composite_flow.fusion.trust.usual import measure_watch
from composite_flow.training.familiarity import learn_watch


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


def watch_of(answers, train, others, calibration):
    """What is usual, with histories as they are in `train`."""
    known = learn_watch(answers, train, 0, key=jax.random.key(0), num_bytes=10**9)
    return measure_watch(answers, known, others, calibration)


@pytest.fixture(scope="module")
def watch():
    data = (played(300, jax.random.key(key)) for key in (7, 1))
    return watch_of(seeing(4.0), *data, played(600, jax.random.key(2)))


def doubts_at(answers, data, watch, level, team=None, leave_out=True):
    """Of every step of the data."""
    team = jnp.ones(AGENTS, bool) if team is None else team
    histories = data.joint(np.asarray(data.steps)).histories
    return doubts_of_each(answers, watch, histories, team, watch.bound(level), leave_out)


@eqx.filter_jit
def doubts_of_each(answers, watch, histories, team, bound, leave_out):
    def of_step(joint):
        told = answers.answer_each(joint)
        return doubts_of(watch, answers.prior, told, joint, team, bound, leave_out=leave_out)

    return jax.vmap(of_step)(histories)


def shifted(data, agent, by):
    """The same episodes, where one agent observes more than there is."""
    moved = data.windows.observations.at[:, agent].add(by)
    return eqx.tree_at(lambda d: d.windows.observations, data, moved)


def test_sound_teams_are_doubted_as_rarely_as_stated_although_claims_are_wrong(watch):
    found = doubts_at(seeing(4.0), played(1000, jax.random.key(3)), watch, 0.9)
    assert np.mean(np.any(found.left_out, axis=1)) == pytest.approx(0.1, abs=0.02)
    assert np.mean(np.any(found.in_doubt, axis=1)) < 0.01  # three who contradict each other, of whom two are left
    kept = doubts_at(seeing(4.0), played(1000, jax.random.key(3)), watch, 0.9, leave_out=False)
    np.testing.assert_array_equal(kept.values, found.values)
    assert not np.any(kept.left_out) and np.mean(np.any(kept.in_doubt, axis=1)) == pytest.approx(0.1, abs=0.02)


def contradicting(watch):
    """The same watch, for which every history is familiar."""
    return eqx.tree_at(lambda w: w.scale, watch, watch.scale.at[-NUM_CHECKS:].set(1e9))


def test_a_broken_agent_is_named_and_left_out(watch):
    answers, data = seeing(4.0), shifted(played(200, jax.random.key(4)), 1, 12.0 * NOISE)
    found = doubts_at(answers, data, watch, 0.99)
    assert np.mean(found.left_out[:, 1]) > 0.95 and np.mean(found.left_out[:, [0, 2]]) < 0.02
    assert np.mean(found.values[:, 1] > watch.bound(0.99)) > 0.95 and np.mean(found.in_doubt[:, [0, 2]]) < 0.02
    # of two nobody can say by what they say which one is wrong
    pair, blind = jnp.array([True, True, False]), contradicting(watch)
    two = doubts_at(answers, data, blind, 0.99, pair)
    assert not np.any(two.suspects) and np.mean(two.values[:, :2] > watch.bound(0.99)) > 0.9
    np.testing.assert_array_equal(two.place[:, 1], 0)


def test_an_unfamiliar_history_is_left_out_also_of_two_but_never_all_of_them(watch):
    """A hundred times what there is to see: by its history alone, whatever the others say."""
    answers, data, pair = seeing(4.0), shifted(played(50, jax.random.key(4)), 1, 300.0), jnp.array([True, True, False])
    found = doubts_at(answers, data, watch, 0.99, pair)
    np.testing.assert_array_equal(found.left_out, np.tile([False, True, False], (200, 1)))
    assert {jax.tree.map(lambda leaf, k=k: leaf[k], found).reason(1, 2) for k in range(200)} <= {"outside", "far"}
    everyone = shifted(shifted(data, 0, 300.0), 2, 300.0)
    np.testing.assert_array_equal(doubts_at(answers, everyone, watch, 0.99).left_out, False)
    assert np.all(doubts_at(answers, everyone, watch, 0.99).in_doubt)


def test_who_holds_no_number_is_left_out_and_all_others_are_judged_without_it(watch):
    answers, data = seeing(4.0), played(50, jax.random.key(4))
    broken = shifted(data, 1, jnp.nan)
    found, others = doubts_at(answers, broken, watch, 0.99), jnp.array([True, False, True])
    assert np.all(found.left_out[:, 1]) and np.all(np.isinf(found.values[:, 1]))
    alone = doubts_at(answers, data, watch, 0.99, others)
    np.testing.assert_allclose(found.values[:, [0, 2]], alone.values[:, [0, 2]], rtol=1e-5)
    one = jax.tree.map(lambda leaf: leaf[0], found)
    assert one.in_words(Names(("x", "coin"))) == ["agent 1 has a history that holds what is no number: left out"]


def test_who_contradicts_two_is_left_out_and_not_one_of_them():
    """Agents 0 and 1 tell of x, 1 and 2 of y. In x doubt is largest and the same for 0 and 1; without 1 all is well."""
    prior = Prior(jnp.zeros(2), jnp.ones(2), FeatureTypes((), (), 2))
    means, weight = jnp.array([[0.0, 0.0], [3.0, 2.0], [0.0, 0.0]]), jnp.array([[99.0, 0.0], [99.0, 99.0], [0.0, 99.0]])
    each = Answer(means * weight, weight, weight, jnp.zeros((3, 0)))
    usual = Familiar(jnp.zeros(1), jnp.ones(1), jnp.zeros(1), jnp.ones((1, 1)), jnp.ones(1), jnp.ones(()))
    watch, histories = Watch.unmeasured(usual, 2), jnp.zeros((3, 4))
    found = doubts_of(watch, prior, each, histories, jnp.ones(3, bool), 10.0, leave_out=True)
    x, y = 9 * 0.99**2 / 0.0198, 4 * 0.99**2 / 0.0198  # both claim the variance 0.01, and contain the prior
    np.testing.assert_allclose(found.values, [0.0, x, 0.0], rtol=1e-4)  # nobody else tells of x, or of y
    assert found.place.tolist()[1] == 0 and found.left_out.tolist() == [False, True, False]
    np.testing.assert_allclose(discrepancies(prior, each, jnp.ones(3, bool))[[0, 2], [0, 1]], [x, y], rtol=1e-4)


def model_of(answers, watch, data, calibration=None):
    """A model whose answers are these exact ones."""
    layout, means = data.layout, jnp.zeros((AGENTS, data.layout.size))
    limits = jnp.zeros(layout.size), jnp.ones(layout.size)
    network = AnswerNetwork(means, limits, answers.prior, width=4, depth=1, key=jax.random.key(0))
    fusion = LearnedFusion(network, watch=watch, calibration=calibration)
    fusion = eqx.tree_at(lambda f: f.answers, fusion, answers)  # exact ones in its place
    scaling = Scaling(jnp.array([10.0, 0.0]), jnp.array([30.0, 1.0]))
    return cf.Model(NoDenoiser(2), layout, scaling, None, (), ("x", "coin"), {}, fusion)


def test_robust_fusion_tells_who_was_left_out_and_is_that_of_the_others(watch):
    answers, data = seeing(4.0), played(4, jax.random.key(4))
    histories = data.joint(np.asarray(data.steps[:1])).histories[0]
    model = model_of(answers, contradicting(watch), data)
    broken = histories.at[1, 0].add(100.0)
    robust, without = model.fuse(broken, robust=True), model.fuse(broken, participants=[0, 2])
    np.testing.assert_allclose(robust.mean, without.mean, rtol=1e-6)
    np.testing.assert_allclose(robust.variance, without.variance, rtol=1e-6)
    assert robust.participants.tolist() == [True, False, True] and int(robust.messages) == 2
    assert robust.doubts.left_out.tolist() == [False, True, False]
    assert robust.doubts.in_words(Names(("x", "coin"))) == [
        "agent 1 contradicts all others, most of all in x: left out"
    ]
    assert model.fuse(broken, robust=0.5).doubts.left_out.tolist()[1]
    with pytest.raises(InputError, match=r"were measured, not 0\.999"):
        model.fuse(broken, robust=0.999)
    sound = model.fuse(histories, robust=True)
    np.testing.assert_allclose(sound.mean, model.fuse(histories).mean, rtol=1e-6)
    assert sound.doubts.in_words(Names(("x", "coin"))) == [] and not np.any(model.fuse(histories).doubts.left_out)
    unmeasured = dataclasses.replace(model, fusion=eqx.tree_at(lambda f: f.watch, model.fusion, None))
    with pytest.raises(InputError, match="`calibrate`"):
        unmeasured.fuse(histories, robust=True)
    assert unmeasured.fuse(histories).doubts is None


def test_a_batch_is_checked_as_each_of_its_estimates_is(watch):
    answers, data = seeing(4.0), shifted(played(10, jax.random.key(4)), 1, 12.0 * NOISE)
    histories = data.joint(np.asarray(data.steps)).histories
    model = model_of(answers, watch, data)
    for robust in (False, True):
        batch = model.fuse_batch(histories, check=True, robust=robust)
        each = [model.fuse(one, robust=robust) for one in histories]
        for name in ("mean", "variance", "uncertainty", "accepted"):
            np.testing.assert_allclose(getattr(batch, name), [getattr(one, name) for one in each], rtol=1e-5)
        np.testing.assert_array_equal(batch.doubts.left_out, [one.doubts.left_out for one in each])
        assert [one.verdict.accepted for one in each] == batch.accepted.tolist()
        assert batch.verdicts([3, 0]) == [each[3].verdict, each[0].verdict]
    assert model.fuse_batch(histories).doubts is None


def test_a_verdict_names_what_is_wrong(watch):
    answers, data = seeing(4.0), played(400, jax.random.key(4))
    calibration = calibrate_answers(answers, data, key=jax.random.key(1))
    histories = data.joint(np.asarray(data.steps[:1])).histories[0]
    model = model_of(answers, watch, data, calibration)
    sound = model.fuse(histories).verdict
    assert sound == Verdict(True, "", (), "Accepted.")
    strange, lying = histories.at[1, 0].add(300.0), histories.at[1, 0].add(6.0)
    unlike = model.fuse(strange).verdict
    assert not unlike.accepted and unlike.reason == "unlike training" and unlike.agents == (1,)
    assert unlike.sentence.startswith("Abstained, unlike training: agent 1 has a history")
    called = dataclasses.replace(model, layout=dataclasses.replace(model.layout, agent_names=("red", "green", "blue")))
    named = called.fuse(strange).verdict
    assert (named.sentence, named.agents) == (unlike.sentence.replace("agent 1", "green"), (1,))
    assert called.fuse_batch(strange[None], check=True).verdicts([0]) == [named]
    without = model.fuse(strange, robust=True).verdict
    assert without.accepted and without.agents == (1,)
    assert without.sentence.startswith("Accepted; agent 1 has a history") and "left out" in without.sentence
    blind = model_of(answers, contradicting(watch), data, calibration)
    doubted = blind.fuse(lying).verdict
    assert doubted.reason == "sensors in doubt" and "contradicts all others, most of all in x" in doubted.sentence
    missing = model.fuse(histories.at[1, 0].set(jnp.nan))
    assert np.isnan(missing.mean).all() and not missing.verdict.accepted
    assert model.fuse(histories.at[1, 0].set(jnp.nan), robust=True).verdict.accepted
    narrow = eqx.tree_at(lambda c: c.width, calibration, calibration.width * 0.5)
    wide = model_of(answers, watch, data, narrow).fuse(histories).verdict
    assert wide.reason == "too wide" and wide.sentence.startswith("Abstained, too wide: an error of")
    with pytest.raises(InputError, match="of many ask `accepted`"):
        model.fuse_batch(histories[None], check=True).verdict  # noqa: B018
    with pytest.raises(InputError, match="calibrate the model"):
        model.fuse_batch(histories[None]).accepted  # noqa: B018


def test_few_calibration_episodes_give_a_lower_level_by_default_and_a_refusal_where_one_is_asked_for():
    few = watch_of(seeing(), *(played(20, jax.random.key(key)) for key in (7, 1, 2)))
    assert few.bound(0.95) > 0
    with pytest.raises(InputError, match="20 calibration episodes are too few to tell what 0.99 of them do"):
        few.bound(0.99)
    assert float(few.usual_bound) == few.bound(0.95)
    assert np.isinf(
        learn_watch(seeing(), played(9, jax.random.key(0)), 0, key=jax.random.key(0), num_bytes=10**9).usual_bound
    )


def test_a_new_place_gets_bounds_of_its_own_in_the_same_units(watch):
    """Where agents see twice as badly, what was usual before is exceeded often, and no more after calibration there."""
    answers, there = seeing(4.0), noisier(played(600, jax.random.key(8)))
    again = measure_watch(answers, watch, None, there)
    np.testing.assert_array_equal(again.scale, watch.scale)
    new = noisier(played(600, jax.random.key(9)))
    before, after = (np.mean(np.any(doubts_at(answers, new, one, 0.9).suspects, axis=1)) for one in (watch, again))
    assert before > 0.25 and after == pytest.approx(0.1, abs=0.03)


def noisier(data):
    """The same episodes, seen with three times the noise."""
    seen = data.windows.observations
    number = data.windows.states[:, None, :1]
    return eqx.tree_at(lambda d: d.windows.observations, data, number + 3.0 * (seen - number))
