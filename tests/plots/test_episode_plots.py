"""A recorded episode obeys the laws of its problem; its animation shows each step, and marks stand where they must."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counter_world import CounterWorld
from matplotlib.collections import PathCollection
from PIL import Image
from ring_world import PaintedRing, Ring
from teams import ideal_sensors

import composite_flow as cf
from composite_flow import cli
from composite_flow.data.scaling import Scaling
from composite_flow.errors import InputError, MismatchError
from composite_flow.history import HistoryLayout
from composite_flow.network import Network
from composite_flow.page.container import unpacked
from composite_flow.plots.episode_plot import draw_still
from composite_flow.plots.episode_sensors import area_places, sensor_places
from composite_flow.policy.episode import EpisodeRecord, record_episode
from composite_flow.policy.inference import Inference
from composite_flow.policy.inputs import policy_input
from composite_flow.policy.saving import SETTINGS_FILE, save_policy
from composite_flow.policy.sequence_network import SequenceNetwork
from composite_flow.policy.team import Networks, Team
from composite_flow.policy.trained import TrainedPolicy

PROBLEM = cf.problem_from_text("sensor:2x2,steps=3")
CONFIG = cf.MappoConfig(inputs="denoised", memory="none", width=8, depth=1)


def random_policy(problem, inputs=policy_input("agent"), denoiser=None):  # noqa: B008 (frozen)
    """Acts by weights that are drawn at random."""
    sizes = problem.num_agents, problem.num_actions, problem.observation_size
    actor = SequenceNetwork(inputs.size(problem), sizes[1], 8, 1, "none", 1.0, key=jax.random.key(3))
    return TrainedPolicy(Team(Networks(actor), inputs, denoiser), *sizes)


def inferring_policy(problem, layout, denoiser, calls):
    inference = Inference(layout, Scaling.identity(problem.state_size), calls=calls, samples=1)
    return random_policy(problem, policy_input("denoised", inference=inference), denoiser)


@pytest.fixture(scope="module")
def ideal():
    """An episode of sensors that infer by the ideal denoiser."""
    problem = cf.problem_from_text("sensor:2x2,steps=30")
    denoiser = ideal_sensors(problem)
    return problem, record_episode(
        problem, inferring_policy(problem, denoiser.belief.layout, denoiser, 8), key=jax.random.key(1)
    )


def test_record_obeys_the_sensors_laws(ideal):
    problem, record = ideal
    slots, coverage = np.asarray(problem.slots), np.asarray(problem.coverage)
    assert record.num_steps == 30 and record.won is None
    np.testing.assert_array_equal(record.states.sum(axis=1), 1)
    areas = record.states.argmax(axis=1)
    for before, after in zip(areas[:-1], areas[1:], strict=True):  # a move leads to an area that shares a sensor
        assert (coverage[:, before] & coverage[:, after]).any()
    assert len(set(areas)) == 4
    np.testing.assert_array_equal(record.observations, record.states[:, slots])
    for step, actions in enumerate(record.actions):
        scans = [slots[agent, action - 1] for agent, action in enumerate(actions) if action]
        tracked = scans.count(areas[step]) >= 2
        assert record.rewards[step] == pytest.approx(tracked * problem.reward - problem.scan_cost * len(scans))


def test_certain_agents_infer_the_state(ideal):
    """Who sees the only target is certain; of their own areas the others know that they are empty."""
    problem, record = ideal
    sees = record.observations.max(axis=2) > 0
    assert 0.3 < sees.mean() < 0.7
    np.testing.assert_allclose(record.estimates[sees], np.repeat(record.states[:, None], 4, axis=1)[sees], atol=1e-6)
    own = np.asarray(problem.coverage)[None] & ~sees[:, :, None]
    np.testing.assert_allclose(record.estimates[own], 0.0, atol=1e-6)


class Contest(CounterWorld):
    """Won where the episode is long."""

    def won(self, world):
        return world[1] > 4


def test_record_ends_with_its_episode():
    """The world counts its steps up to a length drawn at its start; what it pays is the sum of all actions."""
    problem, policy = Contest(), random_policy(Contest())
    records = [record_episode(problem, policy, key=jax.random.key(seed), num_steps=8) for seed in range(6)]
    assert len({record.num_steps for record in records}) > 2
    for record in records:
        length = int(record.states[0, 1])
        assert record.num_steps == length - 1 and record.won == (length > 4) and record.estimates is None
        np.testing.assert_array_equal(record.states[:, 0], np.arange(length - 1))
        np.testing.assert_array_equal(record.rewards, record.actions.sum(axis=1))
        sums = np.cumsum(record.actions, axis=0) - record.actions
        np.testing.assert_array_equal(record.observations[:, :, 2], sums)
    again = record_episode(problem, policy, key=jax.random.key(0), num_steps=8)
    np.testing.assert_array_equal(again.actions, records[0].actions)
    cut = record_episode(problem, policy, key=jax.random.key(0), num_steps=1)
    assert cut.num_steps == 1
    with pytest.raises(InputError, match="give num_steps"):
        record_episode(problem, policy, key=jax.random.key(0))
    with pytest.raises(MismatchError, match="num_agents"):
        record_episode(PROBLEM, policy, key=jax.random.key(0))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder, with a policy that nobody has trained."""
    layout = HistoryLayout(2, PROBLEM.observation_size, PROBLEM.num_actions, PROBLEM.num_agents)
    denoiser = Network(layout, PROBLEM.state_size, 8, 2, key=jax.random.key(4))
    policy = inferring_policy(PROBLEM, layout, denoiser, 2)
    folder = tmp_path_factory.mktemp("play") / "run"
    save_policy(folder, policy, PROBLEM, CONFIG, {"training": {"problem": PROBLEM.description}, "steps": 0})
    return folder, policy


def call(capsys, *arguments):
    """The command with --json: its exit code, the object that it printed, and what it said."""
    code = cli.main(["play", *(str(argument) for argument in arguments), "--json"])
    printed = capsys.readouterr()
    return code, json.loads(printed.out) if code == 0 else None, printed.err


def test_animation_has_a_frame_per_step(run, tmp_path, capsys):
    folder, policy = run
    code, result, _ = call(capsys, folder, "--out", tmp_path / "all.gif", "--episodes", 2, "--agent", 1, 3)
    assert code == 0 and result["files"] == [str(tmp_path / "all.gif")]
    with Image.open(tmp_path / "all.gif") as image:
        assert image.n_frames == 2 * 3
    keys = jax.random.split(jax.random.key(0), 2)
    for key, told in zip(keys, result["episodes"], strict=True):
        record = record_episode(PROBLEM, policy, key=key)
        assert told["return"] == pytest.approx(float(record.rewards.sum()))
        assert (told["steps"], told["won"]) == (3, None)
        errors = record.estimates - record.states[:, None]
        assert told["error"] == pytest.approx(float(np.sqrt((errors**2).mean())))
    code, result, _ = call(capsys, folder, "--out", tmp_path / "each", "--greedy", "--seed", 1)
    assert [path.name for path in (tmp_path / "each").iterdir()] == ["episode_0.gif"]
    with Image.open(tmp_path / "each" / "episode_0.gif") as image:
        assert image.n_frames == 3


def test_episodes_are_played_in_a_page(run, tmp_path, capsys):
    folder, policy = run
    out = tmp_path / "play.html"
    code, result, _ = call(capsys, folder, "--out", out, "--episodes", 2)
    assert code == 0 and result["files"] == [str(out)] and len(result["episodes"]) == 2
    header, arrays = unpacked(out.read_text().split('id="data"')[1].split(">")[1].split("<")[0])
    assert header["lengths"] == [3, 3] and header["title"] == "Episodes of run"
    record = record_episode(PROBLEM, policy, key=jax.random.split(jax.random.key(0), 2)[1])
    np.testing.assert_allclose(arrays["own_mean"][3:], record.samples.mean(axis=2), rtol=1e-5, atol=1e-6)


def test_what_cannot_be_played_is_refused(run, tmp_path, capsys):
    folder, _ = run
    out = tmp_path / "out.gif"

    def refuse(sentence, *arguments):
        code, _, said = call(capsys, *arguments)
        assert code == 1 and sentence in said and len(said.strip().splitlines()) == 1

    refuse("policy.safetensors", tmp_path, "--out", out)
    (tmp_path / SETTINGS_FILE).write_text("{}")
    refuse("has not finished", tmp_path, "--out", out)
    refuse("no agent 4", folder, "--out", out, "--agent", 4)
    refuse("each agent once", folder, "--out", out, "--agent", 1, 1)
    refuse("at least 1", folder, "--out", out, "--episodes", 0)
    refuse("not as .mp4", folder, "--out", tmp_path / "out.mp4")
    refuse("must be above 0", folder, "--out", out, "--pace", 0)
    assert list(tmp_path.glob("*.gif")) == []
    out.write_bytes(b"kept")
    refuse("already exists", folder, "--out", out)
    assert out.read_bytes() == b"kept"


@pytest.fixture(scope="module")
def battle():
    """Two allies, two enemies; the first ally sees the first enemy alone, and believes the second one dead or alive."""
    problem = cf.problem_from_text("smax:zerg_2_vs_2,sight=6")
    places = {"ally_0": (10, 10), "ally_1": (20, 20), "enemy_0": (12, 10), "enemy_1": (24, 8)}
    states = np.zeros((3, problem.state_size), np.float32)
    columns = {name: column for column, name in enumerate(problem.state_names)}
    for unit, (x, y) in places.items():
        for feature, value in {"x": x / 32, "y": y / 32, "health": 0.5, "alive": 1.0, "zergling": 1.0}.items():
            states[:, columns[f"{unit}_{feature}"]] = value
    fallen = [column for name, column in columns.items() if name.startswith("ally_1")]
    states[2, fallen] = 0.0
    samples = np.repeat(states[:, None, None], 2, axis=1)
    samples[:, 0, 0, columns["enemy_1_x"]] = 0.5
    samples[1, 0, 0, columns["enemy_1_alive"]] = 0.1
    zeros = np.zeros((3, 2, problem.observation_size), np.float32)
    return problem, EpisodeRecord(states, zeros, np.full((3, 2), 4), samples, np.zeros(3, np.float32), False)


def marks(panel):
    """Every scattered mark of a panel: how many corners it has, and where it stands."""
    found = []
    for collection in panel.collections:
        if isinstance(collection, PathCollection):
            corners = len(collection.get_paths()[0].vertices)
            found += [(corners, *np.round(np.asarray(place), 3)) for place in collection.get_offsets()]
    return found


CROSS, DIAMOND = 4, 5  # corners of a mark; a diamond's first one counts twice


def believed(figure, agent):
    return [mark[1:] for mark in marks(figure.axes[1 + agent]) if mark[0] == DIAMOND]


def test_a_battle_shows_believed_units_where_they_are_inferred(battle):
    problem, record = battle
    first, second, third = (draw_still(problem, record, step) for step in range(3))
    # the first ally sees the first enemy, two units away; all others are believed, the second enemy at x = 16
    assert sorted(believed(first, 0)) == [(16, 8), (20, 20)]
    assert sorted(believed(first, 1)) == [(10, 10), (12, 10), (24, 8)]
    # where it believes that enemy dead, no diamond stands, and a cross lies on the dot of where it is
    assert believed(second, 0) == [(20, 20)]
    crosses = [mark[1:] for mark in marks(second.axes[1]) if mark[0] == CROSS]
    assert crosses == [(24, 8)]
    # the second ally has fallen: it lies where it stood, though its state says nothing, and nobody looks for it
    assert believed(third, 0) == [(16, 8)]
    assert [mark[1:] for mark in marks(third.axes[0]) if mark[0] == CROSS] == [(20, 20)]
    np.testing.assert_allclose(problem.sight_ranges(jnp.asarray(record.states[0])), 6.0)


def test_sensors_stand_on_their_grid():
    for rows, columns in ((3, 3), (2, 3), (1, 4)):
        network = cf.SensorNetwork.grid(rows, columns)
        places = sensor_places(np.asarray(network.coverage))
        areas = area_places(np.asarray(network.coverage), places)
        assert len(np.unique(places, axis=0)) == rows * columns
        for area, members in zip(areas, np.asarray(network.coverage).T, strict=True):
            first, second = places[members]
            assert np.abs(first - second).sum() == 1
            np.testing.assert_allclose(area, (first + second) / 2)
    # no grid: a circle; areas of nobody, of one sensor, and twice of the same sensors all have places of their own
    table = np.array([[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 1, 0]], bool)
    places = sensor_places(table)
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), 1.0)
    areas = area_places(table, places)
    together = np.concatenate([areas, places])
    apart = np.linalg.norm(together[:, None] - together[None], axis=2) + np.eye(len(together))
    assert apart.min() > 0.2


def test_other_problems_are_rows_of_features_up_to_now():
    record = record_episode(Contest(), random_policy(Contest()), key=jax.random.key(1), num_steps=4)
    step = record.num_steps - 2
    figure = draw_still(Contest(), record, step)
    shown = [np.ma.filled(axes.images[0].get_array(), np.nan) for axes in figure.axes]
    np.testing.assert_array_equal(shown[0][:, : step + 1], record.states[: step + 1].T)
    assert np.isnan(shown[0][:, step + 1 :]).all() and shown[0].shape == record.states.T.shape
    for agent in range(3):
        np.testing.assert_array_equal(shown[1 + agent][:, : step + 1], record.observations[: step + 1, agent].T)


def test_a_problem_may_draw_itself():
    problem = PaintedRing(4)
    record = record_episode(problem, random_policy(problem), key=jax.random.key(1))
    figure = draw_still(problem, record, 1)
    assert [mark[1:] for mark in marks(figure.axes[0])] == [(record.states[1].argmax(), 0)]
    assert [axes.get_title(loc="left") for axes in figure.axes[1:]] == ["Agent 0", "Agent 1"]
    assert figure.texts[-1].get_text() == "The dot is the target."
    plain = draw_still(Ring(4), record, 1)
    assert not marks(plain.axes[0]) and plain.axes[0].images
