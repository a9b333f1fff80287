"""Multi-agent proximal policy optimisation (Yu et al. 2022): many updates in one compiled program.

An update plays every world for a while, estimates advantages, and takes several passes over what was recorded. Update
u draws from `fold_in(key, u)` alone and the number of updates of a call is not compiled in, so that the bits of the
result do not depend on where a run was cut into calls.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.policy.config import MappoConfig
from composite_flow.policy.inputs import OWN_ALONE, OwnObservation, PolicyInput
from composite_flow.policy.ppo.advantages import advantages_and_returns, standardised
from composite_flow.policy.ppo.loss import divergences, huber_losses, policy_losses, value_losses, weighted_mean
from composite_flow.policy.ppo.value_norm import ValueNorm
from composite_flow.policy.rollout import Finished, Live, Piece, play, start_worlds, state_value
from composite_flow.policy.sequence_network import Networks, SequenceNetwork
from composite_flow.policy.setup import Setup
from composite_flow.policy.talking import new_actor
from composite_flow.policy.teaching import Teaching, new_teaching, taught, taught_denoiser
from composite_flow.policy.team import Team, entropy, has_choice, log_probability
from composite_flow.problems.base import Problem

MOST_UPDATES = 64
"""Updates of one compiled call, at most: it gives back the measures of each."""

_DENOISER = 2**32 - 2  # a number that no update has, folded into the key


class Learner(eqx.Module):
    """All that an update reads and writes.

    Attributes:
        networks: actor, critic, and Q where the actor's input needs it.
        moments: Adam's, of each of these; None where there is no Q.
        value_norm: statistics of the returns.
        live: the worlds in play.
        teaching: the denoiser that learns, and what it learns from; None where there is none.
        update: number of updates made.
    """

    networks: Networks
    moments: tuple[optax.OptState | None, ...]
    value_norm: ValueNorm
    live: Live
    teaching: Teaching | None
    update: Int[Array, ""]


class Measures(eqx.Module):
    """What an update tells: sums over the episodes that ended in it, and means over its optimiser steps.

    Attributes:
        finished: the episodes.
        entropy: of the agents' choices, in nats.
        policy_loss: the clipped loss, without the entropy.
        value_loss: in the critic's units.
        divergence: KL from the policy that played to the one that learns.
        clipped: share of the agents' choices whose ratio left [1 − ε, 1 + ε].
        squared_error: of the states that agents inferred while they played, before the denoiser learned from these
            steps; per feature, in scaled units. 0 where nothing is inferred.
        denoiser_loss: of Eq. (1), over the denoiser's steps; 0 where none learns.
    """

    finished: Finished
    entropy: Float[Array, "*updates"]
    policy_loss: Float[Array, "*updates"]
    value_loss: Float[Array, "*updates"]
    divergence: Float[Array, "*updates"]
    clipped: Float[Array, "*updates"]
    squared_error: Float[Array, "*updates"]
    denoiser_loss: Float[Array, "*updates"]


class Lesson(eqx.Module):
    """Pieces of play with what is to be learned from them, the team's advantage and return of each step."""

    pieces: Piece
    advantages: Float[Array, "*pieces steps"]
    returns: Float[Array, "*pieces steps"]


def new_networks(
    problem: Problem, config: MappoConfig, key: PRNGKeyArray, inputs: PolicyInput | None = None
) -> Networks:
    """Networks before the first update; of actors that see their own observation alone, where no input is given."""
    inputs = inputs or OwnObservation(OWN_ALONE)
    key_actor, key_critic = jax.random.split(key)
    seen, others = inputs.size(problem), (config.width, config.depth)
    own = (config.actor_width or config.width, config.depth, config.memory)
    actor = new_actor(inputs.talk, seen, problem.num_actions, *own, gain=config.output_gain, key=key_actor)
    critic = SequenceNetwork(problem.state_size, 1, *others, config.memory, gain=1.0, key=key_critic)
    if not inputs.needs_action_values:
        return Networks(actor, critic)
    key_values, known = jax.random.fold_in(key, 2), problem.state_size + problem.num_agents
    return Networks(actor, critic, SequenceNetwork(known, problem.num_actions, *others, "none", 1.0, key=key_values))


def team_of(setup: Setup, networks: Networks, teaching: Teaching | None) -> Team:
    """Who acts: with the denoiser as it stands."""
    return Team(networks, setup.inputs, taught_denoiser(setup, teaching))


@eqx.filter_jit
def new_learner(problem: Problem, config: MappoConfig, setup: Setup, key: PRNGKeyArray) -> Learner:
    """The state before the first update."""
    key_networks, key_worlds = jax.random.split(key)
    networks, optimiser = new_networks(problem, config, key_networks, setup.inputs), _optimiser(config)
    teaching = new_teaching(setup, config, jax.random.fold_in(key, 2))
    parts: tuple[Any, ...] = (networks.actor, networks.critic, networks.values)
    return Learner(
        networks,
        tuple(None if part is None else optimiser.init(part) for part in parts),
        ValueNorm.fresh(),
        start_worlds(problem, team_of(setup, networks, teaching), key_worlds, config.worlds),
        teaching,
        jnp.int32(0),
    )


@eqx.filter_jit
def learn(
    problem: Problem, config: MappoConfig, setup: Setup, key: PRNGKeyArray, learner: Learner, count: Int[Array, ""]
) -> tuple[Learner, Measures]:
    """Make `count` updates.

    Args:
        problem: the world's laws.
        config: settings.
        setup: what the actor sees, and from which denoiser.
        key: of the run.
        learner: where it stands.
        count: number of updates, at most `MOST_UPDATES`.

    Returns:
        Where it stands then, and the measures of the updates in the first `count` rows.
    """
    row = jnp.zeros(MOST_UPDATES)
    rows = Measures(Finished(row, row, row, row), *(7 * (row,)))

    def once(row, carry):
        learner, rows = carry
        learner, measures = _update(problem, config, setup, key, learner)
        return learner, jax.tree.map(lambda all_rows, new: all_rows.at[row].set(new), rows, measures)

    return jax.lax.fori_loop(0, count, once, (learner, rows))


def _update(
    problem: Problem, config: MappoConfig, setup: Setup, key: PRNGKeyArray, learner: Learner
) -> tuple[Learner, Measures]:
    """Play, then learn from it."""
    key_play, key_learn = jax.random.split(jax.random.fold_in(key, learner.update))
    team, pieces_in_time = team_of(setup, learner.networks, learner.teaching), config.rollout // config.piece_length
    live, pieces, finished = play(problem, team, learner.live, key_play, pieces_in_time, config.piece_length)
    teaching, denoiser_loss = learner.teaching, jnp.float32(0.0)
    if teaching is not None:
        teaching = taught(config, setup, jax.random.fold_in(key, _DENOISER), teaching, pieces.steps)
        denoiser_loss = teaching.training.loss_sum
    next_values = jax.vmap(lambda one: state_value(problem, team, one))(live)
    lesson = _lesson(config, pieces, next_values, learner.value_norm)
    rate = jnp.float32(1.0)
    if config.schedule == "linear":
        rate = jnp.maximum(0.0, 1.0 - learner.update.astype(jnp.float32) / config.num_updates)

    def descend(carry, part):
        return _descend(config, rate, carry, part)

    def one_epoch(carry, key_epoch):
        return jax.lax.scan(descend, carry, _parts(config, lesson, key_epoch))

    carry = (learner.networks, learner.moments, learner.value_norm)
    (networks, moments, norm), told = jax.lax.scan(one_epoch, carry, jax.random.split(key_learn, config.epochs))
    means = [jnp.mean(number) for number in (*told, pieces.steps.squared_error)]
    measures = Measures(finished, *means, denoiser_loss=denoiser_loss)  # pyright: ignore[reportCallIssue]
    return Learner(networks, moments, norm, live, teaching, learner.update + 1), measures


def _lesson(config: MappoConfig, pieces: Piece, next_values: Float[Array, " worlds"], norm: ValueNorm) -> Lesson:
    """Advantages over the whole rollout of each world, then all pieces in one row."""

    def one_world(rewards, values, ends, next_value):
        rewards_in_time, values, ends = rewards.reshape(-1), norm.denormalise(values).reshape(-1), ends.reshape(-1)
        next_value = norm.denormalise(next_value)
        results = advantages_and_returns(rewards_in_time, values, ends, next_value, config.discount, config.trace)
        return tuple(result.reshape(rewards.shape) for result in results)

    steps = pieces.steps
    over_worlds = jax.vmap(one_world, in_axes=(1, 1, 1, 0), out_axes=1)
    advantages, returns = over_worlds(steps.reward, steps.value, steps.ends, next_values)
    # what only the denoiser learns from need not be shuffled
    pieces = eqx.tree_at(lambda piece: piece.steps.observations, pieces, None, is_leaf=lambda leaf: leaf is None)
    advantages = standardised(advantages, jnp.sum(has_choice(steps.available).astype(jnp.float32), axis=-1))
    lesson = Lesson(pieces, advantages, returns)
    return jax.tree.map(lambda part: part.reshape(config.num_pieces, *part.shape[2:]), lesson)


def _parts(config: MappoConfig, lesson: Lesson, key: PRNGKeyArray) -> Lesson:
    """The pieces in minibatches, drawn anew in each pass."""
    if config.minibatches > 1:
        order = jax.random.permutation(key, config.num_pieces)
        lesson = jax.tree.map(lambda part: part[order], lesson)
    shape = (config.minibatches, config.num_pieces // config.minibatches)
    return jax.tree.map(lambda part: part.reshape(*shape, *part.shape[1:]), lesson)


def _descend(config: MappoConfig, rate: Float[Array, ""], carry: tuple, lesson: Lesson) -> tuple[tuple, tuple]:
    """One step of all optimisers."""
    networks, (actor_moments, critic_moments, values_moments), norm = carry
    norm = norm.updated(lesson.returns, config.value_decay)
    (_, told), actor_gradient = eqx.filter_value_and_grad(_actor_loss, has_aux=True)(networks.actor, lesson, config)
    value_loss, critic_gradient = eqx.filter_value_and_grad(_critic_loss)(networks.critic, lesson, norm, config)
    rates = rate * config.learning_rate, rate * config.critic_learning_rate
    actor, actor_moments = _adam(config, rates[0], networks.actor, actor_gradient, actor_moments)
    critic, critic_moments = _adam(config, rates[1], networks.critic, critic_gradient, critic_moments)
    values = networks.values
    if values is not None:
        values_gradient = eqx.filter_grad(_values_loss)(values, lesson, norm, config)
        values, values_moments = _adam(config, rates[1], values, values_gradient, values_moments)
    mean_entropy, policy_loss, divergence, clipped = told
    told = (mean_entropy, policy_loss, value_loss, divergence, clipped)
    return (Networks(actor, critic, values), (actor_moments, critic_moments, values_moments), norm), told


def _actor_loss(actor: Any, lesson: Lesson, config: MappoConfig) -> tuple[Float[Array, ""], tuple]:
    """The clipped loss minus the weighted entropy, over all agents that have a choice."""
    pieces, steps = lesson.pieces, lesson.pieces.steps
    over_agents = jax.vmap(actor.unroll, in_axes=(0, 1, None), out_axes=(0, 1))
    heard = jax.vmap(jax.vmap(actor.heard))(steps.inputs)
    _, logits = jax.vmap(over_agents)(pieces.actor_memory, heard, steps.starts)
    each = jax.vmap(jax.vmap(jax.vmap(log_probability)))
    log_ratio = each(logits, steps.available, steps.actions) - steps.log_probabilities
    weights = has_choice(steps.available).astype(jnp.float32)
    advantages = jnp.broadcast_to(lesson.advantages[..., None], log_ratio.shape)
    policy_loss = weighted_mean(policy_losses(log_ratio, advantages, config.clip), weights)
    mean_entropy = weighted_mean(jax.vmap(jax.vmap(jax.vmap(entropy)))(logits, steps.available), weights)
    outside = (jnp.abs(jnp.exp(log_ratio) - 1.0) > config.clip).astype(jnp.float32)
    told = (mean_entropy, policy_loss, weighted_mean(divergences(log_ratio), weights), weighted_mean(outside, weights))
    return policy_loss - config.entropy * mean_entropy, told


def _critic_loss(critic: SequenceNetwork, lesson: Lesson, norm: ValueNorm, config: MappoConfig) -> Float[Array, ""]:
    """The clipped loss of the team's value."""
    pieces, steps = lesson.pieces, lesson.pieces.steps
    _, values = jax.vmap(critic.unroll)(pieces.critic_memory, steps.state, steps.starts)
    losses = value_losses(values[..., 0], steps.value, norm.normalise(lesson.returns), config.clip, config.huber)
    return jnp.mean(losses)


def _values_loss(values: SequenceNetwork, lesson: Lesson, norm: ValueNorm, config: MappoConfig) -> Float[Array, ""]:
    """Of Q(s, a) of every agent's own action against the team's return, over agents that had a choice."""
    steps = lesson.pieces.steps
    agents = jnp.eye(steps.actions.shape[-1])
    memory = values.fresh_memory()

    def chosen(state, agent, action):
        own = values.step(memory, jnp.concatenate([state, agent]))[1]
        return jnp.sum(jnp.where(jnp.arange(len(own)) == action, own, 0.0))

    each = jax.vmap(jax.vmap(jax.vmap(chosen, in_axes=(None, 0, 0)), in_axes=(0, None, 0)), in_axes=(0, None, 0))
    errors = norm.normalise(lesson.returns)[..., None] - each(steps.state, agents, steps.actions)
    return weighted_mean(huber_losses(errors, config.huber), has_choice(steps.available).astype(jnp.float32))


def _optimiser(config: MappoConfig) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(config.gradient_norm), optax.scale_by_adam(eps=config.adam_epsilon))


def _adam(config: MappoConfig, rate: Float[Array, ""], network: Any, gradient, moments) -> tuple[Any, optax.OptState]:
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # Optax mixes weak types
        update, moments = _optimiser(config).update(gradient, moments)
    return jax.tree.map(lambda weights, change: weights - rate * change, network, update), moments
