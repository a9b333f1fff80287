"""A ring of the latest steps, of fixed size, from which what agents infer by learns beside the policy.

Steps are kept as they are; histories are put together when they are drawn.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.data.scaling import Scaling
from composite_flow.fusion.over_time.segments import Segment
from composite_flow.history import History, HistoryLayout


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
        return jax.vmap(self.pair)(worlds, self.written - 1 - back, agents)

    def pair(
        self, world: Int[Array, ""], time: Int[Array, ""], agent: Int[Array, ""]
    ) -> tuple[Float[Array, " history"], Float[Array, " state"]]:
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


class ReplaySegments(eqx.Module):
    """Segments of consecutive steps of a ring, as filters learn from them.

    Attributes:
        replay: the ring.
        length: steps of a segment.
    """

    replay: Replay
    length: int = eqx.field(static=True)

    @property
    def layout(self) -> HistoryLayout:
        """Of the histories."""
        return self.replay.layout

    @property
    def scaling(self) -> Scaling:
        """Of states to [0, 1]."""
        return self.replay.scaling

    @property
    def num_steps(self) -> int:
        """Steps that there is room for, all worlds together."""
        return self.replay.num_steps

    def resident(self, key: PRNGKeyArray, num_bytes: int) -> "ReplaySegments":
        """Itself: it is in memory."""
        return self

    def sample(self, key: PRNGKeyArray, batch: int) -> tuple[Segment, Float[Array, "batch steps state"]]:
        """Segments and scaled states, which begin at steps drawn uniformly with replacement.

        The ring must hold as many steps of a world as a segment has.
        """
        key_world, key_time = jax.random.split(key)
        ages, agents = self.replay.ages, jnp.arange(self.layout.num_agents, dtype=jnp.int32)
        worlds = jax.random.randint(key_world, (batch,), 0, len(ages))
        kept = jnp.minimum(self.replay.written, ages.shape[1])
        back = jax.random.randint(key_time, (batch,), self.length - 1, kept)
        times = (self.replay.written - 1 - back)[:, None] + jnp.arange(self.length, dtype=jnp.int32)[None]

        def of_step(world, time):
            histories, states = jax.vmap(self.replay.pair, in_axes=(None, None, 0))(world, time, agents)
            return histories, states[0]

        histories, states = jax.vmap(jax.vmap(of_step, in_axes=(None, 0)))(worlds, times)
        found = ages[worlds[:, None], times % ages.shape[1]]
        return Segment(histories, found == found[:, :1] + jnp.arange(self.length)[None]), states
