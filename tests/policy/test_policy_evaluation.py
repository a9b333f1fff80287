"""Policies are worth what whole episodes give; agents are certain exactly where their exact belief has one state."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counter_world import CounterWorld
from teams import ideal_sensors

import composite_flow as cf
from composite_flow import cli
from composite_flow.belief import BeliefModel
from composite_flow.data.scaling import Scaling
from composite_flow.denoiser import Fixed
from composite_flow.errors import InputError, MismatchError
from composite_flow.history import History, HistoryLayout
from composite_flow.metrics import clopper_pearson
from composite_flow.model import Model
from composite_flow.policy import evaluation
from composite_flow.policy.config import InferenceConfig
from composite_flow.policy.mappo import new_networks, team_of
from composite_flow.policy.saving import save_policy
from composite_flow.policy.sequence_network import SequenceNetwork
from composite_flow.policy.setup import prepare
from composite_flow.policy.team import decide, fresh_memory
from composite_flow.policy.trained import TrainedPolicy, team_that_acts
from composite_flow.problems import SMAX, SensorNetwork
from composite_flow.problems.smax_sight import OtherSight

pytestmark = pytest.mark.slow

LENGTH, SAMPLES = 3, 64
SMALL = {"memory": "none", "width": 8, "depth": 1}
# one program each, instead of one for every operation
drawn_networks = eqx.filter_jit(new_networks)


class WonWorld(CounterWorld):
    """Won where the number that the episode drew is even; it has one step less."""

    def won(self, world):
        return world[1] % 2 == 0


class ReadsLength(SequenceNetwork):
    """Takes the action (drawn number − 3), from 0 to 2; the drawn number is the second column of its input."""

    def step(self, memory, inputs):
        wanted = jnp.clip(inputs[1] - 3.0, 0.0, 2.0)
        return memory, -((jnp.arange(4, dtype=jnp.float32) - wanted) ** 2)


class Counting(SensorNetwork):
    """Sensors that never miss; the reward is the number of agents whose exact belief has one state.

    A world also holds what the agents saw in the last steps.
    """

    def reset(self, key):
        empty = jnp.zeros((self.num_agents, LENGTH, self.observation_size))
        return super().reset(key), empty, jnp.zeros((self.num_agents, LENGTH), bool)

    def step(self, key, world, actions):
        windows = self.windows(world)
        inner, _, over = super().step(key, world[0], actions)
        consistent = self.beliefs(world) > -jnp.inf
        certain = jnp.sum(jnp.sum(consistent, axis=1) == 1)
        return (inner, windows.observations, windows.mask), certain.astype(jnp.float32), over

    def observe(self, key, world):
        return super().observe(key, world[0])

    def state(self, world):
        return super().state(world[0] if isinstance(world, tuple) else world)

    def windows(self, world):
        """Each agent's history that ends now."""
        now = self.observe(jax.random.key(0), world)[:, None]
        observations = jnp.concatenate([world[1], now], axis=1)[:, 1:]
        mask = jnp.concatenate([world[2], jnp.ones((self.num_agents, 1), bool)], axis=1)[:, 1:]
        return History(observations, jnp.zeros((self.num_agents, LENGTH - 1), jnp.int32), mask, jnp.arange(4))

    def beliefs(self, world):
        """log p(s | τ_i) of every agent and state."""
        return jax.vmap(belief_model(self))(self.windows(world))


def belief_model(problem):
    layout = HistoryLayout(LENGTH, problem.observation_size, problem.num_actions, problem.num_agents)
    return BeliefModel(problem, layout)


def sensors():
    return Counting.two_by_two(num_steps=6)


def known_level():
    """The ideal denoiser at a known level of noise, which is much smaller as a program."""
    return cf.IdealDenoiser(belief_model(SensorNetwork.two_by_two()), Fixed(0.3))


def untrained(problem, kind, denoiser=None, own_observation=True, **inference):
    """A team whose networks were drawn; where it infers, by a denoiser of the 2×2 sensors, the ideal one by default."""
    key, model = jax.random.key(1), None
    layout = HistoryLayout(LENGTH, problem.observation_size, problem.num_actions, problem.num_agents)
    if inference:
        denoiser = denoiser or cf.IdealDenoiser(belief_model(SensorNetwork.two_by_two()))
        layout = denoiser.belief.layout if isinstance(denoiser, cf.IdealDenoiser) else layout
        parts = {"radius": None, "curves": (), "state_names": problem.state_names, "description": {}}
        model = Model(denoiser, layout, Scaling.identity(problem.state_size), **parts)
    fixed = InferenceConfig(history=layout.length, denoiser_updates=0.0, **inference)
    config = cf.MappoConfig(inputs=kind, own_observation=own_observation, **SMALL, inference=fixed)
    setup = prepare(problem, config, key, model)
    team = team_that_acts(team_of(setup, drawn_networks(problem, config, key, setup.inputs), None))
    return TrainedPolicy(team, problem.num_agents, problem.num_actions, problem.observation_size)


def always(action, policy):
    """The policy with one action likelier than all others, greedy."""
    bias = 100.0 * jax.nn.one_hot(action, policy.num_actions)
    return dataclasses.replace(
        eqx.tree_at(lambda p: p.team.networks.actor.head.bias, policy, bias),
        greedy=True,
    )


def test_each_first_episode_counts_once(key, monkeypatch):
    problem = WonWorld()
    drawing = untrained(problem, "agent")
    policy = always(2, drawing)
    monkeypatch.setattr(evaluation, "MOST_WORLDS", 60)
    told = []
    found = cf.evaluate_policy(
        problem, policy, key=key, num_episodes=200, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(50, 200), (100, 200), (150, 200), (200, 200)]
    np.testing.assert_array_equal(found.returns, 3 * 2 * found.lengths)
    np.testing.assert_array_equal(found.wins, found.lengths % 2)
    # evenly from 1 to 5, standard deviation √2; the mean over all episodes of a fixed time would be 11/5
    assert set(found.lengths) == {1, 2, 3, 4, 5} and abs(found.lengths.mean() - 3) < 4 * np.sqrt(2 / 200)
    assert (found.psnr, found.certain, found.right_when_certain) == (None, None, None)
    assert (found.messages, found.message_bytes) == (0, 0)
    # another policy meets the same episodes, however many of them there are
    drawn = cf.evaluate_policy(problem, drawing, key=key, num_episodes=99)
    np.testing.assert_array_equal(drawn.lengths, found.lengths[:99])
    assert (drawn.returns != found.returns[:99]).any()


def test_summary_tells_means_and_intervals():
    returns, wins = np.array([1.0, 3.0, 2.0, 2.0], np.float32), np.array([1.0, 0.0, 0.0, 0.0], np.float32)
    found = evaluation.PolicyEvaluation(returns, wins, np.array([4, 4, 4, 4]), None, None, None, 0.0, 0.0).summary()
    # standard error √(2/3) / 2
    np.testing.assert_allclose(found["return_interval"], 2 + 1.96 * np.sqrt(2 / 3) / 2 * np.array([-1, 1]), rtol=1e-4)
    assert (found["episodes"], found["return"], found["length_interval"]) == (4, 2.0, (4.0, 4.0))
    assert (found["win_rate"], found["win_rate_interval"]) == (0.25, clopper_pearson(1, 4))
    assert json.loads(json.dumps(found))["win_rate"] == 0.25


def test_the_true_state_is_shown_to_who_needs_it(key):
    problem, policy = CounterWorld(), untrained(CounterWorld(), "state", own_observation=False)
    actor = eqx.filter_jit(lambda key: ReadsLength(5, 4, 4, 1, "none", 1.0, key=key))(key)
    policy = eqx.tree_at(lambda p: p.team.networks.actor, dataclasses.replace(policy, greedy=True), actor)
    found = cf.evaluate_policy(problem, policy, key=key, num_episodes=30)
    np.testing.assert_array_equal(found.returns, 3 * found.lengths * np.clip(found.lengths - 2, 0, 2))
    assert found.wins is None
    with pytest.raises(InputError, match="true state"):
        policy.act(key, policy.start(3), jnp.zeros((3, 3)), jnp.ones((3, 4), bool))


def test_agents_are_certain_where_their_exact_belief_has_one_state(key):
    """The reward counts them: by the Bayes filter over what the world itself keeps."""
    problem, policy = sensors(), untrained(sensors(), "denoised", calls=4)
    found = cf.evaluate_policy(problem, policy, key=key, num_episodes=50, num_samples=SAMPLES)
    exact = found.returns.sum() / (found.lengths.sum() * problem.num_agents)
    assert 0.3 < exact < 0.9
    # both are ratios of the same integers
    assert found.certain == pytest.approx(exact, abs=1e-7)
    assert found.right_when_certain == 1.0
    assert (found.lengths == 6).all() and found.messages == 0


def test_denoised_shows_the_state_to_those_who_are_certain(key):
    problem, policy = sensors(), untrained(sensors(), "denoised", known_level(), calls=4)

    @eqx.filter_jit
    @jax.vmap
    def play(key):
        def step(carry, key_step):
            world, memory = carry
            key_act, key_world = jax.random.split(key_step)
            views, available = problem.observe(key_act, world), problem.available(world[0])
            memory, decision = decide(policy.team, key_act, memory, views, available)
            certain = jnp.sum(problem.beliefs(world) > -jnp.inf, axis=1) == 1
            told = certain, decision.samples, decision.inputs, problem.state(world)
            return (problem.step(key_world, world, decision.actions)[0], memory), told

        start = problem.reset(key), fresh_memory(policy.team, problem.num_agents)
        return jax.lax.scan(step, start, jax.random.split(key, 6))[1]

    certain, samples, inputs, states = map(np.asarray, play(jax.random.split(key, 30)))
    errors = np.abs(samples[..., 0, :] - states[..., None, :]).max(axis=-1)
    assert errors[certain].max() < 1e-3 and (errors[~certain] > 0.5).any()
    shown = inputs[..., problem.observation_size : problem.observation_size + problem.state_size]
    np.testing.assert_allclose(shown[certain], np.broadcast_to(states[:, :, None], shown.shape)[certain], atol=1e-3)


def test_lost_messages_change_what_a_team_infers(key):
    problem = SensorNetwork.two_by_two(num_steps=6)
    policy = untrained(problem, "composite", ideal_sensors(problem, Fixed(0.3)), calls=3)
    options = {"key": key, "num_episodes": 20, "num_samples": 0}
    whole, half = (cf.evaluate_policy(problem, policy, lost=lost, **options) for lost in (0.0, 0.5))
    again = cf.evaluate_policy(problem, policy, **options)
    assert whole.psnr == again.psnr > half.psnr + 3
    assert (whole.certain, whole.right_when_certain) == (None, None)
    # three hops of each of four agents, with a state of four numbers of four bytes
    assert (whole.messages, whole.message_bytes) == (half.messages, half.message_bytes) == (12, 12 * 16)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"lost": 0.5}, "sends no messages"),
        ({"lost": 1.0}, "must lie in"),
        ({"lost": float("nan")}, "must lie in"),
        ({"num_episodes": 0}, "at least 1"),
        ({"num_samples": -1}, "not be negative"),
        ({"certain_radius": 0.0}, "above 0"),
    ],
)
def test_numbers_out_of_range_are_refused(options, sentence, key):
    problem = sensors()
    with pytest.raises(InputError, match=sentence):
        cf.evaluate_policy(problem, untrained(problem, "denoised", calls=1), key=key, **options)


def test_problems_of_other_sizes_are_refused(key):
    policy = untrained(sensors(), "denoised", calls=1)
    with pytest.raises(MismatchError, match="num_agents"):
        cf.evaluate_policy(SensorNetwork.grid(2, 3), policy, key=key)
    # four sensors with two places each, but five areas
    line = np.eye(4, 5, dtype=bool) | np.eye(4, 5, 1, dtype=bool)
    with pytest.raises(MismatchError, match="number of features"):
        cf.evaluate_policy(SensorNetwork(line), policy, key=key)


def test_another_sight_is_told_in_the_units_of_training(key):
    trained = SMAX("zerg_2_vs_3", sight=9.0, num_steps=5)
    other = OtherSight(trained, 4.0)

    # a start takes long to compile, and only the units count here
    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(trained.reset, key))
    positions = jax.random.uniform(key, (64, 5, 2), minval=10.0, maxval=20.0)
    types = jnp.tile(jnp.array([0, 1, 2, 3, 2], jnp.uint8)[None], (64, 1))

    @jax.jit
    @jax.vmap
    def seen(positions, types):
        units = blank.state.replace(unit_positions=positions, unit_types=types, unit_alive=jnp.ones(5, bool))
        world = blank.replace(state=units)
        near = other.seen.sees_units(other.state(world))
        return trained.observe(key, world), other.observe(key, world), near

    before, now, near = map(np.asarray, seen(positions, types))
    # each ally's rows tell of the other ally, then of three enemies, nine features each; then of itself
    units = np.stack([near[:, 0, [1, 2, 3, 4]], near[:, 1, [0, 2, 3, 4]]], axis=1)
    expected = before[..., :36].reshape(64, 2, 4, 9) * units[..., None]
    np.testing.assert_allclose(now[..., :36].reshape(64, 2, 4, 9), expected, atol=1e-6)
    np.testing.assert_array_equal(now[..., 36:], before[..., 36:])
    assert 0 < units.mean() < 0.8
    with pytest.raises(InputError, match="above 0"):
        OtherSight(trained, -1.0)


def saved(folder, problem, policy):
    """The folder of a run that ended with this policy."""
    folder.mkdir()
    save_policy(folder, policy, problem, cf.MappoConfig(**SMALL), {"training": {"problem": problem.description}})
    return folder


def call(capsys, *arguments):
    """One command with --json: its exit code, the object that it printed, and what it said."""
    code = cli.main([str(argument) for argument in arguments] + ["--json"])
    printed = capsys.readouterr()
    return code, json.loads(printed.out) if code == 0 else None, printed.err


def test_command_evaluates_a_run(tmp_path, capsys):
    problem, out = cf.problem_from_text("sensor:2x2,steps=4"), tmp_path / "result.json"
    layout = belief_model(problem).layout
    denoiser = eqx.filter_jit(lambda key: cf.Network(layout, problem.state_size, 8, 1, key=key))(jax.random.key(0))
    run = saved(tmp_path / "run", problem, untrained(problem, "denoised", denoiser, calls=1))
    smax = SMAX("zerg_2_vs_3", num_steps=5)
    battle = saved(tmp_path / "battle", smax, untrained(smax, "agent"))
    code, result, told = call(capsys, "evaluate-policy", run, "--episodes", 8, "--samples", 2, "--greedy", "--out", out)
    assert code == 0, told
    policy = cf.load_policy(run, greedy=True)
    found = cf.evaluate_policy(problem, policy, key=jax.random.key(0), num_episodes=8, num_samples=2)
    assert result == json.loads(out.read_text()) == {**result, **json.loads(json.dumps(found.summary()))}
    assert (result["inputs"], result["greedy"], result["length"]) == ("denoised", True, 4.0)

    for arguments, sentence in (
        ((run, "--out", out), "already exists"),
        ((run, "--sight", "4"), "--sight is for SMAX"),
        ((battle, "--sight", "0"), "above 0"),
        ((run, "--lost", "0.5"), "sends no messages"),
        ((run, "--episodes", "0"), "at least 1"),
        ((tmp_path / "none",), "does not exist"),
    ):
        code, _, told = call(capsys, "evaluate-policy", *arguments)
        assert code == 1 and sentence in told and told.strip().count("Error") == 1, told
