"""Worlds of JaxMARL and Jumanji: the contract, states that are the simulators' own, and what cannot be made."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import composite_flow as cf
from composite_flow import cli
from composite_flow.data.feature_types import find_types
from composite_flow.errors import InputError, MismatchError
from composite_flow.problems import problem_from_description, problem_from_text
from composite_flow.problems.compiled.features import bits, flat, names, turned

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("permissive")]

SIZES = {
    "jaxmarl:MPE_simple_tag_v3": (4, 5, 16, 20, 25),
    "jaxmarl:hanabi,num_colors=2,hand_size=2,shuffle_player_order=True": (2, 12, 178, 73, 90),
    "jaxmarl:overcooked_v2,layout=coord_ring,agent_view_size=1": (2, 6, 270, 149, 400),
    "jaxmarl:jaxnav,lidar_num_beams=8": (2, 15, 13, 141, 500),
    "jumanji:LevelBasedForaging-v0": (2, 6, 12, 16, 100),
    "jumanji:RobotWarehouse-v0,shelf_rows=1,column_height=2,num_agents=2,request_queue_size=3": (2, 5, 66, 38, 500),
    "jumanji:SearchAndRescue-v0,num_targets=6": (2, 9, 386, 28, 400),
}


@pytest.fixture(scope="module")
def made():
    """Each world once, as making one traces its library."""
    return {text: problem_from_text(text) for text in SIZES}


@pytest.mark.parametrize("text", SIZES)
def test_worlds_of_libraries_keep_the_contract(text, made, key):
    problem = made[text]
    sizes = problem.num_agents, problem.num_actions, problem.observation_size, problem.state_size, problem.num_steps
    assert sizes == SIZES[text]
    cf.check_problem(problem, key)
    assert problem_from_description(problem.description) == problem
    with pytest.raises(MismatchError, match="This world is of .* 0.0"):
        problem_from_description({**problem.description, "version": "0.0"})


def test_the_state_of_a_chase_is_what_agents_see_of_it_in_absolute_terms(made, key):
    """Agent 0 sees its velocity, its position, and where the two landmarks are relative to it."""
    problem = made["jaxmarl:MPE_simple_tag_v3"]
    world = jax.jit(problem.reset)(key)
    state = dict(zip(problem.state_names, np.asarray(jax.jit(problem.state)(world)), strict=True))
    seen = np.asarray(jax.jit(problem.observe)(key, world))[0]
    own = [state["position 0 0"], state["position 0 1"]]
    np.testing.assert_allclose(seen[2:4], own, atol=1e-6)
    landmark = [state["position 4 0"], state["position 4 1"]]
    np.testing.assert_allclose(seen[4:6], np.subtract(landmark, own), atol=1e-6)


HANABI, KITCHEN, MAZE = [text for text in SIZES if text.startswith(("jaxmarl:h", "jaxmarl:o", "jaxmarl:j"))]


def starts(problem, key, count=16):
    """States of so many first steps, by the names of their parts, and what agents see."""
    worlds = jax.jit(jax.vmap(problem.reset))(jax.random.split(key, count))
    states = np.asarray(jax.jit(jax.vmap(problem.state))(worlds))
    parts = {}
    for column, name in enumerate(problem.state_names):
        parts.setdefault(name.rstrip(" 0123456789"), []).append(states[:, column])
    views = jax.jit(jax.vmap(lambda world: problem.observe(key, world)))(worlds)
    return worlds, {name: np.stack(columns, axis=1) for name, columns in parts.items()}, np.asarray(views)


def test_a_hand_of_hanabi_is_seen_by_all_others(made, key):
    """Whatever the seats are; cards are one of ten, and one agent's turn is it."""
    worlds, parts, views = starts(made[HANABI], key)
    hands = parts["hand"].reshape(16, 2, 2, 10)
    np.testing.assert_array_equal(hands.sum(axis=3), 1)
    np.testing.assert_array_equal(views[:, 0, :20], hands[:, 1].reshape(16, -1))
    np.testing.assert_array_equal(views[:, 1, :20], hands[:, 0].reshape(16, -1))
    free = np.asarray(jax.jit(jax.vmap(made[HANABI].available))(worlds))
    np.testing.assert_array_equal(parts["turn"].sum(axis=1), 1)
    np.testing.assert_array_equal(free[:, :, :-1].any(axis=2), parts["turn"] == 1)  # all others do nothing
    assert 0 < parts["turn"][:, 0].mean() < 1


def test_a_cook_sees_the_other_where_the_state_has_it(made, key):
    """Views of three by three cells around the cook, over several steps; its own layers come first."""
    problem = made[KITCHEN]
    episodes = cf.collect(problem, 4, key=key, num_steps=30)
    columns = [problem.state_names.index(f"place {cook} {axis}") for cook in (0, 1) for axis in (0, 1)]
    places = np.asarray(episodes.states)[:, columns].reshape(-1, 2, 2)
    layers = np.asarray(episodes.observations)[:, 0].reshape(len(places), 3, 3, -1)
    np.testing.assert_array_equal(layers[:, 1, 1, 0], 1)
    apart = (places[:, 1] - places[:, 0]).astype(int)  # x, y
    other = layers[..., 8]  # place, four directions and three things of the cook itself come before
    is_near = np.all(np.abs(apart) <= 1, axis=1)
    np.testing.assert_array_equal(other.any(axis=(1, 2)), is_near)
    assert 0 < is_near.mean() < 1
    for cells, (right, down) in zip(other[is_near], apart[is_near], strict=True):
        assert cells[1 + down, 1 + right] == 1


def test_a_robot_knows_the_way_to_its_goal(made, key):
    """Distance and direction of the goal as a robot observes them, from positions, headings and goals in the state."""
    _, parts, views = starts(made[MAZE], key)
    position, goal, heading = (parts[name].reshape(16, 2, 2) for name in ("position", "goal", "heading"))
    ahead = goal - position
    distance = np.clip(np.linalg.norm(ahead, axis=2), 0, 6)
    np.testing.assert_allclose(views[:, :, -3], distance / 6 - 0.5, atol=1e-5)
    bearing = np.arctan2(ahead[..., 1], ahead[..., 0]) - np.arctan2(heading[..., 0], heading[..., 1])
    np.testing.assert_allclose(np.exp(1j * np.pi * views[:, :, -2]), np.exp(1j * bearing), atol=1e-4)
    assert set(np.unique(parts["map"])) == {0.0, 1.0}
    assert not parts["crashed"].any() and not parts["arrived"].any()


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        (HANABI, {"hand": "one of k", "fireworks": "binary", "turn": "one of k"}),
        (KITCHEN, {"place": "number", "direction": "one of k", "carries": "binary"}),
        (MAZE, {"position": "number", "heading": "number", "goal": "number", "map": "binary"}),
    ],
)
def test_parts_of_simulators_states_have_their_types(text, kinds, made, key):
    """As they are found in episodes, of random actions."""
    problem = made[text]
    found = find_types(np.asarray(cf.collect(problem, 12, key=key, num_steps=12).states))
    shown = np.where(found.is_number, "number", np.where(found.is_binary, "binary", "one of k"))
    for part, kind in kinds.items():
        of_part = [shown[column] for column, name in enumerate(problem.state_names) if name.startswith(f"{part} ")]
        assert kind in of_part, (part, of_part)


def test_an_agent_sees_food_within_reach_where_the_state_has_it(made, key):
    """In Level-Based Foraging a view lists food by row and column, −1 where it is out of sight."""
    problem = made["jumanji:LevelBasedForaging-v0"]
    _, parts, views = starts(problem, key, 32)
    foods, seen = parts["food level"], views[:, 0, [2, 5]]
    for row, (mine, there) in enumerate(zip(seen, foods, strict=True)):
        assert set(mine[mine > 0]) <= set(there), row
    assert 0 < np.mean(seen > 0) < 1  # some of it is out of sight


def test_robots_of_a_warehouse_stand_where_they_see_themselves(made, key):
    """Each begins its view with its own row and column; three shelves are requested, and nobody carries one yet."""
    problem = made[next(text for text in SIZES if "Warehouse" in text)]
    _, parts, views = starts(problem, key)
    places = parts["robot place"].reshape(16, 2, 2)
    np.testing.assert_array_equal(views[:, :, :2], places)
    np.testing.assert_array_equal(parts["shelf requested"].sum(axis=1), 3)
    np.testing.assert_array_equal(parts["robot direction"].reshape(16, 2, 4).sum(axis=2), 1)
    assert not parts["robot carries"].any()


@pytest.mark.slow
@pytest.mark.parametrize("text", [text for text in SIZES if text.startswith("jumanji")])
def test_worlds_of_jumanji_are_collected_learned_and_judged(text, tmp_path, capsys, permissive):
    data, run = str(tmp_path / "data"), str(tmp_path / "run")
    small = ["--width", "16", "--depth", "2", "--batch", "32", "--steps", "40", "--history", "2"]
    assert cli.main(["collect", text, "--episodes", "12", "--steps", "8", "--out", data]) == 0
    assert cli.main(["train", data, "--out", run, "--learn", "fusion", "--no-team-denoiser", *small]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", run, data, "--joint", "8", "--samples", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["joint_histories"] == 8


def test_searchers_turn_and_speed_up_by_nine_actions(made, key):
    """Action 0 turns and slows the other way than action 8; 4 leaves the heading as it is."""
    problem = made["jumanji:SearchAndRescue-v0,num_targets=6"]
    world = jax.jit(problem.reset)(key)
    columns = [problem.state_names.index(name) for name in ("searcher heading 0 0", "searcher heading 0 1")]

    @jax.jit
    def moved(action):
        return problem.state(problem.step(key, world, jnp.full(2, action))[0])

    def heading(action):
        return np.arctan2(*np.asarray(moved(action))[columns])

    before = np.arctan2(*np.asarray(problem.state(world))[columns])
    apart = [np.angle(np.exp(1j * (heading(action) - before))) for action in (0, 4, 8)]
    np.testing.assert_allclose([apart[1], apart[0] + apart[2]], 0.0, atol=1e-5)
    assert abs(apart[0]) > 0.05


def test_options_reach_the_generator_and_the_environment():
    small = problem_from_text("jumanji:LevelBasedForaging-v0,grid_size=6,num_food=1,time_limit=9")
    assert (small.state_size, small.num_steps) == (12, 9)
    assert problem_from_text("jumanji:LevelBasedForaging-v0,steps=5").num_steps == 5


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("jumanji:Snake-v1", "there are LevelBasedForaging-v0, RobotWarehouse-v0, SearchAndRescue-v0"),
        ("jumanji:LevelBasedForaging-v0,colour=3", "cannot be made: TypeError"),
        ("jumanji:LevelBasedForaging-v0,steps=0", "at least one step"),
        ("jaxmarl:storm", "There is no world jaxmarl:storm: there are MPE_simple_v3"),
        ("jaxmarl:jaxnav,act_type=Continuous", "do not choose among numbered actions"),
    ],
)
def test_worlds_that_no_library_has_are_refused(text, sentence):
    with pytest.raises(InputError, match=sentence):
        problem_from_text(text)


def test_options_that_do_not_fit_each_other_are_refused(key):
    """As many requests as there are shelves: the library fails when it looks for another shelf."""
    problem = problem_from_text("jumanji:RobotWarehouse-v0,shelf_rows=1,column_height=2,num_agents=2")
    error = "IndexError" if jax.__version_info__ < (0, 11) else "ValueError"
    with pytest.raises(InputError, match=f"^jumanji:RobotWarehouse-v0,column_height=2,.* cannot run: {error}"):
        cf.collect(problem, 2, key=key, num_steps=2)


def test_parts_of_states_are_laid_out_in_their_order():
    parts = {"b": jnp.array([[1, 2], [3, 4]]), "a": jnp.array(True)}
    np.testing.assert_array_equal(flat(parts), [1, 2, 3, 4, 1])
    assert names(parts) == ("b 0 0", "b 0 1", "b 1 0", "b 1 1", "a")
    np.testing.assert_array_equal(bits(jnp.array([5, 2]), 3), [[1, 0, 1], [0, 1, 0]])
    np.testing.assert_allclose(turned(jnp.array([0.0, np.pi / 2])), [[0, 1], [1, 0]], atol=1e-6)


@pytest.mark.slow
def test_a_policy_learns_in_a_small_field_and_is_drawn(tmp_path, capsys):
    """Agents who must both load the only food come to do so in most episodes; random ones seldom do."""
    run, film = tmp_path / "run", tmp_path / "field.gif"
    world = "jumanji:LevelBasedForaging-v0,grid_size=5,num_food=1,time_limit=10"
    options = "--steps 50000 --worlds 64 --rollout 20 --memory none --learning-rate 1e-3".split()
    assert cli.main(["train-policy", world, "--out", str(run), *options]) == 0
    with open(run / "policy_curves.csv") as file:
        returns = np.array([float(row["return"]) for row in csv.DictReader(file) if row["return"]])
    assert returns[:3].mean() < 0.2 and returns[-5:].mean() > 0.8, returns
    assert cli.main(["play", str(run), "--out", str(film), "--steps", "4"]) == 0
    assert film.read_bytes()[:3] == b"GIF"
