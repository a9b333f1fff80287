"""A `.dpomdp` file as a problem: worlds to collect from, to train in, and with exact beliefs.

Observations depend on the joint action before and on the state, o ~ P(o | a, s'), and before the first action there are
none (zeros). Carrying the last joint action in the hidden state would make the exact filter right, but large. What
matters of it is only which table of observations it has, and most joint actions share theirs: the hidden state is

    h = (class of the last joint action, state),      class 0 before the first action.

Beliefs are moved along the entries of sparse tables; no matrix over hidden states is ever built for them.

    b'(class(a), s') = Σ_s P(s' | s, a) Σ_h P(a | h, o_i, a_i) b(h),   the sum over hidden states h with state s

An agent with fewer actions or observations than others has the first of them; features of the state are one-hot.
"""

import base64
import zlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from composite_flow.errors import InputError, TooLargeError
from composite_flow.problems.base import EnumerableProblem, RandomPolicy, ReactivePolicy
from composite_flow.problems.dpomdp.arrays import Entries, class_of_actions, joint_parts, marginals, of_classes
from composite_flow.problems.dpomdp.grammar import Tables, read_tables

MOST_LISTED = 2**26
"""Features of all hidden states together that may be listed: 256 MB."""


class DecPOMDPWorld(eqx.Module):
    """The class of the last joint action, the state, and how many steps have been taken."""

    seen_by: Int[Array, ""]
    state: Int[Array, ""]
    time: Int[Array, ""]


class DecPOMDP(EnumerableProblem):
    """The Dec-POMDP of a `.dpomdp` file.

    Attributes:
        start: P(s_0).
        transition: P(s' | s, a), rows by joint action and state.
        observation: P(o | class, s'), rows by class and next state.
        marginals: P(o_i | h) of each agent's own observation.
        rewards: R(s, a), rows by joint action and state.
        classes: of each joint action, the class of its observations, from 1.
        action_sizes, observation_sizes: how many each agent has.
        num_steps: length of an episode; files do not say one.
        name: of the file.
        source: the file's statements.
    """

    start: Float[Array, " states"]
    transition: Entries
    observation: Entries
    marginals: Float[Array, "agents observations hidden"]
    rewards: Float[Array, " rows"]
    classes: Int[Array, " joint_actions"]
    action_sizes: tuple[int, ...] = eqx.field(static=True)
    observation_sizes: tuple[int, ...] = eqx.field(static=True)
    num_steps: int = eqx.field(static=True)
    name: str = eqx.field(static=True)
    source: str = eqx.field(static=True)
    feature_names: tuple[str, ...] = eqx.field(static=True)
    num_classes: int = eqx.field(static=True)
    num_agents: int = eqx.field(static=True)
    num_actions: int = eqx.field(static=True)
    observation_size: int = eqx.field(static=True)
    state_size: int = eqx.field(static=True)

    def __init__(self, tables: Tables, *, num_steps: int, name: str, source: str):
        """Turn tables into arrays; `from_dpomdp` reads them from a file."""
        if num_steps < 1:
            raise InputError(f"An episode needs at least one step, not {num_steps}.")
        preamble = tables.preamble
        size = preamble.states.count
        classes, firsts = class_of_actions(tables.observation, preamble.actions.count, size)
        seen = of_classes(tables.observation, firsts, size)
        self.start = jnp.asarray(preamble.start, jnp.float32)
        self.transition, self.observation = Entries(tables.transition), Entries(seen)
        self.rewards = jnp.asarray(tables.rewards, jnp.float32)
        self.classes, self.num_classes = jnp.asarray(classes, jnp.int32), len(firsts)
        self.action_sizes, self.observation_sizes = preamble.actions.sizes, preamble.observations.sizes
        self.num_agents, self.num_actions = len(self.action_sizes), max(self.action_sizes)
        self.observation_size, self.state_size = max(self.observation_sizes), size
        self.marginals = jnp.asarray(marginals(seen, self.observation_sizes, size))
        self.num_steps, self.name, self.source = int(num_steps), name, source
        names = preamble.states.names
        self.feature_names = names or tuple(f"state {place}" for place in range(size))

    @property
    def state_names(self) -> tuple[str, ...]:
        return self.feature_names

    @property
    def description(self) -> dict[str, Any]:
        packed = base64.b64encode(zlib.compress(self.source.encode(), 9)).decode()
        return {"kind": "dpomdp", "name": self.name, "num_steps": self.num_steps, "file": packed}

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> "DecPOMDP":
        """The inverse of `description`, which holds the whole file."""
        source = zlib.decompress(base64.b64decode(description["file"])).decode()
        return cls(read_tables(source), num_steps=description["num_steps"], name=description["name"], source=source)

    def reset(self, key):
        """Draw s_0; nothing has been observed."""
        state = jax.random.categorical(key, jnp.log(self.start)).astype(jnp.int32)
        return DecPOMDPWorld(jnp.int32(0), state, jnp.int32(0))

    def step(self, key, world, actions):
        """Earn R(s, a), then draw s'."""
        joint = self._joint(actions, self.action_sizes)
        row = joint * self.state_size + world.state
        moved = DecPOMDPWorld(self.classes[joint], self.transition.draw(key, row), world.time + 1)
        return moved, self.rewards[row], moved.time >= self.num_steps

    def observe(self, key, world):
        """Draw a joint observation; each agent gets its part, one-hot, and zeros before the first action."""
        row = jnp.maximum(world.seen_by - 1, 0) * self.state_size + world.state
        parts = jnp.asarray(joint_parts(self.observation_sizes))[self.observation.draw(key, row)]
        seen = jax.nn.one_hot(parts, self.observation_size, dtype=jnp.float32)
        return jnp.where(world.seen_by > 0, seen, 0.0)

    def state(self, world):
        """One-hot."""
        return jax.nn.one_hot(world.state, self.state_size, dtype=jnp.float32)

    def available(self, world):
        """The actions that each agent has."""
        return jnp.asarray(np.arange(self.num_actions)[None] < np.array(self.action_sizes)[:, None])

    @property
    def num_states(self) -> int:
        """Hidden states: one more than there are classes of observations, times states."""
        return (self.num_classes + 1) * self.state_size

    @property
    def belief_entries(self) -> int:
        return self.num_states + len(self.transition.values) + len(self.observation.values)

    def states(self):
        """Every hidden state's features.

        Raises:
            TooLargeError: they are too many to list.
        """
        if self.num_states * self.state_size > MOST_LISTED:
            raise TooLargeError(
                f"{self.num_states:,} hidden states of {self.state_size:,} features are too many to list; use sampled "
                "methods, or a smaller file."
            )
        return jnp.tile(jnp.eye(self.state_size, dtype=jnp.float32), (self.num_classes + 1, 1))

    def initial_probabilities(self):
        """P(s_0), in class 0."""
        return jnp.zeros((self.num_classes + 1, self.state_size)).at[0].set(self.start).ravel()

    def log_likelihood(self, agent, observation):
        """log P(o_i | h); zeros are observed in class 0, and only there."""
        seen = self.marginals[agent, jnp.argmax(observation)]
        return jnp.log(jnp.where(jnp.any(observation != 0), seen, self._unseen))

    def joint_log_likelihood(self, observations):
        """log P(o_1, …, o_n | h)."""
        joint = self._joint(jnp.argmax(observations, axis=1), self.observation_sizes)
        chances = self.observation.add_up((self.observation.columns == joint).astype(jnp.float32))
        seen = jnp.concatenate([jnp.zeros(self.state_size), chances])
        return jnp.log(jnp.where(jnp.any(observations != 0), seen, self._unseen))

    def local_prediction(self, weights, agent, observation, action, policy):
        """Σ_h b(h) P(h' | h, o_i, a_i): the others act by their policy on what they may have seen."""
        mine = jnp.arange(self.num_agents) == agent
        seen = self.marginals[agent, jnp.argmax(observation)]
        # Where the agent's observation is impossible, so is the hidden state: its weight is zero.
        scale = jnp.where(seen > 0, 1.0 / jnp.where(seen > 0, seen, 1.0), 0.0)
        scaled = jnp.where(jnp.any(observation != 0), weights * scale, weights * self._unseen)
        parts = jnp.take(jnp.asarray(joint_parts(self.observation_sizes)), agent, axis=1)
        fits = observation[parts[self.observation.columns]] == 1.0
        choices = self._choices(policy)
        chosen = jax.nn.one_hot(action, self.num_actions, dtype=jnp.float32)
        return self._moved(self._acted(scaled, fits, jnp.where(mine[:, None, None], chosen, choices), policy, weights))

    def joint_prediction(self, weights, actions):
        """Σ_h b(h) P(h' | h, a)."""
        joint = self._joint(actions, self.action_sizes)
        is_taken = (jnp.arange(len(self.classes)) == joint).astype(jnp.float32)
        return self._moved(is_taken[:, None] * self._by_state(weights)[None])

    def team_prediction(self, weights, policy):
        """Σ_h b(h) P(h' | h), the team acting by its policy."""
        every = jnp.ones(len(self.observation.columns), bool)
        return self._moved(self._acted(weights, every, self._choices(policy), policy, weights))

    def transition_probabilities(self, actions):
        """P(h' | h, a), as a matrix: for small files."""
        return self._matrix(lambda weights: self.joint_prediction(weights, actions))

    def local_transition_probabilities(self, agent, observation, action, policy):
        """P(h' | h, o_i, a_i), as a matrix: for small files."""
        return self._matrix(lambda weights: self.local_prediction(weights, agent, observation, action, policy))

    def team_transition_probabilities(self, policy):
        """P(h' | h), as a matrix: for small files."""
        return self._matrix(lambda weights: self.team_prediction(weights, policy))

    @property
    def _unseen(self) -> Float[Array, " hidden"]:
        """1 in class 0, before the first action."""
        return (jnp.arange(self.num_states) < self.state_size).astype(jnp.float32)

    def _matrix(self, predict) -> Float[Array, "hidden next_hidden"]:
        if self.num_states**2 > MOST_LISTED:
            raise TooLargeError(f"A matrix over {self.num_states:,} hidden states is too large; use predictions.")
        return jax.vmap(predict)(jnp.eye(self.num_states, dtype=jnp.float32))

    def _by_state(self, weights: Float[Array, " hidden"]) -> Float[Array, " states"]:
        return jnp.sum(weights.reshape(-1, self.state_size), axis=0)

    def _joint(self, parts: Int[Array, " agents"], sizes: tuple[int, ...]) -> Int[Array, ""]:
        """The number of a joint choice."""
        behind = np.append(np.cumprod(sizes[:0:-1])[::-1], 1)
        return jnp.sum(parts * jnp.asarray(behind, parts.dtype))

    def _choices(self, policy: ReactivePolicy) -> Float[Array, "agents observations_plus_1 actions"]:
        """π_i(a | o) of every agent and observation; at the end, before any observation."""
        views = jnp.asarray(np.eye(self.observation_size + 1, self.observation_size, dtype=np.float32))
        by_view = jax.vmap(policy.probabilities, (None, 0, None))
        available = self.available(None)
        return jax.vmap(by_view, (0, None, 0))(jnp.arange(self.num_agents), views, available)

    def _acted(
        self,
        scaled: Float[Array, " hidden"],
        fits: Bool[Array, " entries"],
        choices: Float[Array, "agents observations_plus_1 actions"],
        policy: ReactivePolicy,
        weights: Float[Array, " hidden"],
    ) -> Float[Array, "joint_actions states"]:
        """How likely each joint action is taken in each state.

        Args:
            scaled: weights, divided by how likely what is known of the observation was.
            fits: entries of the observations that agree with what is known of them.
            choices: π_i(a | o), one-hot for an agent whose action is known.
            policy: that makes them.
            weights: of hidden states in which that is possible.
        """
        acts = jnp.asarray(joint_parts(self.action_sizes))  # (joint actions, agents)
        agents = jnp.arange(self.num_agents)
        before = jnp.prod(choices[agents[None], -1, acts], axis=1)
        if isinstance(policy, RandomPolicy):  # whatever is seen
            return before[:, None] * self._by_state(jnp.where(scaled > 0, weights, 0.0))[None]
        first = before[:, None] * scaled[None, : self.state_size]
        entries = self.observation
        likely = scaled[self.state_size :][entries.rows] * entries.values * fits.astype(jnp.float32)
        parts = jnp.asarray(joint_parts(self.observation_sizes))[entries.columns]
        taken = jnp.prod(choices[agents[None, None], parts[:, None, :], acts[None]], axis=2)
        added = jax.ops.segment_sum(likely[:, None] * taken, entries.rows % self.state_size, self.state_size)
        return first + added.T

    def _moved(self, acted: Float[Array, "joint_actions states"]) -> Float[Array, " hidden"]:
        """Hidden states after the joint actions."""
        entries = self.transition
        into = self.classes[entries.rows // self.state_size] * self.state_size + entries.columns
        return jax.ops.segment_sum(acted.ravel()[entries.rows] * entries.values, into, self.num_states)
