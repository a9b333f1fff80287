"""Playing many worlds at once, each reset as soon as its episode is over, and recording what learning needs.

A problem does not reset itself: the world that `Problem.step` calls over is the end of its episode. No action is taken
in it; the next step is the first of a new episode.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.numerics.settled import settled
from composite_flow.policy.team import Team, TeamMemory, decide, fresh_memory
from composite_flow.problems.base import Problem, World


class Live(eqx.Module):
    """A world in the middle of an episode.

    Attributes:
        world: the problem's own.
        memory: the team's, before the next step.
        critic_memory: before the next step, zero at an episode's start.
        starts: whether the next step is the first of its episode.
        earned: undiscounted return of the episode so far.
        length: its steps so far.
    """

    world: World
    memory: TeamMemory
    critic_memory: Float[Array, "*worlds memory"]
    starts: Bool[Array, "*worlds"]
    earned: Float[Array, "*worlds"]
    length: Int[Array, "*worlds"]


class Step(eqx.Module):
    """What is kept of a step.

    Attributes:
        inputs: what the actor saw.
        observations: what each agent saw, where a denoiser learns from it; else None.
        squared_error: of the inferred states, in scaled units, averaged over agents, samples and features; 0 where
            nothing is inferred.
        age: steps before it in its episode.
        available: which actions each agent could take.
        actions: which it took.
        log_probabilities: log π of them when they were taken.
        state: what the critic saw.
        value: what it said, in its own units.
        reward: what the team earned.
        starts, ends: whether the step was the first, or the last, of its episode.
    """

    inputs: Float[Array, "*steps agents inputs"]
    observations: Float[Array, "*steps agents observation"] | None
    squared_error: Float[Array, "*steps"]
    age: Int[Array, "*steps"]
    available: Bool[Array, "*steps agents actions"]
    actions: Int[Array, "*steps agents"]
    log_probabilities: Float[Array, "*steps agents"]
    state: Float[Array, "*steps state"]
    value: Float[Array, "*steps"]
    reward: Float[Array, "*steps"]
    starts: Bool[Array, "*steps"]
    ends: Bool[Array, "*steps"]


class Finished(eqx.Module):
    """Episodes that ended, in sums.

    Attributes:
        count: how many.
        earned: their returns, without discount.
        length: their steps.
        won: how many were won; always zero where the problem does not tell.
    """

    count: Float[Array, "*steps"]
    earned: Float[Array, "*steps"]
    length: Float[Array, "*steps"]
    won: Float[Array, "*steps"]


class Piece(eqx.Module):
    """Successive steps of one world, with the memories before the first of them."""

    actor_memory: Float[Array, "*pieces agents memory"]
    critic_memory: Float[Array, "*pieces memory"]
    steps: Step


def start_worlds(problem: Problem, team: Team, key: PRNGKeyArray, count: int) -> Live:
    """So many new episodes."""
    return jax.vmap(lambda key_world: _start(problem, team, key_world))(jax.random.split(key, count))


def play(
    problem: Problem, team: Team, live: Live, key: PRNGKeyArray, num_pieces: int, piece_length: int
) -> tuple[Live, Piece, Finished]:
    """Play every world for `num_pieces` · `piece_length` steps.

    Args:
        problem: the world's laws.
        team: who acts, and who values.
        live: the worlds, along their leading axis.
        key: random key.
        num_pieces: in time, per world.
        piece_length: steps of a piece.

    Returns:
        The worlds afterwards; the pieces with axes (time, worlds) and their steps with (time, worlds, steps); sums over
        the episodes that ended.
    """

    def play_piece(live, keys):
        after, (steps, finished) = jax.lax.scan(lambda live, key: _play_step(problem, team, live, key), live, keys)
        steps = jax.tree.map(lambda part: jnp.moveaxis(part, 0, 1), steps)
        return after, (Piece(live.memory.actor, live.critic_memory, steps), finished)

    keys = jax.random.split(key, (num_pieces, piece_length))
    live, (pieces, finished) = jax.lax.scan(play_piece, live, keys)
    return live, pieces, jax.tree.map(jnp.sum, finished)


def state_value(problem: Problem, team: Team, live: Live) -> Float[Array, ""]:
    """The critic's value of a world as it stands, in the critic's units."""
    return team.networks.critic.step(live.critic_memory, problem.state(live.world).astype(jnp.float32))[1][0]


def _play_step(problem: Problem, team: Team, live: Live, key: PRNGKeyArray) -> tuple[Live, tuple]:
    """One step of every world; those that ended start anew."""
    key_steps, key_resets = jax.random.split(key)
    num_worlds = len(live.starts)

    def advance(key_step, one):
        return _advance(problem, team, key_step, one)

    after, step, finished = jax.vmap(advance)(jax.random.split(key_steps, num_worlds), live)

    def restart(after):
        fresh = start_worlds(problem, team, key_resets, num_worlds)
        return jax.vmap(choose_tree)(step.ends, fresh, after)

    # Drawing a world can cost more than a step of it, and in most steps no episode ends.
    after = jax.lax.cond(jnp.any(step.ends), restart, lambda after: after, after)
    return after, (step, finished)


def _advance(problem: Problem, team: Team, key: PRNGKeyArray, live: Live) -> tuple[Live, Step, Finished]:
    """One step of one world."""
    key_observe, key_act, key_world = jax.random.split(key, 3)
    available = problem.available(live.world)
    state = problem.state(live.world).astype(jnp.float32)
    observations = problem.observe(key_observe, live.world).astype(jnp.float32)
    memory, decision = decide(team, key_act, live.memory, observations, available, state)
    critic_memory, value = team.networks.critic.step(live.critic_memory, state)
    world, reward, ends = problem.step(key_world, live.world, decision.actions)
    world, reward = settled(world), reward.astype(jnp.float32)
    step = Step(
        inputs=decision.inputs,
        observations=None if decision.samples is None else observations,
        squared_error=squared_error(team, decision.samples, state),
        age=live.length,
        available=available,
        actions=decision.actions,
        log_probabilities=decision.log_probabilities,
        state=state,
        value=value[0],
        reward=reward,
        starts=live.starts,
        ends=ends,
    )
    after = Live(world, memory, critic_memory, jnp.asarray(False), live.earned + reward, live.length + 1)
    return after, step, _finished(problem, after, ends)


def squared_error(team: Team, samples: Float[Array, "agents samples state"] | None, state) -> Float[Array, ""]:
    """Of inferred states, in scaled units, averaged over agents, samples and features; 0 where nothing is inferred."""
    if samples is None:
        return jnp.float32(0.0)
    return jnp.mean((samples - team.inputs.inference.scaling.scale(state)[None, None]) ** 2)


def _finished(problem: Problem, after: Live, ends: Bool[Array, ""]) -> Finished:
    """What a step adds to the sums over finished episodes: nothing where it ended none."""
    counts, wins = ends.astype(jnp.float32), team_won(problem, after.world).astype(jnp.float32)
    return Finished(counts, counts * after.earned, counts * after.length.astype(jnp.float32), counts * wins)


def team_won(problem: Problem, world: World) -> Bool[Array, ""]:
    """Whether the team has won in an episode's last world; never where the problem does not tell."""
    won = problem.won(world)
    return jnp.asarray(False) if won is None else won


def _start(problem: Problem, team: Team, key: PRNGKeyArray) -> Live:
    memory, critic_memory = fresh_memory(team, problem.num_agents), team.networks.critic.fresh_memory()
    world = settled(problem.reset(key))
    return Live(world, memory, critic_memory, jnp.asarray(True), jnp.float32(0.0), jnp.int32(0))


def choose_tree(condition: Bool[Array, ""], yes: Any, no: Any) -> Any:
    """One of two pytrees of equal structure, leaf by leaf."""
    return jax.tree.map(lambda first, second: jnp.where(condition, first, second), yes, no)
