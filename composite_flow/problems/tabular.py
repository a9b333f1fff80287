"""Dec-POMDPs given by their tables, and two small classics.

A table of joint observations P(o_1, …, o_n | s) allows observations that are correlated given the state, which is
where knowing what each agent may believe falls short of knowing what the team may believe (Theorem 3).
Joint actions and joint observations are numbered with the last agent's changing fastest.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from composite_flow.errors import InputError
from composite_flow.problems.base import EnumerableProblem, ReactivePolicy

TABLES = ("initial", "transition", "observation", "rewards", "features")


class TabularWorld(eqx.Module):
    """The index of the hidden state, and how many steps have been taken."""

    index: Int[Array, ""]
    time: Int[Array, ""]


class TabularProblem(EnumerableProblem):
    """A Dec-POMDP by its tables; every action is always available, observations are one-hot.

    Attributes:
        initial: P(s_0).
        transition: P(s' | s, a), over joint actions a.
        observation: P(o | s), over joint observations o.
        rewards: R(s, a).
        features: the state's features; hidden states may share them.
        num_observations: how many observations each agent tells apart.
        num_steps: length of an episode.
    """

    initial: Float[Array, " states"]
    transition: Float[Array, "states joint_actions next_states"]
    observation: Float[Array, "states joint_observations"]
    rewards: Float[Array, "states joint_actions"]
    features: Float[Array, "states state"]
    num_agents: int = eqx.field(static=True)
    num_actions: int = eqx.field(static=True)
    num_observations: int = eqx.field(static=True)
    observation_size: int = eqx.field(static=True)
    state_size: int = eqx.field(static=True)
    num_steps: int = eqx.field(static=True)
    feature_names: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        num_agents: int,
        initial: ArrayLike | Sequence,
        transition: ArrayLike | Sequence,
        observation: ArrayLike | Sequence,
        rewards: ArrayLike | Sequence,
        features: ArrayLike | Sequence,
        *,
        state_names: Sequence[str] | None = None,
        num_steps: int = 16,
    ):
        """Check the tables and keep them.

        Args:
            num_agents: at least 1.
            initial: (states,).
            transition: (states, joint actions, states).
            observation: (states, joint observations).
            rewards: (states, joint actions).
            features: (states, features).
            state_names: a name for each feature.
            num_steps: length of an episode, at least 1.

        Raises:
            InputError: shapes do not belong together, or a row is no distribution.
        """
        tables = [np.asarray(table, np.float64) for table in (initial, transition, observation, rewards, features)]
        _check_tables(num_agents, num_steps, *tables)
        for name, table in zip(TABLES, tables, strict=True):
            setattr(self, name, jnp.asarray(table, jnp.float32))
        self.num_agents, self.num_steps = num_agents, num_steps
        self.num_actions = _root(tables[1].shape[1], num_agents, "actions")
        self.num_observations = self.observation_size = _root(tables[2].shape[1], num_agents, "observations")
        self.state_size = tables[4].shape[1]
        self.feature_names = tuple(state_names or (f"feature {k + 1}" for k in range(self.state_size)))
        if len(self.feature_names) != self.state_size:
            raise InputError(f"{len(self.feature_names)} names do not fit {self.state_size} features of the state.")

    @classmethod
    def xor(cls, num_steps: int = 16) -> "TabularProblem":
        """The state is the XOR of two agents' bits, each of them a fair coin on its own.

        Alone, no history of either agent excludes a state; together, every observation tells it. So the agents'
        consistent sets share a state that the joint history excludes: a counterexample to Theorem 3. An agent's
        action 1 flips the state; both choosing the state's own number earns 1.
        """
        state, first, second = np.indices((2, 2, 2))
        return cls(
            2,
            initial=np.full(2, 0.5),
            transition=np.eye(2)[state ^ first ^ second].reshape(2, 4, 2),
            observation=(0.5 * (state == first ^ second)).reshape(2, 4),
            rewards=((first == state) & (second == state)).reshape(2, 4),
            features=np.eye(2),
            state_names=("equal bits", "different bits"),
            num_steps=num_steps,
        )

    @classmethod
    def tiger(cls, num_steps: int = 16) -> "TabularProblem":
        """The decentralised tiger (Nair et al. 2003): a tiger behind the left or the right door.

        Actions: open left, open right, listen. While both listen, each hears the tiger's side with probability
        0.85; anything else puts the tiger behind a random door, unheard. Whether the agents have just listened is
        part of the hidden state, not of its features; an episode starts unheard.
        """
        side, heard = np.repeat([0, 1], 2), np.tile([0, 1], 2)
        transition = np.tile(np.array([0.5, 0.0, 0.5, 0.0]), (4, 9, 1))
        transition[:, 8] = np.eye(4)[2 * side + 1]
        hears = np.where(heard[:, None] == 1, np.where(np.arange(2) == side[:, None], 0.85, 0.15), 0.5)
        return cls(
            2,
            initial=[0.5, 0.0, 0.5, 0.0],
            transition=transition,
            observation=np.einsum("sx,sy->sxy", hears, hears).reshape(4, 4),
            rewards=_tiger_rewards()[side],
            features=np.eye(2)[side],
            state_names=("tiger left", "tiger right"),
            num_steps=num_steps,
        )

    @property
    def state_names(self) -> tuple[str, ...]:
        return self.feature_names

    @property
    def description(self) -> dict[str, Any]:
        return {
            "kind": "tabular",
            "num_agents": self.num_agents,
            **{name: np.asarray(getattr(self, name)).tolist() for name in TABLES},
            "state_names": list(self.feature_names),
            "num_steps": self.num_steps,
        }

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> "TabularProblem":
        """The inverse of `description`."""
        return cls(**{name: value for name, value in description.items() if name != "kind"})

    def reset(self, key):
        """Draw the first hidden state."""
        return TabularWorld(_draw(key, self.initial), jnp.int32(0))

    def step(self, key, world, actions):
        """Earn R(s, a), then draw the next hidden state."""
        joint = _joint_index(actions, self.num_actions)
        moved = TabularWorld(_draw(key, self.transition[world.index, joint]), world.time + 1)
        return moved, self.rewards[world.index, joint], moved.time >= self.num_steps

    def observe(self, key, world):
        """Draw a joint observation; each agent gets its part, one-hot."""
        joint = _draw(key, self.observation[world.index])
        return jax.nn.one_hot(_digits(self.num_observations, self.num_agents)[joint], self.num_observations)

    def state(self, world):
        """The features of the hidden state."""
        return self.features[world.index]

    def available(self, world):
        """Every action."""
        return jnp.ones((self.num_agents, self.num_actions), bool)

    @property
    def num_states(self) -> int:
        return self.initial.shape[0]

    def states(self):
        """Every hidden state's features."""
        return self.features

    def initial_probabilities(self):
        """P(s_0)."""
        return self.initial

    def transition_probabilities(self, actions):
        """P(s' | s, a)."""
        return self.transition[:, _joint_index(actions, self.num_actions)]

    def local_transition_probabilities(self, agent, observation, action, policy):
        """P(s' | s, o_i, a_i) = Σ_o P(o | s, o_i) Σ_a Π_{j≠i} π_j(a_j | o_j) P(s' | s, a); 0 if o_i is impossible."""
        mine = (jnp.arange(self.num_agents) == agent)[:, None, None]
        chosen = jax.nn.one_hot(action, self.num_actions)[None, None, :]
        likely = self.observation * self._sees(agent, observation)[None, :].astype(jnp.float32)
        total = jnp.sum(likely, axis=1, keepdims=True)
        weights = jnp.where(total > 0, likely / jnp.where(total > 0, total, 1.0), 0.0)
        return self._mix(weights, jnp.where(mine, chosen, self._policy_table(policy)))

    def team_transition_probabilities(self, policy):
        """P(s' | s) = Σ_o P(o | s) Σ_a Π_j π_j(a_j | o_j) P(s' | s, a)."""
        return self._mix(self.observation, self._policy_table(policy))

    def log_likelihood(self, agent, observation):
        """log P(o_i | s), summed over what the others may see."""
        sees = self._sees(agent, observation)[None, :]
        return jnp.log(jnp.sum(self.observation * sees.astype(jnp.float32), axis=1))

    def joint_log_likelihood(self, observations):
        """log P(o_1, …, o_n | s)."""
        sees = jnp.all(jax.vmap(self._sees)(jnp.arange(self.num_agents), observations), axis=0)[None, :]
        return jnp.log(jnp.sum(self.observation * sees.astype(jnp.float32), axis=1))

    def _sees(self, agent: Int[Array, ""], observation: Float[Array, " observation"]) -> Bool[Array, " joint"]:
        """The joint observations in which one agent sees what it has seen."""
        parts = jnp.take(_digits(self.num_observations, self.num_agents), agent, axis=1)
        return observation[parts] == 1.0

    def _policy_table(self, policy: ReactivePolicy) -> Float[Array, "agents observations actions"]:
        """π_i(a | o) for every agent, observation and action."""
        available = jnp.ones(self.num_actions, bool)
        by_observation = jax.vmap(policy.probabilities, (None, 0, None))
        by_agent = jax.vmap(by_observation, (0, None, None))
        return by_agent(jnp.arange(self.num_agents), jnp.eye(self.num_observations), available)

    def _mix(
        self,
        weights: Float[Array, "states joint_observations"],
        choices: Float[Array, "agents observations actions"],
    ) -> Float[Array, "states next_states"]:
        """Transitions averaged over joint observations and the actions chosen on them."""
        agents = jnp.arange(self.num_agents)[None, None, :]
        seen, acted = (
            _digits(self.num_observations, self.num_agents)[:, None, :],
            _digits(self.num_actions, self.num_agents)[None, :, :],
        )
        actions = jnp.prod(choices[agents, seen, acted], axis=2)
        return jnp.einsum("so,oa,sat->st", weights, actions, self.transition)


def _draw(key, probabilities: Float[Array, " outcomes"]) -> Int[Array, ""]:
    return jax.random.categorical(key, jnp.log(probabilities)).astype(jnp.int32)


def _digits(base: int, num_agents: int) -> Int[Array, "joint agents"]:
    """Every joint choice, the last agent's changing fastest."""
    return jnp.asarray(np.indices((base,) * num_agents).reshape(num_agents, -1).T.astype(np.int32))


def _joint_index(parts: Int[Array, " agents"], base: int) -> Int[Array, ""]:
    """The number of a joint choice."""
    powers = base ** np.arange(len(parts))[::-1]
    return jnp.sum(parts * jnp.asarray(powers, parts.dtype))


def _tiger_rewards() -> np.ndarray:
    """R(side, joint action): opening alone, together, on the tiger or not."""
    open_tiger, open_other, listen = 0, 1, 2
    table = np.zeros((3, 3))
    table[open_tiger, open_tiger], table[open_other, open_other], table[listen, listen] = -50, 20, -2
    table[open_tiger, open_other] = table[open_other, open_tiger] = -100
    table[open_tiger, listen] = table[listen, open_tiger] = -101
    table[open_other, listen] = table[listen, open_other] = 9
    mirrored = [open_other, open_tiger, listen]
    return np.stack([table, table[np.ix_(mirrored, mirrored)]]).reshape(2, 9)


def _root(count: int, num_agents: int, what: str) -> int:
    """How many each agent has, if all agents together have `count`."""
    each = round(count ** (1 / num_agents))
    if each**num_agents != count:
        raise InputError(f"{count} joint {what} are no power of one number for {num_agents} agents.")
    return each


def _check_tables(num_agents, num_steps, initial, transition, observation, rewards, features) -> None:
    """Refuse shapes that do not belong together and rows that are no distributions."""
    if num_agents < 1 or num_steps < 1:
        raise InputError("A tabular problem needs at least one agent and episodes of at least one step.")
    count = len(np.atleast_1d(initial))
    joint_actions = transition.shape[1] if transition.ndim == 3 else 0
    shapes = (initial.shape, transition.shape, observation.shape[:1], rewards.shape, features.shape[:1])
    expected = ((count,), (count, joint_actions, count), (count,), (count, joint_actions), (count,))
    if shapes != expected or observation.ndim != 2 or features.ndim != 2 or not joint_actions:
        raise InputError(
            "Tables must have the shapes initial (S,), transition (S, joint actions, S), observation (S, joint "
            f"observations), rewards (S, joint actions), features (S, features); here S = {count}."
        )
    for name, table in (("initial", initial), ("transition", transition), ("observation", observation)):
        # Tables that went through float32 add up to one within 1e-6 for each of a few entries.
        if not (np.all(table >= 0) and np.allclose(table.sum(axis=-1), 1.0, atol=1e-5)):
            raise InputError(f"Every row of {name} must be a distribution: not negative, adding up to 1.")
    if not (np.all(np.isfinite(rewards)) and np.all(np.isfinite(features))):
        raise InputError("Rewards and features must be finite.")
