"""What the actor sees: inferred states against plain flows, safe and distributional inputs against cases by hand."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow import cli
from composite_flow.composite.reconstruct import composite_flow
from composite_flow.data.scaling import Scaling
from composite_flow.errors import InputError, MismatchError
from composite_flow.history import HistoryLayout
from composite_flow.model import Model
from composite_flow.network import Network
from composite_flow.policy import inputs
from composite_flow.policy.config import InferenceConfig
from composite_flow.policy.inference import Inference, after_actions, fresh_recollection, infer
from composite_flow.policy.inputs import Known, input_names, policy_input
from composite_flow.policy.mappo import new_networks
from composite_flow.policy.run import TRAINING_FILE
from composite_flow.policy.setup import prepare
from composite_flow.policy.talking import talk_of

pytestmark = pytest.mark.slow

PROBLEM = cf.problem_from_text("sensor:2x2,steps=4")
INFERENCE = InferenceConfig(
    history=2, calls=2, samples=3, denoiser_width=16, denoiser_depth=2, denoiser_updates=0.05,
    denoiser_learning_rate=5e-3, replay=1000,
)  # fmt: skip
CONFIG = cf.MappoConfig(
    inputs="cvar", steps=5120, memory="none", width=16, depth=1, worlds=32, rollout=20, epochs=2,
    learning_rate=5e-3, checkpoint_seconds=0.0, inference=INFERENCE,
)  # fmt: skip


@pytest.fixture(scope="module")
def recorded():
    """Episodes of random actions, and the flow of a network along them, as a team would infer it."""
    episodes = cf.collect(PROBLEM, 3, key=jax.random.key(1), num_steps=4)
    dataset = cf.HistoryDataset(episodes, 3)
    network = Network(dataset.layout, PROBLEM.state_size, 16, 2, key=jax.random.key(2))
    # larger weights, so that one agent's answer is not nearly that of all
    return episodes, dataset, jax.tree.map(lambda weights: 2.0 * weights, network)


def inferring(dataset, **options):
    return Inference(dataset.layout, dataset.scaling, calls=2, **{"samples": 1, **options})


@eqx.filter_jit
def along(inference, network, observations, actions, keys):
    """Recollections after each step's observations of one episode."""

    def step(recollection, given):
        observations, actions, key = given
        recollection = infer(inference, network, recollection, observations, key)
        return after_actions(recollection, actions), recollection

    return jax.lax.scan(step, fresh_recollection(inference), (observations, actions, keys))[1]


def team_recollections(recorded, key, **options):
    """Of the second episode, with the flat histories that the dataset gives for its steps."""
    episodes, dataset, network = recorded
    steps = np.flatnonzero(np.asarray(episodes.episode_of_step) == 1)
    inference = inferring(dataset, **options)
    keys = jax.random.split(key, len(steps))
    observations = jnp.asarray(episodes.observations[steps], jnp.float32)
    found = along(inference, network, observations, jnp.asarray(episodes.actions[steps], jnp.int32), keys)
    return found, dataset.joint(steps).histories, network


def test_histories_grow_as_the_data_have_them(recorded, key):
    found, histories, _ = team_recollections(recorded, key)
    np.testing.assert_array_equal(recorded[1].layout.encode(found.window), histories)


def test_each_agent_alone_goes_on_from_its_own_estimate(recorded, key):
    found, histories, network = team_recollections(recorded, key, samples=2)
    contexts = jax.vmap(jax.vmap(network.condition))(histories)
    start = found.y[:-1]
    for _ in range(2):
        start = jax.vmap(jax.vmap(jax.vmap(network.denoise, (None, 0))))(
            jax.tree.map(lambda leaf: leaf[1:], contexts), start
        )
    np.testing.assert_allclose(found.y[1:], start, atol=1e-5)


def test_together_is_composite_diffusion_in_some_order(recorded, key):
    """The message after each step is that of the composite flow from the message before; agents keep what they sent."""
    found, histories, network = team_recollections(recorded, key, together=True)
    contexts = jax.vmap(network.condition)(histories[2])
    agents = list(range(4))
    orders = [np.array([*first, *second]) for first in _permutations(agents) for second in _permutations(agents)]
    paths = np.asarray(
        jax.vmap(composite_flow, (None, None, 0, None))(network, contexts, jnp.asarray(orders), found.message[1])
    )
    distances = np.abs(paths[:, -1] - np.asarray(found.message[2])).max(axis=1)
    fits = np.flatnonzero(distances < 1e-5)  # eight calls in float32, in another order of sums; other orders: over 1e-2
    assert len(fits) == 1, np.sort(distances)[:5]
    order, path = orders[fits[0]], paths[fits[0]]
    for place, agent in enumerate(order[4:]):
        np.testing.assert_allclose(found.y[2, agent, 0], path[5 + place], atol=1e-5)


def test_without_warm_starts_and_with_lost_messages(recorded, key):
    """Each step starts from noise; with all messages lost, agents are alone, each from its own y."""
    cold, _, _ = team_recollections(recorded, key, together=True, warm=False)
    lost, histories, network = team_recollections(recorded, key, together=True, lost=1.0)
    assert np.abs(cold.message[1] - team_recollections(recorded, key, together=True)[0].message[1]).max() > 1e-4
    contexts, y = jax.vmap(network.condition)(histories[1]), lost.y[0, :, 0]
    for _ in range(2):
        y = jax.vmap(network.denoise)(contexts, y)
    np.testing.assert_allclose(lost.y[1, :, 0], y, atol=1e-5)


def _permutations(agents):
    if len(agents) < 2:
        return [agents]
    return [[one, *rest] for one in agents for rest in _permutations([other for other in agents if other != one])]


def test_summaries_of_action_values_by_hand():
    values = jnp.array([[4.0, 0.0], [1.0, 2.0], [3.0, 8.0], [2.0, 6.0]])

    class Given(Known):
        """One agent's action values, as they are."""

        @property
        def action_values(self):
            return values[None]

    def shown(kind, level):
        return policy_input(kind, level=level).shown(Given(jnp.zeros((1, 1))))[0]

    np.testing.assert_allclose(shown("mean", 0.5), [2.5, 4.0])
    np.testing.assert_allclose(shown("quantile", 0.5), [2.5, 4.0])
    np.testing.assert_allclose(shown("quantile", 0.25), [1.75, 1.5])
    np.testing.assert_allclose(shown("cvar", 0.5), [1.5, 1.0])
    np.testing.assert_allclose(shown("cvar", 0.25), [1.0, 0.0])
    np.testing.assert_allclose(shown("cvar", 0.3), [1.5, 1.0])  # never less than the share that is asked


def test_the_least_valued_state_by_hand(key):
    networks = new_networks(PROBLEM, CONFIG, key)
    critic = networks.critic
    samples = jax.random.uniform(key, (7, PROBLEM.state_size))
    values = [float(critic.step(critic.fresh_memory(), state)[1][0]) for state in samples]
    np.testing.assert_array_equal(networks.least_valued(samples), samples[np.argmin(values)])


@pytest.mark.parametrize("kind", input_names())
def test_sizes_of_the_actors_input(kind):
    """Own observation (4 + 1 of a sensor), what is shown, agent."""
    observation, state, actions = PROBLEM.observation_size, PROBLEM.state_size, PROBLEM.num_actions
    talk = talk_of(PROBLEM, 2)
    shown = {"agent": 0, "observations": 4 * observation, "mean": actions, "quantile": actions, "cvar": actions}
    shown["learned-messages"] = talk.layout.size
    own = 0 if kind == "observations" else observation
    assert policy_input(kind, talk=talk).size(PROBLEM) == own + shown.get(kind, state) + 4
    kept = observation if kind == "agent" else 0
    assert policy_input(kind, own=False, talk=talk).size(PROBLEM) == kept + shown.get(kind, state) + 4


class FirstSample(cf.PolicyInput):
    """An input of one's own: half of a state drawn from the agent's own p̂."""

    infers = True

    def columns(self, problem):
        return problem.state_size

    def shown(self, known):
        assert known.histories.mask.shape == (4, 2) and known.denoiser is not None
        return known.samples[:, 0] / 2


def test_an_input_of_ones_own_is_a_class_and_a_name(key, monkeypatch):
    monkeypatch.setattr(inputs._INPUTS, "_registered", {})
    cf.register_policy_input("half", FirstSample)
    assert input_names()[-1] == "half"
    config = dataclasses.replace(CONFIG, inputs="half", steps=640)
    seen = cf.train_policy(PROBLEM, config, key=key).policy.team.inputs
    assert isinstance(seen, FirstSample) and seen.kind == "half" and seen.inference.samples == 1
    for name, given, sentence in (
        ("half", FirstSample, "'half' exists already"),
        ("agent", FirstSample, "'agent' exists already"),
        ("a:b", FirstSample, "use a letter"),
        ("other", HistoryLayout, "must be a subclass"),
    ):
        with pytest.raises(InputError, match=sentence):
            cf.register_policy_input(name, given)
    with pytest.raises(InputError, match="no input 'hope' of an actor: there are agent, .* cvar, half"):
        cf.MappoConfig(inputs="hope")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run whose denoiser learns along with it, in a folder."""
    folder = tmp_path_factory.mktemp("inputs") / "run"
    return folder, cf.train_policy(PROBLEM, CONFIG, key=jax.random.key(0), folder=folder)


def test_denoiser_learns_in_the_loop(trained):
    _, whole = trained
    assert whole.curves[-1]["denoiser_loss"] < whole.curves[0]["denoiser_loss"]
    assert whole.curves[-1]["psnr"] > whole.curves[0]["psnr"] + 1.0


def test_killed_and_resumed_equals_uninterrupted(trained, tmp_path):
    _, whole = trained

    class Killed(Exception):
        pass

    def kill(steps, total, rows):
        if steps > total / 3:
            raise Killed

    options = {"key": jax.random.key(0), "folder": tmp_path}
    with pytest.raises(Killed):
        cf.train_policy(PROBLEM, CONFIG, progress=kill, **options)
    assert (tmp_path / TRAINING_FILE).exists()
    other = dataclasses.replace(CONFIG, inference=dataclasses.replace(INFERENCE, calls=3))
    with pytest.raises(MismatchError, match="inference"):
        cf.train_policy(PROBLEM, other, resume=True, **options)
    resumed = cf.train_policy(PROBLEM, CONFIG, resume=True, **options)
    assert_same_arrays(resumed.policy, whole.policy)


def test_loaded_policy_acts_the_same(trained, key):
    """Actor, values and denoiser come from one folder, whose denoiser is a model like any other."""
    folder, whole = trained
    policies = whole.policy, cf.load_policy(folder)
    first, second = (cf.collect(PROBLEM, 16, key=key, policy=policy) for policy in policies)
    np.testing.assert_array_equal(first.actions, second.actions)
    assert first.policy == second.policy and first.policy["inputs"] == "cvar"
    assert_same_arrays(cf.load(folder).denoiser, whole.policy.team.denoiser)


def assert_same_arrays(first, second):
    jax.tree.map(np.testing.assert_array_equal, eqx.filter(first, eqx.is_array), eqx.filter(second, eqx.is_array))


def test_what_cannot_be_is_refused(trained, tmp_path, capsys, key):
    folder, _ = trained
    model = cf.load(folder)
    still = dataclasses.replace(INFERENCE, denoiser_updates=0.0)

    def refuse(error, sentence, given, **settings):
        with pytest.raises(error, match=sentence):
            prepare(PROBLEM, dataclasses.replace(CONFIG, **settings), key, given)

    refuse(InputError, "give a trained one", None, inference=still)
    refuse(InputError, "needs no denoiser", model, inputs="state")
    refuse(MismatchError, "steps in a history", model, inference=dataclasses.replace(INFERENCE, history=3))
    elsewhere = dataclasses.replace(model, description={"problem": {"kind": "other"}})
    refuse(MismatchError, "another problem", elsewhere)
    small = HistoryLayout(2, 3, 4, 5)
    foreign = Model(model.denoiser, small, Scaling.identity(4), None, (), (), {})
    refuse(MismatchError, "5 agents", foreign)
    with pytest.raises(InputError, match="without memory"):
        cf.MappoConfig(inputs="safe")
    with pytest.raises(InputError, match="positive"):
        InferenceConfig(calls=0)
    arguments = ["train-policy", "sensor:2x2,steps=4", "--out", str(tmp_path / "new"), "--inputs", "denoised"]
    assert cli.main([*arguments, "--denoiser", str(folder), "--history", "4"]) == 1
    assert "steps in a history" in capsys.readouterr().err and not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="true state"):
        policy = eqx.tree_at(lambda p: p.team.inputs, cf.load_policy(folder), policy_input("state"))
        cf.collect(PROBLEM, 1, key=key, policy=policy)
