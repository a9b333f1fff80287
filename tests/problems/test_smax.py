"""SMAX behind the contract, held against the library's own environment and state."""

import json
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import assert_contract

from composite_flow.data import collect
from composite_flow.errors import InputError, MismatchError
from composite_flow.problems import (
    SMAX,
    RandomPolicy,
    problem_from_description,
    problem_from_text,
    smax_scenario,
    unseen_share,
)
from composite_flow.problems.smax import MARGIN

# More enemies than allies, so that some enemy mirrors nobody.
TEXT, NUM_ALLIES, NUM_UNITS, STEPS, BATTLES = "smax:zerg_2_vs_3", 2, 5, 30, 24


@pytest.fixture(scope="module")
def problem() -> SMAX:
    return problem_from_text(f"{TEXT},steps={STEPS}")


@pytest.fixture(scope="module")
def episodes(problem):
    return collect(problem, BATTLES, key=jax.random.key(1))


@pytest.fixture(scope="module")
def starts_and_battles(problem):
    """Positions of many starts; of some, random battles that go on after their end."""

    def battle(start, key):
        def record(world, key_step):
            key_act, key_world = jax.random.split(key_step)
            views, available = problem.observe(key_act, world), problem.available(world)
            _, actions = RandomPolicy().act(key_act, (), views, available)
            moved, reward, over = problem.step(key_world, world, actions)
            given = {"world": world, "state": problem.state(world), "views": views, "available": available}
            return moved, {**given, "key": key_world, "actions": actions, "reward": reward, "over": over}

        return jax.lax.scan(record, start, jax.random.split(key, STEPS))[1]

    @jax.jit
    def run(key):
        key_reset, key_battle = jax.random.split(key)
        worlds = jax.vmap(problem.reset)(jax.random.split(key_reset, 512))
        some = jax.tree.map(lambda leaf: leaf[:BATTLES], worlds)
        return worlds.state.unit_positions, jax.vmap(battle)(some, jax.random.split(key_battle, BATTLES))

    return run(jax.random.key(2))


@pytest.fixture(scope="module")
def starts(starts_and_battles):
    """Where everybody starts, (starts, units, 2)."""
    return np.asarray(starts_and_battles[0])


@pytest.fixture(scope="module")
def battles(starts_and_battles):
    """(battles, steps): each world, what it gives, and the step that follows."""
    return starts_and_battles[1]


def by_unit(problem, states):
    """Each unit's features by name, (..., units)."""
    units = np.asarray(states).reshape(*np.shape(states)[:-1], NUM_UNITS, -1)
    names = [name.removeprefix("ally_0_") for name in problem.state_names[: units.shape[-1]]]
    return {name: units[..., place] for place, name in enumerate(names)}


@pytest.mark.parametrize("text", [f"{TEXT},steps={STEPS}", "smax:terran_5_vs_5", "smax:protoss_10_vs_10", "smax:2s3z"])
def test_problem_keeps_the_contract(text, key):
    _, _, (states, _, _, views) = assert_contract(problem_from_text(text), key, 8)
    assert np.all((states >= 0) & (states <= 1)) and np.all(np.abs(views) <= 1)


def test_the_state_is_the_librarys(problem, battles):
    features, units = by_unit(problem, battles["state"]), jax.tree.map(np.asarray, battles["world"].state)
    alive = units.unit_alive
    assert np.any(alive) and not np.all(alive)
    assert list(features) == ["x", "y", "health", "cooldown", "alive", "zergling", "hydralisk"]
    assert problem.state_names[-1] == "enemy_2_hydralisk"
    np.testing.assert_array_equal(features["alive"], alive)
    np.testing.assert_array_equal(features["alive"] > 0, features["health"] > 0)
    # 32 is a power of two, so that positions come back exactly.
    places = np.stack([features["x"], features["y"]], axis=-1) * 32
    np.testing.assert_array_equal(places[alive], np.clip(units.unit_positions, 0, 32)[alive])
    is_hydralisk = units.unit_types % 2 == 1
    np.testing.assert_array_equal(features["hydralisk"], alive & is_hydralisk)
    np.testing.assert_array_equal(features["zergling"], alive & ~is_hydralisk)
    full = np.where(is_hydralisk, 80.0, 35.0)
    # One rounding of a division and one of a product.
    np.testing.assert_allclose(features["health"] * full, np.where(alive, units.unit_health, 0.0), rtol=3e-7)
    longest = np.where(is_hydralisk, 0.59, 0.5) + 2 / 16
    waits = np.where(alive, np.maximum(units.unit_weapon_cooldowns, 0.0), 0.0)
    np.testing.assert_allclose(features["cooldown"] * longest, waits, atol=3e-7)
    for values in features.values():
        assert np.all((values >= 0) & (values <= 1)) and np.all(values[~alive] == 0)


def test_views_are_bounded_and_the_dead_only_stop(problem, battles):
    views, available = np.asarray(battles["views"]), np.asarray(battles["available"])
    assert np.all(np.isfinite(views)) and np.all(np.abs(views) <= 1)
    assert np.all(views.reshape(-1, views.shape[-1]).any(axis=0)), "no column of an observation is always 0"
    alive = np.asarray(battles["world"].state.unit_alive)[..., :NUM_ALLIES]
    assert np.all(available[..., 4]) and not np.any(available[~alive][:, [0, 1, 2, 3, 5, 6, 7]])
    assert np.all(views[~alive] == 0)


def test_steps_and_views_are_those_of_the_library(problem, battles):
    """Types of our own for each team change neither battles nor what is seen of them."""
    library = smax_scenario.library()
    plain_team = library.Scenario(jnp.zeros(NUM_UNITS, jnp.uint8), NUM_ALLIES, 3, True, True)
    plain = library.HeuristicEnemySMAX(scenario=plain_team)
    ours, theirs = plain.unit_type_names.index("zergling"), plain.unit_type_names.index("hydralisk")

    def as_plain(world):
        kinds = jnp.array([ours, theirs] * 2, jnp.uint8)[world.state.unit_types]
        return world.replace(state=world.state.replace(unit_types=kinds))

    def compare(world, key, actions):
        seen = plain.get_obs(as_plain(world))
        _, moved, rewards, _, _ = plain.step_env(key, as_plain(world), dict(zip(plain.agents, actions, strict=True)))
        return jnp.stack([seen[agent] for agent in plain.agents]), moved.state, rewards["ally_0"]

    with smax_scenario.as_library_expects():
        step = jax.jit(jax.vmap(jax.vmap(compare)))
        views, moved, rewards = step(battles["world"], battles["key"], battles["actions"])
    first, last = jax.tree.map(lambda leaf: leaf[:, 1:], battles["world"].state), slice(None, -1)
    np.testing.assert_array_equal(first.unit_alive, moved.unit_alive[:, last])
    # Two programs, which may round differently.
    for name in ("unit_positions", "unit_health", "unit_weapon_cooldowns"):
        np.testing.assert_allclose(getattr(first, name), getattr(moved, name)[:, last], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(battles["reward"], rewards, atol=1e-5)

    full = np.asarray(views)
    filled = np.flatnonzero(full.reshape(-1, full.shape[-1]).any(axis=0))
    assert problem.observation_size == len(filled)
    np.testing.assert_allclose(battles["views"], np.clip(full[..., filled], -1, 1), rtol=1e-5, atol=1e-5)


def test_nobody_starts_at_a_wall(starts):
    assert np.all((starts >= MARGIN) & (starts <= 32 - MARGIN))
    moved_inside = np.any((starts == MARGIN) | (starts == 32 - MARGIN), axis=(1, 2))
    # Of bare starts about a tenth touch a wall, with as many units; more come closer to one than the margin.
    assert 0.02 < np.mean(moved_inside) < 0.5


def test_an_episode_keeps_its_last_state(problem, episodes):
    features, over = by_unit(problem, episodes.states), episodes.stops - 1
    early = over[episodes.stops - episodes.starts < STEPS]
    assert len(early) > BATTLES // 2
    dead = features["health"] == 0
    teams_dead = np.stack([dead[:, :NUM_ALLIES].all(axis=1), dead[:, NUM_ALLIES:].all(axis=1)])
    assert np.all(teams_dead[:, early].any(axis=0)), "the last state shows who is dead"
    assert not np.any(np.delete(teams_dead, over, axis=1)), "no state before the last is over"
    assert np.all(episodes.states >= 0) and np.all(episodes.states <= 1)
    np.testing.assert_array_equal(episodes.scaling.minimum, 0)
    np.testing.assert_array_equal(episodes.scaling.maximum, 1)


def test_an_episode_ends_with_a_team_or_after_its_steps(battles):
    alive = np.asarray(battles["world"].state.unit_alive)[:, 1:]
    expected = ~alive[..., :NUM_ALLIES].any(axis=-1) | ~alive[..., NUM_ALLIES:].any(axis=-1)
    over = np.asarray(battles["over"])
    np.testing.assert_array_equal(over[:, :-1], expected)
    assert np.all(over[:, -1]) and np.any(over[:, :-1]) and not np.all(over[:, :-1])


def test_a_battle_is_won_when_every_enemy_is_dead(problem, battles):
    """As few random battles are won, the enemies of the last worlds are also killed by hand."""
    last = jax.tree.map(lambda leaf: leaf[:, -1], battles["world"])
    won = jax.vmap(problem.won)
    alive = np.asarray(last.state.unit_alive)
    np.testing.assert_array_equal(won(last), ~alive[:, NUM_ALLIES:].any(axis=1))
    killed = last.replace(state=last.state.replace(unit_alive=last.state.unit_alive.at[:, NUM_ALLIES:].set(False)))
    assert bool(jnp.all(won(killed)))


@pytest.mark.parametrize(
    ("race", "health"), [("terran", (45.0, 125.0)), ("protoss", (160.0, 150.0)), ("zerg", (35.0, 80.0))]
)
def test_a_race_has_its_types_alone(race, health):
    environment = smax_scenario.environment(f"{race}_4_vs_6", None, 10)
    assert tuple(environment.unit_type_names) == 2 * smax_scenario.RACES[race]
    np.testing.assert_array_equal(environment.unit_type_health, 2 * health)
    kinds = np.asarray(jax.vmap(environment.unit_type_generator.generate)(jax.random.split(jax.random.key(4), 400)))
    assert np.all(kinds[:, :4] < 2) and np.all(kinds[:, 4:] >= 2) and np.all(kinds < 4)
    np.testing.assert_array_equal(kinds[:, :4] + 2, kinds[:, 4:8])
    # Five standard deviations of a share of 400 draws; also of the enemies that mirror nobody.
    np.testing.assert_allclose(np.mean(kinds % 2 == 0, axis=0), 0.5, atol=5 * 0.5 / np.sqrt(400))


def test_sight_is_seen_in_observations_and_shrinks_what_a_team_knows(problem, battles):
    views = np.asarray(battles["views"])[..., 9:36].reshape(BATTLES, STEPS, NUM_ALLIES, 3, 9)
    seen = jax.jit(jax.vmap(jax.vmap(problem.sees)))(battles["state"])
    np.testing.assert_array_equal(seen, views[..., 0] > 0)
    states = np.asarray(battles["state"]).reshape(-1, problem.state_size)
    unseen = by_unit(problem, states)["alive"][:, NUM_ALLIES:] > 0
    unseen &= ~np.asarray(seen).reshape(-1, NUM_ALLIES, 3).any(axis=1)
    assert float(unseen_share(problem, states)) == pytest.approx(unseen.any(axis=1).mean(), abs=1e-6)

    shares = [float(unseen_share(SMAX("zerg_2_vs_3", sight=sight), states)) for sight in (64.0, 12.0, 6.0, 3.0)]
    assert shares == sorted(shares) and shares[0] < shares[-1]
    defeated = ~np.any(by_unit(problem, states)["alive"][:, :NUM_ALLIES] > 0, axis=1)
    assert shares[0] == pytest.approx(defeated.mean(), abs=1e-6), "who sees the whole map misses nobody while alive"
    ranges = smax_scenario.environment("zerg_2_vs_3", 3.0, 100).unit_type_sight_ranges
    np.testing.assert_array_equal(ranges, [3, 3, 8, 9])


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        # Per unit 5 features and 2 types; others' 7 and own 4 features, and their types.
        ("smax:zerg_5_vs_5", (5, 10, 9 * 9 + 6, 70)),
        ("smax:terran_10_vs_11,sight=6,steps=20", (10, 16, 20 * 9 + 6, 147)),
        # Constant types are no part of a state.
        ("smax:3m", (3, 8, 5 * 8 + 5, 30)),
        ("smax:3s_vs_5z", (3, 10, 7 * 8 + 5, 40)),
        ("smax:2s3z", (5, 10, 9 * 9 + 6, 50)),
        # The library says 127; of its types each occurs.
        ("smax:smacv2_5_units,sight=9", (5, 10, 127, 110)),
    ],
)
def test_scenarios_and_their_descriptions(text, sizes):
    problem = problem_from_text(text)
    assert (problem.num_agents, problem.num_actions, problem.observation_size, problem.state_size) == sizes
    rebuilt = problem_from_description(json.loads(json.dumps(problem.description)))
    assert eqx.tree_equal(rebuilt, problem) is True
    assert hash(jax.tree.structure(rebuilt)) == hash(jax.tree.structure(problem))


def test_a_fixed_team_fights_as_the_library_lists_it():
    chosen = smax_scenario.scenario("3s_vs_5z")
    assert (chosen.ally_types, chosen.enemy_types, chosen.places) == (("stalker",), ("zealot",), (0,) * 3 + (1,) * 5)
    chosen = smax_scenario.scenario("2s3z")
    assert [chosen.unit_type_names[place] for place in chosen.places] == (["stalker"] * 2 + ["zealot"] * 3) * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("smax:zerg_5", "no SMAX scenario 'zerg_5': there are 3m, .*smacv2_5_units.*, and protoss_N_vs_M"),
        ("smax:zerg_0_vs_5", "no SMAX scenario"),
        ("smax:", "no SMAX scenario"),
        ("smax:3m,sight=0", "number above 0, not 0"),
        ("smax:3m,sight=-3", "number above 0, not -3"),
        ("smax:3m,sight=far", "number after 'sight='"),
        ("smax:3m,sight=inf", "finite"),
        ("smax:3m,steps=0", "at least one step"),
        ("smax:3m,targets=1", "unknown option 'targets': there are sight, steps"),
    ],
)
def test_unknown_texts_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        problem_from_text(text)


def test_64_bits_are_refused():
    with jax.enable_x64(True), pytest.raises(InputError, match="32 bits"):
        SMAX()


def test_another_version_of_the_library_is_refused(problem):
    with pytest.raises(MismatchError, match=f"JaxMARL 0.0.1, but {problem.jaxmarl} is installed"):
        problem_from_description({**problem.description, "jaxmarl": "0.0.1"})
    with pytest.raises(InputError, match="damaged"):
        problem_from_description({"kind": "smax"})


def test_without_the_library_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jaxmarl.environments.smax", None)
    with pytest.raises(InputError, match=r"install composite-flow\[smax\]"):
        smax_scenario.library.__wrapped__()


def test_loading_the_library_says_nothing(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.partition(".")[0] == "jaxmarl"]:
        monkeypatch.delitem(sys.modules, name)
    streams = sys.stdout, sys.stderr, sys.__stdout__
    assert smax_scenario.library.__wrapped__() is sys.modules["jaxmarl.environments.smax"]
    assert capsys.readouterr().out == "" and (sys.stdout, sys.stderr, sys.__stdout__) == streams
