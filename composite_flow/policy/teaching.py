"""A denoiser that learns from what a policy lives through, in the policy's own compiled loop (appendix C).

After each rollout its steps join the replay, and the denoiser makes a few steps of Adam on Eq. (1). Step t draws from
`fold_in(key, t)` alone, as in `fit`.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from composite_flow.network import Network
from composite_flow.policy.config import MappoConfig
from composite_flow.policy.replay import Replay, empty_replay
from composite_flow.policy.rollout import Step
from composite_flow.policy.setup import Setup
from composite_flow.training.optimiser import Schedule, Task, TrainingState, initial_state, train_step

_WARMUP = 200.0  # steps in which the rate rises


class Teaching(eqx.Module):
    """What a denoiser's training reads and writes: the network and its optimiser, and the steps to learn from."""

    training: TrainingState
    replay: Replay


def new_teaching(setup: Setup, config: MappoConfig, key: PRNGKeyArray) -> Teaching | None:
    """The state before the first rollout; None where no denoiser learns."""
    settings, inference = config.inference, setup.inputs.inference
    if inference is None or settings.denoiser_updates == 0:
        return None
    network = setup.denoiser
    if network is None:
        sizes = (inference.layout, len(inference.scaling.minimum), settings.denoiser_width, settings.denoiser_depth)
        network = Network(*sizes, key=key).with_history_range(*setup.history_range)
    # a ring must hold more than one history
    rollouts = max(
        1, round(settings.replay / config.steps_per_update), math.ceil(2 * settings.history / config.rollout)
    )
    replay = empty_replay(inference.layout, inference.scaling, config.worlds, rollouts * config.rollout)
    return Teaching(initial_state(network, settings.denoiser_average > 0), replay)


def taught(config: MappoConfig, key: PRNGKeyArray, teaching: Teaching, steps: Step) -> Teaching:
    """The replay with a rollout's steps, and the denoiser after it has learned from the replay.

    Args:
        config: settings of the run.
        key: of the run's denoiser.
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
    task = Task(replay, key, schedule, settings.denoiser_batch, settings.denoiser_average)
    count = max(1, round(settings.denoiser_updates * config.steps_per_update))
    training = eqx.tree_at(lambda state: state.loss_sum, teaching.training, jnp.float32(0.0))
    training = jax.lax.fori_loop(0, count, lambda _, state: train_step(task, state), training)
    return Teaching(eqx.tree_at(lambda state: state.loss_sum, training, training.loss_sum / count), replay)
