"""What a world is worth to whom, held against values by hand, by brute force, and from the literature."""

import dataclasses
import json
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import config

import composite_flow as cf
from composite_flow.analysis.probe import Earned, probe
from composite_flow.analysis.probe.exact import value_of_belief, value_of_state
from composite_flow.analysis.probe.search import value_with_clock, value_without_clock, values
from composite_flow.analysis.probe.short_runs import _late_gain, short_run
from composite_flow.analysis.probe.verdict import verdict
from composite_flow.analysis.probe.windows import windows_of
from composite_flow.cli.app import main
from composite_flow.errors import InputError
from composite_flow.problems.decision_tables import decision_tables, watched_world
from composite_flow.problems.tabular import TabularProblem

DRAWS = np.random.default_rng(0)


def tables_of(problem):
    found = decision_tables(problem)
    assert found is not None
    return found


def coin(num_agents, num_steps, right=0.7):
    """A coin that rests as it fell; each agent sees its side with probability 0.7; all must name it to earn 1."""
    one = np.array([[right, 1 - right], [1 - right, right]])
    seen = np.stack([np.prod(np.meshgrid(*[row] * num_agents, indexing="ij"), axis=0).ravel() for row in one])
    count = 2**num_agents
    rewards = np.zeros((2, count))
    rewards[0, 0] = rewards[1, -1] = 1.0
    stays = np.tile(np.eye(2)[:, None], (1, count, 1))
    return TabularProblem(num_agents, [0.5, 0.5], stays, seen, rewards, np.eye(2), num_steps=num_steps)


def lure(first, later, num_steps=2):
    """One agent that sees its place: staying earns 1, leaving earns `first`, and `later` in each step after it."""
    transition = [[[1, 0], [0, 1]], [[0, 1], [0, 1]]]
    rewards = [[1, first], [later, later]]
    return TabularProblem(1, [1, 0], transition, np.eye(2), rewards, np.eye(2), num_steps=num_steps)


def test_xor_by_hand():
    """Its state is seen by the team at once and by no agent alone, which earns half of the steps by never moving.

    With a clock both first do as they see: that earns 1/4, and leaves the state 0 for all to know.
    """
    found = probe(TabularProblem.xor(), seconds=0)
    earned = {name: one.value for name, one in found.earned.items()}
    assert earned == pytest.approx({"own": 8, "own-memory": 15.25, "all": 16, "all-memory": 16, "state": 16})
    assert (found.state.value, found.memory.value, found.others.value) == pytest.approx((8, 7.25, 0.75))
    assert [one.how for one in found.earned.values()] == ["at least", "at least", "at least", "exact", "exact"]
    assert found.verdict.endswith("see at most 0.75 more: a memory does nearly as well as inference.")


def test_a_coin_by_hand():
    """One agent's majority of three flips is right with 0.784; of one flip, or two, with 0.7."""
    tables = tables_of(coin(1, 3))
    assert value_of_state(tables, 0.9) == pytest.approx(3)
    assert value_of_belief(tables, 0.9) == pytest.approx(0.7 + 0.7 + 0.784)
    remembering = [value_with_clock(windows_of(tables, length), 1.0, 8, DRAWS) for length in (1, 2, 3)]
    assert remembering == pytest.approx([2.1, 2.1, 2.184])
    assert value_without_clock(windows_of(tables, 1), 1.0, 8, DRAWS) == pytest.approx(2.1)


def test_two_who_see_a_coin_by_hand():
    """Always naming one side earns 0.5, more than 0.49; together two flips are right with 0.7, four with 0.784."""
    found = probe(coin(2, 2), seconds=0, discount=1)
    earned = {name: one.value for name, one in found.earned.items()}
    # with a second flip each: name 1 where both of one's own say so, and 0 else: (0.91² + 0.49²)/2
    expected = {"own": 1, "own-memory": 0.5 + (0.91**2 + 0.49**2) / 2, "all": 1.4, "all-memory": 1.484, "state": 2}
    assert earned == pytest.approx(expected)
    assert found.verdict.endswith("inferring it together pays.")


@pytest.mark.parametrize(("discount", "earns"), [(0, 2), (0.45, 2), (0.55, 3), (1, 3)])
def test_policies_are_the_best_by_the_discount_and_told_without_it(discount, earns):
    """To leave earns 0 and then 3, in place of twice 1: it is better where 3γ > 1 + γ."""
    tables = tables_of(lure(0, 3))
    assert value_of_state(tables, discount) == value_of_belief(tables, discount) == pytest.approx(earns)
    assert value_with_clock(windows_of(tables, 1, together=True), discount, 4, DRAWS) == pytest.approx(earns)


def test_of_equally_good_actions_the_one_counts_that_earns_more_in_the_end():
    tables = tables_of(lure(1, 3))
    assert value_of_state(tables, 0) == value_of_belief(tables, 0) == pytest.approx(4)
    assert value_with_clock(windows_of(tables, 1), 0, 4, DRAWS) == pytest.approx(4)


@pytest.mark.parametrize(("num_steps", "optimum"), [(2, -4.0), (3, 5.1908), (4, 4.8028)])
def test_the_decentralised_tiger_from_the_literature(num_steps, optimum):
    """Best values of Nair et al. 2003; a file gives them as well, though there nothing is heard at first."""
    file = cf.problem_from_text(f"tests/problems/dpomdp/files/tiger.dpomdp,steps={num_steps}")
    for problem in (TabularProblem.tiger(num_steps), file):
        windows = windows_of(tables_of(problem), min(num_steps, 3))
        assert value_with_clock(windows, 1.0, 24, DRAWS) == pytest.approx(optimum, abs=1e-3)
        assert value_of_state(tables_of(problem), 1.0) == pytest.approx(20 * num_steps)


def by_recursion(tables, belief, steps):
    """The value of a belief over all joint actions and observations, without merging beliefs."""
    if steps == 0:
        return 0.0
    joint = belief[:, None] * tables.observation
    total = 0.0
    for heard in np.flatnonzero(joint.sum(axis=0)):
        now = joint[:, heard]
        moved = [by_recursion(tables, now @ one, steps - 1) for one in tables.transition]
        total += np.max(now @ tables.rewards + np.array(moved))
    return total


@pytest.mark.parametrize("name", ["tiger.dpomdp,steps=3", "recycling.dpomdp,steps=3", "relay.dpomdp,steps=3"])
def test_beliefs_are_worth_what_a_plain_recursion_says(name):
    tables = tables_of(cf.problem_from_text(f"tests/problems/dpomdp/files/{name}"))
    assert value_of_belief(tables, 1.0) == pytest.approx(by_recursion(tables, tables.initial, 3), abs=1e-6)


def test_a_search_finds_the_best_of_all_policies_of_a_small_team():
    """Every policy of two agents over two steps that know the step, and of those that do not."""
    windows = windows_of(tables_of(TabularProblem.xor(2)), 1)
    choices = np.array(list(product((0, 1), repeat=8))).reshape(-1, 2, 2, 2)
    earned = [values(windows, policy, 1.0)[1] for policy in choices]
    alike = [one for one, policy in zip(earned, choices, strict=True) if (policy[0] == policy[1]).all()]
    assert value_with_clock(windows, 1.0, 24, DRAWS) == pytest.approx(max(earned)) == 1.25
    assert value_without_clock(windows, 1.0, 24, DRAWS) == pytest.approx(max(alike)) == 1.0


def test_a_policys_value_is_what_it_earns_when_played(key):
    """Both do as they see in the first step and never move afterwards, in 4,000 drawn episodes."""
    problem = TabularProblem.xor(3)
    policy = np.zeros((3, 2, 2), int)
    policy[0] = [0, 1]
    expected = values(windows_of(tables_of(problem), 1), policy, 1.0)[1]

    def episode(key):
        keys = jax.random.split(key, 7)
        world, total = problem.reset(keys[0]), 0.0
        for step in range(3):
            seen = jnp.argmax(problem.observe(keys[1 + 2 * step], world), axis=1)
            actions = jnp.asarray(policy[step])[jnp.arange(2), seen].astype(jnp.int32)
            world, reward, _ = problem.step(keys[2 + 2 * step], world, actions)
            total = total + reward
        return total

    assert expected == pytest.approx(2.25)
    assert float(jnp.mean(jax.vmap(episode)(jax.random.split(key, 4000)))) == pytest.approx(expected, abs=0.05)


# --- worlds that no action moves


def test_sensors_are_worth_what_their_own_steps_pay(key):
    """Of any belief the best of the kept joint actions is the best of all, as `step` pays them."""
    problem = cf.problem_from_text("sensor:2x2,targets=2")
    world = watched_world(problem)
    actions = jnp.asarray(list(product(range(3), repeat=4)), jnp.int32)
    pairs = np.array([np.flatnonzero(state) for state in world.states])

    def pays(targets):
        start = problem.reset(key)
        placed = type(start)(targets.astype(jnp.int32), start.time)
        return jax.vmap(lambda joint: problem.step(key, placed, joint)[1])(actions)

    whole = np.asarray(jax.vmap(pays)(jnp.asarray(pairs)))
    beliefs = np.random.default_rng(0).dirichlet(np.full(len(pairs), 0.3), 200)
    np.testing.assert_allclose((beliefs @ world.rewards).max(axis=1), (beliefs @ whole).max(axis=1), atol=1e-6)
    assert watched_world(cf.problem_from_text("sensor:5x5,targets=2")) is None


def test_sensors_that_overlook_are_worth_what_is_known_of_them():
    """Of the state 20.637, of one step 16.43 (both in `test_sensor_worth`), of all steps 18.87, by 3,072 others."""
    found = probe(cf.problem_from_text("sensor:3x3,targets=2,miss=0.5"), seconds=0)
    assert found.earned["state"].value == pytest.approx(20.637, abs=1e-3)
    for name, value in (("all", 16.43), ("all-memory", 18.87)):
        one = found.earned[name]
        assert one.value == pytest.approx(value, abs=2 * one.width) and one.width < 0.2
    seen = probe(cf.problem_from_text("sensor:3x3,targets=2"), seconds=0).earned
    assert seen["all"].value == pytest.approx(20.637, abs=1e-3) and seen["all"].width < 1e-6  # nothing is overlooked
    assert found.earned["own"] is None and "more seconds than 0" in found.verdict


# --- short runs, sentences, and the command


@pytest.mark.slow
def test_short_runs_learn_what_can_be_earned():
    """One agent that sees a coin badly: 0.7 a step from its own view, 1 from the state."""
    options = dict(remembers=False, discount=0.0, seconds=4.0, tell=lambda sentence: None)
    own, state = (short_run(coin(1, 4), inputs, seeds=(0, 1), **options) for inputs in ("agent", "state"))
    assert own.value == pytest.approx(2.8, abs=0.15) and state.value == pytest.approx(4, abs=0.15)
    assert own.interval[0] <= own.value <= own.interval[1] and own.steps > 10_000


def earned_of(own, memory, team, state, width=0.0):
    numbers = {"own": own, "own-memory": memory, "all": None, "all-memory": team, "state": state}
    interval = lambda value: (value - width, value + width)  # noqa: E731
    return {name: None if one is None else Earned(one, interval(one), "short runs") for name, one in numbers.items()}


@pytest.mark.parametrize(
    ("numbers", "ends"),
    [
        ((4, 4.2, 11, 11.1), "The state is worth 7.1 an episode here, a memory 0.2, and what the others see 6.8 more: "
         "inferring it together pays."),
        ((4, 10.8, 11, 11.1), "a memory does nearly as well as inference."),
        ((20, 20, 20.1, 20.6), "no more than a twentieth of what is earned (1): inference does not pay."),
        ((4, 4, 4.1, 9), "the state is worth much, but what agents see does not tell it."),
        ((4, None, 9, 9), "was not found: give short runs more seconds than 0."),
        ((None, None, None, 9), "What the state is worth was not found: give short runs more seconds than 0."),
    ],
)  # fmt: skip
def test_verdicts(numbers, ends):
    assert verdict(earned_of(*numbers)).endswith(ends)


def test_what_chance_may_have_done_counts_for_nothing():
    assert "no more than chance (4.2)" in verdict(earned_of(4, 4, 8, 8, width=3.0))


def test_runs_that_were_still_learning_are_named():
    earned = earned_of(4, 4.2, 11, 11.1)
    earned["own-memory"] = dataclasses.replace(earned["own-memory"], still_rising=True)
    expected = "Too early to say: acting on own-memory was still learning when its time was over; give more seconds."
    assert verdict(earned) == expected


@pytest.mark.parametrize(("last", "rises"), [([4.0, 4.1], False), ([5.0, 5.0], True)])
def test_a_late_gain_compares_the_last_two_quarters_by_episodes(last, rises):
    rows = [{"return": value, "episodes": 10} for value in (0.0, 1.0, 2.0, 3.0, 4.0, 4.0, *last)]
    assert _late_gain(tuple(rows)) == pytest.approx(np.mean(last) - 4.0) and (_late_gain(rows) > 0.06) == rises
    assert _late_gain([*rows[:6], {"return": None, "episodes": 0}, {"return": 7.0, "episodes": 1}]) == 3.0


def test_the_command_says_it_in_json(capsys):
    assert main(["probe", "tabular:xor,steps=4", "--seconds", "0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    told = {"value": 3.25, "interval": None, "how": "at least", "steps": None, "still_rising": False}
    assert found["earned"]["own-memory"] == told
    assert found["verdict"].startswith("The state is worth 2 an episode here") and found["discount"] == 0.99


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["tabular:xor", "--discount", "1.5"], "The discount must lie in [0, 1], not 1.5."),
        (["tabular:xor", "--seconds", "-1"], "a finite number that is not negative, not -1.0."),
        (["tabular:xor", "--seeds", "0"], "num_seeds"),
        (["smacv2:zerg_5_vs_5"], "run outside of JAX"),
        (["nothing"], "There is no problem 'nothing'"),
    ],
)
def test_a_probe_that_cannot_be_made_is_refused(arguments, sentence, capsys):
    assert main(["probe", *arguments]) == 1
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_a_world_without_state_is_refused():
    config.update("jaxtyping_disable", True)
    try:
        blind = TabularProblem(1, [1.0], np.ones((1, 2, 1)), np.ones((1, 1)), np.zeros((1, 2)), np.zeros((1, 0)))
        with pytest.raises(InputError, match="has no state"):
            probe(blind)
    finally:
        config.update("jaxtyping_disable", False)
