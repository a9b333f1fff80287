"""Messages that the policy's gradient teaches: who hears them, what they cost, and that the gradient comes through."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow.errors import InputError
from composite_flow.policy.config import InferenceConfig
from composite_flow.policy.evaluation import evaluate_policy
from composite_flow.policy.mappo import _actor_loss, _lesson, new_learner, team_of
from composite_flow.policy.rollout import play, state_value
from composite_flow.policy.setup import prepare
from composite_flow.policy.team import decide, fresh_memory
from composite_flow.policy.window import fresh_window, with_actions, with_observations

pytestmark = pytest.mark.slow

PROBLEM = cf.problem_from_text("sensor:2x2,targets=1,steps=4")
CONFIG = cf.MappoConfig(
    inputs="learned-messages", steps=640, memory="none", width=16, depth=1, worlds=8, rollout=8, piece=4,
    checkpoint_seconds=0.0, inference=InferenceConfig(history=2),
)  # fmt: skip
OWN, AGENTS, AREAS = PROBLEM.observation_size, PROBLEM.num_agents, PROBLEM.state_size


@pytest.fixture(scope="module")
def acting():
    """A team before it learns, and its setup."""
    setup = prepare(PROBLEM, CONFIG, jax.random.key(0))
    learner = new_learner(PROBLEM, CONFIG, setup, jax.random.key(1))
    # a larger last layer than the one that makes all actions about equally likely
    learner = eqx.tree_at(lambda all_: all_.networks.actor.actor.head.weight, learner, replace_fn=lambda w: 100 * w)
    return setup, learner, team_of(setup, learner.networks, None)


def test_the_window_is_the_history_that_data_have(key):
    episodes = cf.collect(PROBLEM, 1, key=key)
    dataset = cf.HistoryDataset(episodes, 3)
    window, found = fresh_window(dataset.layout), []
    for seen, done in zip(episodes.observations, episodes.actions, strict=True):
        window = with_observations(window, jnp.asarray(seen, jnp.float32))
        found.append(dataset.layout.encode(window))
        window = with_actions(window, jnp.asarray(done, jnp.int32))
    np.testing.assert_array_equal(np.stack(found), dataset.joint(np.arange(len(found))).histories)


def test_what_an_agent_tells_changes_what_all_hear_and_nothing_else(acting, key):
    """A history changes the mean message alone, by the n-th part of what its own message changes."""
    _, _, team = acting
    actor = team.networks.actor
    inputs = jax.random.uniform(key, (AGENTS, team.inputs.size(PROBLEM)))
    histories = slice(OWN, OWN + team.inputs.talk.layout.size)
    told = inputs.at[1, histories].add(1.0)
    before, after = actor.heard(inputs), actor.heard(told)
    message = slice(OWN, OWN + AREAS)
    rest = np.r_[0:OWN, OWN + AREAS : before.shape[1]]
    np.testing.assert_array_equal(after[:, rest], before[:, rest])
    np.testing.assert_array_equal(before[:, rest], inputs[:, np.r_[0:OWN, histories.stop : inputs.shape[1]]])
    said = [actor.speaker.step(jnp.zeros(0), one[1, histories])[1] for one in (inputs, told)]
    expected = jnp.broadcast_to(((said[1] - said[0]) / AGENTS)[None], (AGENTS, AREAS))
    np.testing.assert_allclose(after[:, message] - before[:, message], expected, atol=1e-6)
    assert np.abs(expected).max() > 1e-3
    seen = actor.heard(inputs.at[1, :OWN].add(1.0))  # what is seen and not told is the agent's own
    np.testing.assert_array_equal(np.delete(seen, 1, axis=0), np.delete(before, 1, axis=0))


def test_others_act_otherwise_after_what_an_agent_has_seen(acting, key):
    """π of agent 0, which sees nothing new itself, follows the observation that agent 3 tells of."""
    _, _, team = acting
    memory, available = fresh_memory(team, AGENTS), PROBLEM.available(PROBLEM.reset(key))
    observations = jnp.zeros((AGENTS, OWN))

    def logits(observations):
        inputs = decide(team, key, memory, observations, available)[1].inputs
        return jax.vmap(team.networks.actor.step)(memory.actor, team.networks.actor.heard(inputs))[1][0]

    assert np.abs(logits(observations.at[3].set(1.0)) - logits(observations)).max() > 1e-3
    kept, decision = decide(team, key, memory, observations.at[3].set(1.0), available)
    np.testing.assert_array_equal(kept.window.observations[:, -1], observations.at[3].set(1.0))
    np.testing.assert_array_equal(kept.window.actions[:, -1], decision.actions)


def test_the_policys_gradient_reaches_the_speaker(acting, key):
    """The loss on what was played, as learning sees it: ratios are 1 before the first step, the gradient is not 0."""
    _, learner, team = acting
    live, pieces, _ = play(PROBLEM, team, learner.live, key, CONFIG.rollout, 1)  # without a memory a piece is one step
    next_values = jax.vmap(lambda one: state_value(PROBLEM, team, one))(live)
    lesson = _lesson(CONFIG, pieces, next_values, learner.value_norm)
    gradient, told = eqx.filter_grad(_actor_loss, has_aux=True)(team.networks.actor, lesson, CONFIG)
    assert float(told[2]) < 1e-10  # KL from the policy that played: it heard the same
    assert all(float(jnp.abs(layer.weight).max()) > 1e-6 for layer in (*gradient.speaker.layers, gradient.speaker.head))


def test_a_run_is_saved_and_acts_the_same(tmp_path, key):
    """Its messages are counted: a sum that goes round and then to all, of as many numbers as the state has."""
    whole = cf.train_policy(PROBLEM, CONFIG, key=key, folder=tmp_path)
    loaded = cf.load_policy(tmp_path)
    found = [evaluate_policy(PROBLEM, one, key=key, num_episodes=8) for one in (whole.policy, loaded)]
    np.testing.assert_array_equal(found[0].returns, found[1].returns)
    assert (found[0].messages, found[0].message_bytes) == (2 * (AGENTS - 1), 2 * (AGENTS - 1) * 4 * AREAS)
    assert found[0].psnr is None and whole.curves[-1]["psnr"] is None
    with pytest.raises(InputError, match="no message is ever lost"):
        prepare(PROBLEM, dataclasses.replace(CONFIG, inference=InferenceConfig(lost=0.1)), key)
    with pytest.raises(InputError, match="loses no message"):
        evaluate_policy(PROBLEM, loaded, key=key, num_episodes=8, lost=0.1)


def test_with_a_memory_too(key):
    config = dataclasses.replace(CONFIG, memory="gru", steps=128)
    assert cf.train_policy(PROBLEM, config, key=key).policy.actor.actor.cell is not None
