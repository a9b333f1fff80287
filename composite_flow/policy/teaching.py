"""What agents infer by, learning from what a policy lives through, in the policy's own compiled loop (appendix C).

After each rollout its steps join the replay, and a denoiser makes a few steps of Adam on Eq. (1), a chain over time on
segments of consecutive steps. Step t draws from `fold_in(key, t)` alone, as in `fit`.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.fusion.over_time.carried import TeamFilter
from composite_flow.fusion.over_time.segments import Segment, segment_losses
from composite_flow.network import Network
from composite_flow.policy.config import MappoConfig
from composite_flow.policy.replay import Replay, ReplaySegments, empty_replay
from composite_flow.policy.rollout import Step
from composite_flow.policy.setup import Setup
from composite_flow.training.config import TrainingConfig
from composite_flow.training.optimiser import Schedule, Task, TrainingState, initial_state, train_step
from composite_flow.training.over_time_stage import FEWEST_SEGMENTS

_WARMUP = 200.0  # steps in which the rate rises


class Teaching(eqx.Module):
    """What training reads and writes: a denoiser or a chain and its optimiser, and the steps to learn from."""

    training: TrainingState
    replay: Replay


def new_teaching(setup: Setup, config: MappoConfig, key: PRNGKeyArray) -> Teaching | None:
    """The state before the first rollout; None where nothing learns beside the policy."""
    settings, inference = config.inference, setup.inputs.inference
    if inference is None or inference.team_answer or updates_of(setup, config) == 0:
        return None
    network = setup.denoiser.chain if setup.inputs.carries else setup.denoiser
    if network is None:
        sizes = (inference.layout, len(inference.scaling.minimum), settings.denoiser_width, settings.denoiser_depth)
        network = Network(*sizes, key=key).with_history_range(*setup.history_range)
    # a ring must hold more than one history
    rollouts = max(
        1, round(settings.replay / config.steps_per_update), math.ceil(2 * settings.history / config.rollout)
    )
    replay = empty_replay(inference.layout, inference.scaling, config.worlds, rollouts * config.rollout)
    return Teaching(initial_state(network, settings.denoiser_average > 0), replay)


def updates_of(setup: Setup, config: MappoConfig) -> float:
    """Steps of the optimiser per step of the environment."""
    return config.inference.chain_updates if setup.inputs.carries else config.inference.denoiser_updates


def taught_denoiser(setup: Setup, teaching: Teaching | None) -> Any:
    """What agents infer by, as it stands."""
    if teaching is None:
        return setup.denoiser
    if not setup.inputs.carries:
        return teaching.training.denoiser
    return eqx.tree_at(lambda denoiser: denoiser.fusion.over_time, setup.denoiser, teaching.training.denoiser)


def taught(config: MappoConfig, setup: Setup, key: PRNGKeyArray, teaching: Teaching, steps: Step) -> Teaching:
    """The replay with a rollout's steps, and what agents infer by after it has learned from the replay.

    Args:
        config: settings of the run.
        setup: of the run.
        key: of what learns.
        teaching: before.
        steps: of the rollout, with axes (time, worlds, steps).
    """

    def in_time(part):
        by_world = jnp.moveaxis(part, 1, 0)
        return by_world.reshape(config.worlds, config.rollout, *part.shape[3:])

    fresh = (in_time(part) for part in (steps.observations, steps.actions, steps.state, steps.age))
    replay, settings = teaching.replay.extended(*fresh), config.inference
    schedule = Schedule(
        jnp.float32(settings.denoiser_learning_rate), jnp.float32(_WARMUP), jnp.float32(0.0), jnp.float32(0.0)
    )
    if setup.inputs.carries:
        losses = eqx.Partial(chain_losses, lost=settings.lost, alone=0.0 if setup.inputs.together else 1.0)
        drawn = max(FEWEST_SEGMENTS, settings.denoiser_batch // TrainingConfig.segment)
        segments = ReplaySegments(replay, min(TrainingConfig.segment, config.rollout))
        task = Task(segments, key, schedule, drawn, settings.denoiser_average, losses)
    else:
        task = Task(replay, key, schedule, settings.denoiser_batch, settings.denoiser_average)
    count = max(1, round(updates_of(setup, config) * config.steps_per_update))
    training = eqx.tree_at(lambda state: state.loss_sum, teaching.training, jnp.float32(0.0))
    training = jax.lax.fori_loop(0, count, lambda _, state: train_step(task, state), training)
    return Teaching(eqx.tree_at(lambda state: state.loss_sum, training, training.loss_sum / count), replay)


def chain_losses(
    chain: TeamFilter,
    segments: Segment,
    states: Float[Array, "batch steps state"],
    key: PRNGKeyArray,
    lost: float = 0.0,
    alone: float = 0.0,
) -> Float[Array, " batch"]:
    """The loss of filters on segments; what is known before an episode stays, since agents have begun with it."""
    kept = eqx.tree_at(lambda one: one.prior.mean, chain, jax.lax.stop_gradient(chain.prior.mean))
    return segment_losses(kept, segments, states, key, lost, alone)
