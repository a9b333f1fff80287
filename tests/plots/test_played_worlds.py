"""Any world is played: by its library's own pictures where it draws, as rows of features where it does not."""

import json

import jax
import numpy as np
import pytest
from matplotlib import pyplot
from PIL import Image
from problems.turn_worlds import Counter, highest

import composite_flow as cf
from composite_flow import cli
from composite_flow.errors import InputError
from composite_flow.plots.episode_plot import draw_still
from composite_flow.policy.episode import record_episode
from composite_flow.problems import world_from_text
from composite_flow.problems.host import HostProblem, WorldLost
from composite_flow.problems.host_policy import HostPolicy
from composite_flow.problems.picture import LONGEST, as_picture

pytestmark = pytest.mark.slow

RANDOM = cf.problems.RandomPolicy()


class Drawn(Counter):
    """Paints itself in one colour, the total in red and how often it was asked to in blue."""

    def __init__(self, breaks=False):
        super().__init__()
        self.breaks, self.count, self.render_mode = breaks, 0, "rgb_array"

    def render(self):
        self.count += 1
        if self.breaks:
            raise OSError("there is no screen")
        return np.full((4, 6, 4), (self.total, 0, self.count, 255), np.uint8)


def make_drawn() -> HostProblem:
    """For the command line."""
    return cf.from_pettingzoo(Drawn)


def images(figure):
    """What the panels show."""
    return [np.ma.filled(axes.images[0].get_array(), np.nan) for axes in figure.axes]


def test_an_episode_on_the_host_is_the_one_that_is_collected(key):
    episodes = cf.collect(cf.from_pettingzoo(Counter), 1, key=key)
    record = record_episode(cf.from_pettingzoo(Counter), RANDOM, key=jax.random.fold_in(key, 0))
    assert record.num_steps == episodes.num_steps - 1 > 1  # without the state after the last action
    for name in ("states", "observations", "actions", "rewards"):
        np.testing.assert_array_equal(getattr(record, name), getattr(episodes, name)[:-1])
    assert record.pictures is None and record.won is None and record.samples is None


def test_a_world_is_drawn_by_its_own_render(key):
    """In every step before the team acts; agents' panels are what they observe."""
    problem = make_drawn()
    record = record_episode(problem, HostPolicy(highest), key=key, pictures=True)
    assert record.pictures.shape == (record.num_steps, 4, 6, 3)
    np.testing.assert_array_equal(record.pictures[:, 0, 0, 0], record.states[:, 0])
    np.testing.assert_array_equal(record.pictures[:, 0, 0, 2], 1 + np.arange(record.num_steps))
    shown = images(draw_still(problem, record, 1))
    np.testing.assert_array_equal(shown[0], record.pictures[1])
    for agent in (0, 1):
        np.testing.assert_array_equal(shown[1 + agent][:, :2], record.observations[:2, agent].T)
    assert record_episode(problem, HostPolicy(highest), key=key).pictures is None  # nobody asked


@pytest.mark.parametrize("make", [Counter, lambda: Drawn(breaks=True)], ids=["no render", "broken render"])
def test_a_world_that_is_not_drawn_is_rows_of_features(make, key):
    problem = cf.from_pettingzoo(make)
    record = record_episode(problem, RANDOM, key=key, pictures=True)
    assert record.pictures is None and getattr(problem.world, "count", 1) == 1  # a broken one is asked once
    np.testing.assert_array_equal(images(draw_still(problem, record, 1))[0][:, :2], record.states[:2].T)


def test_a_world_that_breaks_down_is_told_in_a_sentence(key, monkeypatch):
    def lost(key, actions):
        raise WorldLost("the game has crashed")

    problem = make_drawn()
    monkeypatch.setattr(problem, "step", lost)
    with pytest.raises(InputError, match=r"broke down \(the game has crashed\): run the same command again"):
        record_episode(problem, RANDOM, key=key)


def test_pictures_are_made_small_and_others_are_none():
    large = np.zeros((1000, 500, 4), np.uint8)
    large[:500] = 255
    small = as_picture(large)
    assert small.shape == (LONGEST, LONGEST // 2, 3)
    np.testing.assert_array_equal(small[[0, -1], 0, 0], [255, 0])
    for none in (None, np.zeros((3, 3)), np.zeros((3, 3, 2), np.uint8), np.zeros((3, 3, 3)), np.zeros((0, 3, 3), int)):
        assert as_picture(none) is None


@pytest.mark.parametrize("text", ["pettingzoo:pursuit_v5", "mpe2:simple_tag_v3"])
def test_worlds_of_pettingzoo_draw_themselves(text, key):
    record = record_episode(world_from_text(text), RANDOM, key=key, num_steps=3, pictures=True)
    assert max(record.pictures.shape[1:3]) == LONGEST and record.pictures.std() > 5
    assert np.any(record.pictures[0] != record.pictures[2])


@pytest.mark.parametrize(
    "text", ["jumanji:LevelBasedForaging-v0", "jumanji:RobotWarehouse-v0", "jumanji:SearchAndRescue-v0,num_targets=6"]
)
def test_worlds_of_jumanji_are_drawn_by_its_viewers(text, key, permissive):
    """Without a window, and without a figure or a setting left behind."""
    problem = cf.problem_from_text(text)
    before = pyplot.get_fignums(), pyplot.rcParams["figure.dpi"]
    record = record_episode(problem, RANDOM, key=key, num_steps=4, pictures=True)
    assert record.pictures.shape == (4, LONGEST, LONGEST, 3) and record.pictures.std() > 5
    assert np.any(record.pictures[0] != record.pictures[3])
    assert (pyplot.get_fignums(), pyplot.rcParams["figure.dpi"]) == before


def test_worlds_of_jaxmarl_are_drawn_where_it_can(key, permissive):
    """It has discs for particles, and nothing for a game of cards."""
    for text, is_drawn in (("jaxmarl:MPE_simple_tag_v3", True), ("jaxmarl:hanabi,num_colors=2,hand_size=2", False)):
        record = record_episode(cf.problem_from_text(text), RANDOM, key=key, num_steps=3, pictures=True)
        assert (record.pictures is not None) == is_drawn
        if is_drawn:
            assert record.pictures.std() > 5 and np.any(record.pictures[0] != record.pictures[2])


def call(capsys, *arguments):
    """`play` with --json: its exit code, what it printed, what it said."""
    code = cli.main(["play", *(str(argument) for argument in arguments), "--json"])
    printed = capsys.readouterr()
    return code, json.loads(printed.out) if code == 0 else None, printed.err


def test_play_takes_a_world_and_who_acts_in_it(tmp_path, capsys):
    world, out = f"{__name__}:make_drawn", tmp_path / "counted.gif"
    code, told, said = call(capsys, world, "--policy", "problems.turn_worlds:highest", "--out", out, "--episodes", 2)
    assert code == 0, said
    assert told["run"] == world and told["inputs"] is None
    with Image.open(out) as image:
        assert image.n_frames == sum(episode["steps"] for episode in told["episodes"]) >= 4
    assert [episode["return"] for episode in told["episodes"]] == [2.0 * e["steps"] for e in told["episodes"]]
    code, told, _ = call(capsys, "tabular:xor,steps=3", "--out", tmp_path / "coins.gif")
    assert code == 0 and told["episodes"][0]["steps"] == 3


def test_what_play_cannot_take_is_refused(tmp_path, capsys):
    def refuse(sentence, *arguments):
        code, _, said = call(capsys, *arguments, "--out", tmp_path / "out.gif")
        assert code == 1 and sentence in said and len(said.strip().splitlines()) == 1, said

    (tmp_path / "run").mkdir()
    refuse("There is no problem 'maze:3x3'", "maze:3x3")
    refuse("policy.safetensors", tmp_path / "none")
    refuse("is a run, with a team of its own", tmp_path / "run", "--policy", "problems.turn_worlds:highest")
    refuse("--greedy needs a --policy", "tabular:xor", "--greedy")
    refuse("in worlds on the host alone", "tabular:xor", "--policy", "problems.turn_worlds:highest")
    code, _, said = call(capsys, "tabular:xor", "--out", tmp_path / "page.html")
    assert code == 1 and "infers nothing" in said
    assert not list(tmp_path.glob("*.gif"))
