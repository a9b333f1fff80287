"""A cell of this experiment: fusion is learned with whom to ask, and orders of asking are compared on new steps."""

import time
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset
from composite_flow.data.windows import JointBatch
from composite_flow.files.plain_json import jsonable
from composite_flow.fusion.answers import Answer, Prior, team_sums
from composite_flow.fusion.asking import turns
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.posterior import posterior
from composite_flow.problems.kinds import problem_from_text
from composite_flow.problems.sensor import SensorNetwork
from composite_flow.training.config import TrainingConfig
from composite_flow.training.fit import fit
from composite_flow_paper.shared.cells import Workspace, rounded, told_steps
from composite_flow_paper.whom.exact import Tables, expected_errors, first_of, greedy_order, outcomes_of, tables_of

TRAINING = TrainingConfig(
    learn="fusion",
    team_denoiser=False,
    next_agent=True,
    width=128,
    depth=3,
    steps=3_000,
    learning_rate=2e-3,
    warmup=100,
    record_every=500,
    evaluate_every=1_000,
)
WORLD = "sensor:5x5,targets=2,miss=0.5"


@dataclass(frozen=True)
class WhomSettings:
    """What the experiment depends on.

    Attributes:
        world: a network of sensors whose states can be listed.
        training: of fusion, and of whom to ask.
        num_episodes: collected to learn from and to judge training by, a tenth of them for that.
        num_chosen: joint steps of training by which the best fixed order is chosen.
        num_test: new episodes; one step of each.
        num_accuracies: at which asking stops, from that of the prior down.
        num_seeds: data, training and test are new in each.
    """

    world: str = WORLD
    training: TrainingConfig = field(default_factory=lambda: TRAINING)
    num_episodes: int = 3_000
    num_chosen: int = 1_000
    num_test: int = 3_000
    num_accuracies: int = 60
    num_seeds: int = 3


class Case(eqx.Module):
    """What is known of test steps, cases along the leading axis.

    Attributes:
        each: what all agents answer.
        outcomes: the numbers of what each agent saw.
        key: draws the random order.
    """

    each: Answer
    outcomes: Int[Array, "cases agents"]
    key: PRNGKeyArray


def compute(settings: WhomSettings, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Collect, learn, and ask in every order."""
    started, problem = time.process_time(), problem_from_text(settings.world)
    assert isinstance(problem, SensorNetwork), "the exact choice lists all that a sensor can see"
    key_data, key_split, key_train, key_test, key_steps, key_orders = jax.random.split(jax.random.key(seed), 6)
    dataset = HistoryDataset(collect(problem, settings.num_episodes, key=key_data))
    train, validation, _ = dataset.split(key=key_split, fractions=(0.89, 0.1, 0.01))
    options = {"progress": told_steps(workspace.progress), "description": {"problem": jsonable(problem.description)}}
    model = fit(train, validation, settings.training, key=key_train, **options)
    trained = time.process_time() - started
    assert model.fusion is not None and model.fusion.next_agent is not None
    workspace.progress("asking in every order")
    tables, seen = tables_of(problem)
    chosen = train.joint(np.sort(np.asarray(train.steps)[:: max(1, train.num_steps // settings.num_chosen)]))
    fixed = best_fixed_order(model.fusion.answers.prior, answers_of(model.fusion, chosen.histories), chosen.states)
    joint = one_step_of_each(HistoryDataset(collect(problem, settings.num_test, key=key_test)), key_steps)
    outcomes = outcomes_of(joint.structured.observations[:, :, -1], seen)
    keys = jax.random.split(key_orders, settings.num_test)
    found = judged(model.fusion, tables, Case(answers_of(model.fusion, joint.histories), outcomes, keys), fixed)
    curves = [point for point in model.curves if "error_with_named" in point]
    return {
        "agents": problem.num_agents,
        "states": problem.num_states,
        "cases": settings.num_test,
        "orders": {name: summed_up(parts, settings.num_accuracies) for name, parts in found.items()},
        "best_fixed_order": fixed.tolist(),
        "fusion_seconds": model.curves[-1 - len(curves)]["seconds"],
        "next_agent_seconds": curves[-1]["seconds"],
        "error_with_named": curves[-1]["error_with_named"],
        "error_with_anybody": curves[-1]["error_with_anybody"],
        "train_seconds": trained,
        "seconds": time.process_time() - started,
    }


def one_step_of_each(dataset: HistoryDataset, key: PRNGKeyArray) -> JointBatch:
    """A random step of every episode, all of which are as long."""
    steps = np.asarray(dataset.steps).reshape(len(dataset.episode_ids), -1)
    chosen = jax.random.randint(key, (len(steps),), 0, steps.shape[1])
    return dataset.joint(steps[np.arange(len(steps)), chosen])


def answers_of(fusion: LearnedFusion, histories: Float[Array, "cases agents columns"]) -> Answer:
    """What all agents answer in each case."""
    return jax.jit(jax.vmap(fusion.answers.answer_each))(histories)


class Judged(eqx.Module):
    """One order of asking, after each number of messages; cases along the leading axis.

    Attributes:
        errors: squared error that is expected of what the team says.
        exact_errors: that of the exact mean, given what the same agents saw.
        claims: squared error that the network expects, by what the team says.
    """

    errors: Float[Array, "cases messages"]
    exact_errors: Float[Array, "cases messages"]
    claims: Float[Array, "cases messages"]


def judged(fusion: LearnedFusion, tables: Tables, cases: Case, fixed: Int[Array, " agents"]) -> dict[str, Judged]:
    """All orders on all cases: the network's, the exact greedy one, at random, by number, and the best fixed one."""
    return _judged(eqx.filter(fusion, eqx.is_array), tables, cases, fixed)


@eqx.filter_jit
def _judged(fusion: LearnedFusion, tables: Tables, cases: Case, fixed: Int[Array, " agents"]) -> dict[str, Judged]:
    network, prior, agents = fusion.next_agent, fusion.answers.prior, len(fixed)
    assert network is not None
    everyone, nobody = jnp.ones(agents, bool), jnp.zeros(agents, bool)

    def of_case(case: Case):
        told = tables.told(case.outcomes)
        orders = {
            "learned": turns(network, case.each, everyone, nobody).agents,
            "exact": greedy_order(tables, told),
            "random": jax.random.permutation(case.key, agents),
            "by_number": jnp.arange(agents),
            "best_fixed": fixed,
        }

        def judge(order):
            teams = first_of(order)
            means, variances = jax.vmap(lambda total: posterior(prior, total))(team_sums(case.each, teams))
            errors, exact = expected_errors(tables, told, teams, means)
            claims = jnp.sum(jax.vmap(network.errors.of)(means, variances, teams), axis=1)
            return Judged(errors, exact, claims)

        return {name: judge(order) for name, order in orders.items()}

    return jax.lax.map(of_case, cases)


@jax.jit
def best_fixed_order(prior: Prior, each: Answer, states: Float[Array, "cases state"]) -> Int[Array, " agents"]:
    """The order that is the same in all cases and, agent by agent, leaves the least squared error of what teams say."""
    agents = each.evidence.shape[1]

    def error_of(team: Bool[Array, " agents"]):
        totals = jax.vmap(lambda one: jax.tree.map(lambda part: part[0], team_sums(one, team[None])))(each)
        return jnp.mean(jax.vmap(lambda total, s: jnp.sum((posterior(prior, total)[0] - s) ** 2))(totals, states))

    def turn(team, _):
        longer = team[None] | jnp.eye(agents, dtype=bool)
        errors = jax.lax.map(error_of, longer)
        agent = jnp.argmin(jnp.where(team, jnp.inf, errors))
        return team.at[agent].set(True), agent

    return jax.lax.scan(turn, jnp.zeros(agents, bool), length=agents)[1]


def summed_up(found: Judged, num_accuracies: int) -> dict[str, Any]:
    """Means over the cases, after each number of messages, and where each case stops at an accuracy of its own."""
    claims, errors, exact = (np.asarray(part, np.float64) for part in (found.claims, found.errors, found.exact_errors))
    means = {"errors": errors.mean(axis=0), "exact_errors": exact.mean(axis=0), "claims": claims.mean(axis=0)}
    return {
        **{name: rounded(values, 6).tolist() for name, values in means.items()},
        "stopping": stopped(claims, errors, num_accuracies),
        "exact_stopping": stopped(exact, exact, num_accuracies),
    }


def stopped(
    claims: Float[np.ndarray, "cases messages"], errors: Float[np.ndarray, "cases messages"], num_accuracies: int
) -> list[dict[str, float]]:
    """Mean messages and errors where each case stops once its claimed variance is down to a bound, bound by bound."""
    rows, found = np.arange(len(claims)), []
    for share in np.geomspace(1.0, 1e-4, num_accuracies):
        bound = share * claims[0, 0]
        reached = claims <= bound
        count = np.where(reached.any(axis=1), reached.argmax(axis=1), claims.shape[1] - 1)
        means = {"messages": float(count.mean()), "error": float(errors[rows, count].mean())}
        found.append({"variance": float(bound), **means})
    return found
