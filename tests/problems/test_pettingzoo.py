"""Worlds of PettingZoo: numbers known beforehand, the libraries' own simulators, and what cannot be taken."""

import jax.numpy as jnp
import numpy as np
import pytest
from problems.turn_worlds import Alternating, Counter, Echo, Turns, highest

import composite_flow as cf
from composite_flow import cli
from composite_flow.errors import InputError
from composite_flow.problems import problem_from_text, world_from_text
from composite_flow.problems.host import HostProblem
from composite_flow.problems.host_policy import HostPolicy
from composite_flow.problems.simulators import particles


def test_sizes_masks_and_padding_are_the_environments_own(key):
    """Counting by 2 + 1 while the sum is even and by 2 while it is odd, to 5 or more."""
    problem = cf.from_pettingzoo(Counter)
    assert (problem.num_agents, problem.num_actions, problem.observation_size) == (2, 3, 2)
    assert (problem.state_size, problem.num_steps) == (2, 9)
    episodes = cf.collect(problem, 8, key=key, policy=highest)
    totals = episodes.states[:, 0]
    np.testing.assert_array_equal(episodes.states[:, 1], 7)
    np.testing.assert_array_equal(episodes.observations[:, 0], np.stack([totals, 0 * totals], axis=1))
    np.testing.assert_array_equal(episodes.observations[:, 1], np.stack([totals, totals % 2], axis=1))
    is_end = np.asarray(episodes.ends)
    inside = ~is_end
    np.testing.assert_array_equal(episodes.actions[inside, 0], 2)
    np.testing.assert_array_equal(episodes.actions[inside, 1], 1 - totals[inside] % 2)
    np.testing.assert_array_equal(np.asarray(totals)[1:][inside[:-1]] - totals[inside], episodes.actions[inside].sum(1))
    assert np.all(totals[is_end] >= 5) and np.all(totals[inside] < 5)
    np.testing.assert_array_equal(episodes.rewards[inside], 2.0)


def test_the_same_key_gives_the_same_episodes(key):
    first, second = (cf.collect(cf.from_pettingzoo(Counter), 6, key=key) for _ in range(2))
    np.testing.assert_array_equal(first.states, second.states)
    assert len(set(np.asarray(first.states)[np.asarray(first.starts), 0])) == 2  # the seed reaches the environment


def test_agents_that_take_turns_act_once_in_a_step(key):
    """Actions 1 or 2, each on what was seen when the round began; rewards are what was added."""
    problem = cf.from_pettingzoo(Turns, num_steps=4)
    episodes = cf.collect(problem, 4, key=key)
    assert episodes.num_steps == 16  # three rounds and the state after them
    totals, actions = np.asarray(episodes.states)[:, 0].reshape(4, 4), np.asarray(episodes.actions).reshape(4, 4, 2)
    np.testing.assert_array_equal(np.diff(totals, axis=1), (actions[:, :3] + 1).sum(axis=2))
    np.testing.assert_array_equal(np.asarray(episodes.rewards).reshape(4, 4)[:, :3], np.diff(totals, axis=1))
    np.testing.assert_array_equal(np.asarray(episodes.observations).reshape(4, 4, 2)[:, :3, 0], totals[:, :3])


def test_a_function_reads_the_state_and_names_its_features(key):
    problem = cf.from_pettingzoo(Echo, state=lambda world: {"total": world.total, "bits": [[world.total % 2, 1]]})
    assert problem.state_names == ("total", "bits 0 0", "bits 0 1")
    np.testing.assert_array_equal(cf.collect(problem, 2, key=key).states[:, 2], 1)


def test_any_callable_is_a_policy_and_hears_of_a_new_episode(key):
    problem = cf.from_pettingzoo(Counter)
    episodes = cf.collect(problem, 3, key=key, policy=Alternating())
    starts = np.asarray(episodes.starts)
    np.testing.assert_array_equal(np.asarray(episodes.actions)[starts], 0)
    np.testing.assert_array_equal(np.asarray(episodes.actions)[starts + 1, 0], 2)
    assert episodes.policy == {"kind": "callable", "name": "problems.turn_worlds:Alternating"}


def test_an_interrupted_collection_goes_on_with_the_same_function(tmp_path, key):
    """Its name says that it is the same, in another process as well."""
    from composite_flow.data.collect import collect_to

    options = {"key": key, "policy": highest, "shard_bytes": 200}
    whole = collect_to(tmp_path / "whole", cf.from_pettingzoo(Counter), 5, **options)
    with pytest.raises(InputError, match="were collected"):
        collect_to(tmp_path / "part", cf.from_pettingzoo(Counter), 5, minutes=1e-9, **options)
    again = collect_to(tmp_path / "part", cf.from_pettingzoo(Counter), 5, **options)
    np.testing.assert_array_equal(whole.states, again.states)


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda seen, available: np.zeros(3, int), "one available action for each of the 2 agents"),
        (lambda seen, available: np.array([0, 9]), r"not \[0, 9\]"),
        (lambda seen, available: np.array([0, 2]), r"not \[0, 2\]"),
        (lambda seen, available: np.zeros(2), r"whole numbers, not \[0.0, 0.0\]"),
        (lambda seen, available: seen["a"], "raised IndexError"),
    ],
)
def test_functions_that_do_not_act_are_refused(function, sentence, key):
    with pytest.raises(InputError, match=sentence):
        cf.collect(cf.from_pettingzoo(Counter), 2, key=key, policy=function)


class Tensor:
    """What another library computes with: no array of NumPy, but one can be made of it."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)

    def __int__(self):
        return int(self.values)


@pytest.mark.parametrize("made", [Tensor, list, jnp.asarray, lambda values: [Tensor(value) for value in values]])
def test_actions_may_be_anything_that_becomes_an_array(made, key):
    """Tensors of another library, lists, arrays of JAX: episodes are the same; what a policy sees, it may change."""

    def policy(observations, available):
        chosen = highest(observations, available)
        observations += 1.0
        available[:] = False
        return made(chosen)

    expected = cf.collect(cf.from_pettingzoo(Counter), 4, key=key, policy=highest)
    found = cf.collect(cf.from_pettingzoo(Counter), 4, key=key, policy=policy)
    for name in ("observations", "actions", "states", "availability"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_what_cannot_be_called_is_no_policy():
    with pytest.raises(InputError, match="or a function of observations and available: not 3"):
        HostPolicy(3)


def test_functions_do_not_act_in_compiled_worlds(key):
    with pytest.raises(InputError, match="worlds on the host alone"):
        cf.collect(cf.SensorNetwork.grid(2, 2), 2, key=key, policy=highest)


def stateless() -> HostProblem:
    """Worlds that the command line names by MODULE:FACTORY, and cannot take."""
    return cf.from_pettingzoo(lambda: Counter(state="none"))


def echoing() -> HostProblem:
    return cf.from_pettingzoo(lambda: Echo(state="echo"))


def growing() -> HostProblem:
    return cf.from_pettingzoo(lambda: Counter(grows=True))


def acting_twice() -> HostProblem:
    return cf.from_pettingzoo(lambda: Turns(order=("a", "a", "b")))


@pytest.mark.parametrize(
    ("factory", "sentence"),
    [
        ("stateless", "This world has no state()"),
        ("echoing", "only all observations side by side"),
        ("growing", "agents must not change their sizes"),
        ("acting_twice", "Agent a acts twice before b acted once"),
    ],
)
def test_the_command_line_refuses_them_in_one_sentence(factory, sentence, tmp_path, capsys):
    """With a code of its own, and nothing is left that another command could take for episodes."""
    out = tmp_path / "data"
    world = f"problems.test_pettingzoo:{factory}"
    assert (
        cli.main(["collect", world, "--episodes", "4", "--policy", "problems.turn_worlds:highest", "--out", str(out)])
        == 1
    )
    said = capsys.readouterr().err.strip().splitlines()
    assert sentence in said[-1] and said[-1].startswith("Error: ") and "Traceback" not in " ".join(said)
    assert not list(out.glob("*.h5")) if out.exists() else True


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Counter(state="none"), r"has no state\(\): give state="),
        (lambda: Echo(state="echo"), "only all observations side by side"),
        (lambda: Turns(order=("a", "a", "b")), "Agent a acts twice before b acted once"),
        (lambda: Counter(grows=True), "Agent second observes 3 features, and 2 by its space"),
        (lambda: 1 / 0, "cannot be made: ZeroDivisionError"),
        (lambda: object(), "is no environment of PettingZoo"),
    ],
)
def test_worlds_that_cannot_be_taken_are_refused(make, sentence, key):
    with pytest.raises(InputError, match=sentence):
        cf.collect(cf.from_pettingzoo(make), 4, key=key, policy=highest)


def test_states_that_change_their_size_are_refused(key):
    problem = cf.from_pettingzoo(Counter, state=lambda world: np.zeros(2 + world.total // 3))
    with pytest.raises(InputError, match="had 2 features and now has 3"):
        cf.collect(problem, 4, key=key)


def test_a_world_without_a_limit_needs_one():
    def endless():
        world = Counter()
        del world.max_cycles
        return world

    with pytest.raises(InputError, match="does not say how long an episode is; give num_steps"):
        cf.from_pettingzoo(endless)
    assert cf.from_pettingzoo(endless, num_steps=4).num_steps == 4
    with pytest.raises(InputError, match="at least one step"):
        cf.from_pettingzoo(endless, num_steps=0)


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("pettingzoo:pursuit_v5", (8, 5, 147, 768)),
        ("mpe2:simple_tag_v3", (4, 5, 16, 20)),
        ("lbf:Foraging-2s-8x8-2p-2f-v3", (2, 6, 12, 70)),
        ("rware:rware-tiny-2ag-v2", (2, 5, 71, 110)),
    ],
)
def test_simulators_of_other_libraries_are_read_by_name(text, sizes, key):
    world = world_from_text(f"{text},steps=6")
    assert (world.num_agents, world.num_actions, world.observation_size, world.state_size) == sizes
    episodes, again = (cf.collect(world, 2, key=key) for _ in range(2))
    assert episodes.num_steps == 12 and episodes.state_names == world.state_names
    np.testing.assert_array_equal(episodes.states, again.states)
    assert np.ptp(episodes.states, axis=0).max() > 0
    with pytest.raises(InputError, match="run outside of JAX"):
        problem_from_text(text)


def test_states_are_what_the_simulators_hold(key):
    """A particle sees itself and where others are relative to it; the state says the same absolutely."""
    world = world_from_text("mpe2:simple_tag_v3")
    world.reset(key)
    seen, state = world.observe(key)[0], dict(zip(world.state_names, world.state(), strict=True))
    np.testing.assert_allclose(seen[:2], [state["adversary_0 velocity 0"], state["adversary_0 velocity 1"]])
    np.testing.assert_allclose(seen[2:4], [state["adversary_0 position 0"], state["adversary_0 position 1"]], rtol=1e-6)
    landmark = [state["landmark 0 position 0"] - seen[2], state["landmark 0 position 1"] - seen[3]]
    np.testing.assert_allclose(seen[4:6], landmark, atol=1e-6)
    from mpe2 import simple_reference_v3, simple_tag_v3

    with pytest.raises(InputError, match="only all observations side by side"):
        cf.from_pettingzoo(simple_tag_v3.parallel_env)
    told = cf.from_pettingzoo(simple_reference_v3.parallel_env, state=particles)
    values = dict(zip(told.state_names, told.state(), strict=True))
    assert sum(value for name, value in values.items() if "goal" in name) == 2  # one of three for each agent


def test_warehouses_and_fields_name_what_is_hidden(key):
    warehouse = world_from_text("rware:rware-tiny-2ag-v2")
    warehouse.reset(key)
    state = dict(zip(warehouse.state_names, warehouse.state(), strict=True))
    assert sum(value for name, value in state.items() if "requested" in name) == 2
    assert sum(value for name, value in state.items() if "direction" in name) == 2
    field = world_from_text("lbf:Foraging-2s-8x8-2p-2f-v3")
    field.reset(key)
    state = dict(zip(field.state_names, field.state(), strict=True))
    assert sum(value > 0 for name, value in state.items() if name.startswith("food")) == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("pettingzoo:pursuit_v99", "there are multiwalker"),
        ("mpe2:simple_tug_v3", "there are .*simple_tag_v3"),
        ("lbf:Foraging", r"there are [0-9]+, such as Foraging-"),
        ("rware:", r"there are [0-9]+, such as rware-tiny"),
        ("pettingzoo:pursuit_v5,colour=3", "cannot be made: TypeError"),
        ("pettingzoo:tictactoe_v3", "take turns, and it has no state: give it to from_pettingzoo"),
    ],
)
def test_names_that_no_library_has_are_refused(text, sentence):
    with pytest.raises(InputError, match=sentence):
        world_from_text(text)


def test_the_command_line_collects_with_a_function_of_ones_own(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\ndef stay(observations, available):\n    return np.zeros(len(available), int)\n"
    )
    monkeypatch.chdir(tmp_path)
    world = ["collect", "lbf:Foraging-2s-8x8-2p-2f-v3,steps=5", "--episodes", "3", "--out"]
    assert cli.main([*world, "data", "--policy", "mine:stay"]) == 0
    episodes = cf.Episodes.load("data")
    assert episodes.num_episodes == 3 and not np.any(episodes.actions)
    assert cli.main([*world, "more", "--policy", "mine:go"]) == 1
    assert "has no 'go'" in capsys.readouterr().err
    assert cli.main(["collect", "sensor:2x2", "--out", "x", "--policy", "mine:stay"]) == 1
    assert "in worlds on the host alone" in capsys.readouterr().err
