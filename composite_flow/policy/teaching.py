"""A denoiser that learns from what a policy lives through, in the policy's own compiled loop (appendix C).

After each rollout its steps join the replay, and the denoiser makes a few steps of Adam on Eq. (1). Step t draws from
`fold_in(key, t)` alone, as in `fit`.

The replay is a ring of the latest steps, of fixed size. They are kept as they are; histories are put together when they
are drawn.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.data.scaling import Scaling
from composite_flow.history import History, HistoryLayout
from composite_flow.network import Network
from composite_flow.policy.config import MappoConfig
from composite_flow.policy.rollout import Step
from composite_flow.policy.setup import Setup
from composite_flow.training.optimiser import Schedule, Task, TrainingState, initial_state, train_step

_WARMUP = 200.0  # steps in which the rate rises


class Replay(eqx.Module):
    """A ring of steps of several worlds.

    Attributes:
        observations, actions, states: of each step; states in their own units.
        ages: steps before it in its episode.
        written: steps of each world that were ever kept; the newest stands before `written` modulo the ring's size.
        layout: of the histories.
        scaling: of states to [0, 1].
    """

    observations: Float[Array, "worlds time agents observation"]
    actions: Int[Array, "worlds time agents"]
    states: Float[Array, "worlds time state"]
    ages: Int[Array, "worlds time"]
    written: Int[Array, ""]
    layout: HistoryLayout = eqx.field(static=True)
    scaling: Scaling

    @property
    def num_steps(self) -> int:
        """Steps that there is room for, all worlds together."""
        return self.ages.size

    def resident(self, key: PRNGKeyArray, num_bytes: int) -> "Replay":
        """Itself: it is in memory."""
        return self

    def extended(
        self,
        observations: Float[Array, "worlds new agents observation"],
        actions: Int[Array, "worlds new agents"],
        states: Float[Array, "worlds new state"],
        ages: Int[Array, "worlds new"],
    ) -> "Replay":
        """The ring with new steps in place of the oldest; their number divides the ring's size."""
        start = self.written % self.ages.shape[1]

        def put(ring, new):
            return jax.lax.dynamic_update_slice_in_dim(ring, new, start, axis=1)

        return Replay(
            put(self.observations, observations),
            put(self.actions, actions),
            put(self.states, states),
            put(self.ages, ages),
            self.written + ages.shape[1],
            self.layout,
            self.scaling,
        )

    def sample(
        self, key: PRNGKeyArray, batch: int
    ) -> tuple[Float[Array, "batch history"], Float[Array, "batch state"]]:
        """Pairs drawn uniformly, with replacement, over the steps that are kept and all agents; states scaled."""
        key_world, key_time, key_agent = jax.random.split(key, 3)
        size, length = self.ages.shape[1], self.layout.length
        worlds = jax.random.randint(key_world, (batch,), 0, len(self.ages))
        # the oldest steps in the ring have lost what came before them
        back = jax.random.randint(key_time, (batch,), 0, jnp.minimum(self.written, size - length + 1))
        agents = jax.random.randint(key_agent, (batch,), 0, self.layout.num_agents)
        return jax.vmap(self._pair)(worlds, self.written - 1 - back, agents)

    def _pair(self, world, time, agent) -> tuple[Float[Array, " history"], Float[Array, " state"]]:
        """The history of an agent that ends at a time, counted from the first step ever kept, and the state then."""
        back = jnp.arange(self.layout.length - 1, -1, -1, dtype=jnp.int32)
        places = (time - back) % self.ages.shape[1]
        history = History(
            self.observations[world, places, agent],
            self.actions[world, places[:-1], agent],
            back <= self.ages[world, places[-1]],
            agent,
        )
        return self.layout.encode(history), self.scaling.scale(self.states[world, places[-1]])


def empty_replay(layout: HistoryLayout, scaling: Scaling, worlds: int, time: int) -> Replay:
    """A ring without steps.

    Args:
        layout: of the histories.
        scaling: of states to [0, 1].
        worlds: how many.
        time: steps of each that there is room for.
    """
    agents, state_size = layout.num_agents, len(scaling.minimum)
    return Replay(
        jnp.zeros((worlds, time, agents, layout.observation_size)),
        jnp.zeros((worlds, time, agents), jnp.int32),
        jnp.zeros((worlds, time, state_size)),
        jnp.zeros((worlds, time), jnp.int32),
        jnp.int32(0),
        layout,
        scaling,
    )


class Teaching(eqx.Module):
    """What a denoiser's training reads and writes: the network and its optimiser, and the steps to learn from."""

    training: TrainingState
    replay: Replay


def new_teaching(setup: Setup, config: MappoConfig, key: PRNGKeyArray) -> Teaching | None:
    """The state before the first rollout; None where no denoiser learns."""
    settings, inference = config.inference, setup.inputs.inference
    if inference is None or setup.inputs.carries or inference.team_answer or settings.denoiser_updates == 0:
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
