"""Inputs that weigh states of the team's joint posterior: as the model draws them, lost answers, files, refusals."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.errors import InputError, MismatchError
from composite_flow.policy.inference import Inference, fresh_recollection, infer
from composite_flow.policy.inputs import Known, policy_input
from composite_flow.policy.run import train_policy
from composite_flow.policy.setup import prepare
from composite_flow.policy.team_samples import heard_by_each, sampler_of

pytestmark = pytest.mark.slow

PROBLEM = cf.problem_from_text("sensor:2x2,targets=1,miss=0.3,steps=4")
SMALL = dict(steps=64, worlds=4, rollout=8, piece=4, width=8, memory="none", epochs=1)
CAUTIOUS = ("safe", "mean", "quantile", "cvar")


@pytest.fixture(scope="module")
def sampled_model():
    """A team denoiser after a few steps."""
    key = jax.random.key(0)
    train, validation, _ = cf.HistoryDataset(cf.collect(PROBLEM, 60, key=key)).split(key=key)
    settings = cf.TrainingConfig(learn="fusion", width=16, depth=2, batch=64, steps=150, learning_rate=5e-3)
    about = {"problem": PROBLEM.description}
    return cf.fit(train, validation, settings, key=key, progress=False, description=about)


def drawn(model, key, **options):
    """What the team draws in a first step, with the histories that it draws from."""
    sampler, observations = sampler_of(model), jnp.zeros((4, PROBLEM.observation_size))  # nobody sees a target
    inference = Inference(model.layout, model.scaling, 1, 5, team_answer=sampler.team.values_sent, **options)
    found = infer(inference, sampler, fresh_recollection(inference), observations, key)
    return found.y, model.layout.encode(found.window)


def test_all_agents_draw_what_the_model_draws_of_the_whole_team(sampled_model, key):
    samples, histories = drawn(sampled_model, key)
    key_samples, _ = jax.random.split(key)
    expected = sampled_model.sample(histories, 5, key=key_samples)
    for own in sampled_model.scaling.unscale(samples):
        np.testing.assert_allclose(own, expected, atol=1e-5)
    assert float(jnp.std(samples[0], axis=0).max()) > 0.05  # several states, not one


def test_who_hears_less_draws_from_what_it_heard(sampled_model, key):
    samples, histories = drawn(sampled_model, key, lost=0.6)
    key_samples, key_lost = jax.random.split(key)
    heard = np.asarray(heard_by_each(4, 0.6, key_lost))
    assert heard.diagonal().all() and 4 < heard.sum() < 16
    for agent in range(4):
        team = np.flatnonzero(heard[agent]).tolist()
        expected = sampled_model.sample(histories, 5, key=key_samples, participants=team)
        np.testing.assert_allclose(sampled_model.scaling.unscale(samples[agent]), expected, atol=1e-4)


def test_answers_are_lost_at_their_rate(key):
    heard = jnp.stack([heard_by_each(5, 0.3, k) for k in jax.random.split(key, 400)])
    off = ~np.eye(5, dtype=bool)
    assert float(heard[:, off].mean()) == pytest.approx(0.7, abs=0.03) and bool(heard[:, ~off].all())
    assert heard_by_each(5, 0.0, key).tolist() == [[True] * 5]


class Valued:
    """V(s) = −s_0 and Q(s, ·) = (s_0, 1 − s_0), known by hand."""

    def least_valued(self, samples):
        return samples[jnp.argmax(samples[:, 0])]

    def action_values(self, samples, _):
        return jnp.stack([samples[:, 0], 1.0 - samples[:, 0]], axis=1)


@pytest.mark.parametrize(
    ("kind", "shown"),
    [("safe", [4.0, 9.0]), ("mean", [2.5, -1.5]), ("quantile", [1.75, -2.25]), ("cvar", [1.5, -2.5])],
)
def test_by_hand_from_the_states_that_all_share(kind, shown):
    """s_0 of 1, 2, 3, 4, and nothing but these; half of them for CVaR, the quarter for the quantile."""
    states = jnp.array([[1.0, 6.0], [2.0, 7.0], [3.0, 8.0], [4.0, 9.0]])
    level = 0.5 if kind == "cvar" else 0.25
    known = Known(jnp.zeros((3, 2)), samples=jnp.broadcast_to(states, (3, 4, 2)), networks=Valued())
    found = policy_input(kind, level=level).shown(known)
    np.testing.assert_allclose(found, jnp.broadcast_to(jnp.array(shown), (3, 2)), rtol=1e-6)


@pytest.mark.parametrize("kind", CAUTIOUS)
def test_answers_told_to_all_are_counted(sampled_model, key, kind):
    setup = prepare(PROBLEM, cf.MappoConfig(inputs=kind, samples_of="team", **SMALL), key, sampled_model)
    inference = setup.inputs.inference
    team = sampled_model.fusion.team_denoiser
    assert inference.messages == 4 * 3 and inference.sends and inference.samples == 8
    assert inference.message_bytes == 4 * (4 + 4 + team.speaker.num_free)  # l, L and c
    assert inference.layout.length == 1 and setup.inputs.columns(PROBLEM) in (4, PROBLEM.num_actions)


def test_the_teams_samples_are_for_inputs_that_weigh_several_of_a_run_of_fusion(sampled_model, key):
    for kind in ("agent", "state", "denoised", "composite", "belief"):
        with pytest.raises(InputError, match=f"'{kind}' does not weigh several states"):
            cf.MappoConfig(inputs=kind, samples_of="team")
    config = cf.MappoConfig(inputs="cvar", samples_of="team", **SMALL)
    lacking = dataclasses.replace(sampled_model.fusion, team_denoiser=None)
    for model in (None, dataclasses.replace(sampled_model, fusion=None)):
        with pytest.raises(InputError, match="drawn by a team denoiser: give the folder of a run"):
            prepare(PROBLEM, config, key, model)
    with pytest.raises(InputError, match="drawn by a team denoiser"):
        prepare(PROBLEM, config, key, dataclasses.replace(sampled_model, fusion=lacking))
    with pytest.raises(MismatchError, match="another problem"):
        prepare(cf.problem_from_text("sensor:2x2,targets=1,miss=0.4,steps=4"), config, key, sampled_model)


@pytest.mark.parametrize("kind", ["safe", "cvar"])
def test_a_policy_on_the_teams_samples_comes_back_from_its_folder(sampled_model, key, tmp_path, kind):
    config = cf.MappoConfig(inputs=kind, samples_of="team", **SMALL)
    trained = train_policy(PROBLEM, config, key=key, denoiser=sampled_model, folder=tmp_path, progress=None)
    assert np.isfinite(trained.curves[-1]["psnr"])
    loaded = cf.load_policy(tmp_path)
    scores = [
        cf.evaluate_policy(PROBLEM, policy, key=key, num_episodes=8, lost=lost).summary()
        for policy, lost in ((trained.policy, 0.0), (loaded, 0.0), (loaded, 0.5))
    ]
    assert scores[0] == scores[1] and scores[0]["certain"] is None and scores[0]["messages"] == 12
    assert scores[2]["psnr"] != scores[0]["psnr"]
