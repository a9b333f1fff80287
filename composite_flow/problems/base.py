"""Where experience comes from: the contract of a Dec-POMDP (§2 of the paper) and of its policies.

A problem is an immutable Equinox module of pure functions, so that thousands of worlds run under one
`vmap` and whole episodes under one `scan`. The world is a pytree of the problem's own; everyone else sees
it through `state` and `observe`. Agents are a leading array axis.

Problems whose states can be listed also give their probabilities (`EnumerableProblem`). Everything exact is
computed from these, and everything learned is held against it.
"""

from abc import abstractmethod
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.problems.picture import Picture

World = Any
Memory = Any


class Problem(eqx.Module):
    """A team of agents in a world that none of them sees whole (Dec-POMDP).

    `num_steps`, `won`, `painter` and `picture` are optional; what stands here is their default.

    Attributes:
        num_agents: size of the team.
        num_actions: that each agent chooses from.
        observation_size: features that an agent observes.
        state_size: features of the state.
        num_steps: most steps of an episode; None where the problem does not say. Then `collect` must be told, and
            inferred states cannot be learned along with a policy.
    """

    num_agents: eqx.AbstractVar[int]
    num_actions: eqx.AbstractVar[int]
    observation_size: eqx.AbstractVar[int]
    state_size: eqx.AbstractVar[int]
    # Not annotated, so that it is no field: a subclass may have fields without defaults before its own.
    num_steps = cast("int | None", None)

    @abstractmethod
    def reset(self, key: PRNGKeyArray) -> World:
        """Draw the world of a new episode."""

    @abstractmethod
    def step(
        self, key: PRNGKeyArray, world: World, actions: Int[Array, " agents"]
    ) -> tuple[World, Float[Array, ""], Bool[Array, ""]]:
        """Advance by one step: the next world, the team's reward, whether the episode is over."""

    @abstractmethod
    def observe(self, key: PRNGKeyArray, world: World) -> Float[Array, "agents observation"]:
        """What each agent sees of the world."""

    @abstractmethod
    def state(self, world: World) -> Float[Array, " state"]:
        """The global state s as features, in the units that the problem names."""

    @abstractmethod
    def available(self, world: World) -> Bool[Array, "agents actions"]:
        """Which actions each agent may take."""

    @property
    @abstractmethod
    def state_names(self) -> tuple[str, ...]:
        """A name for each feature of the state."""

    @property
    @abstractmethod
    def description(self) -> dict[str, Any]:
        """JSON-able; `problem_from_description` rebuilds the same problem from it.

        Its "kind" is that of `register_problem`, or "MODULE:FACTORY"; all else are the factory's arguments by name.
        """

    def won(self, world: World) -> Bool[Array, ""] | None:
        """Whether the team has won, asked of an episode's last world. A problem that can tell defines it."""
        return None

    def painter(self, record: Any) -> Any:
        """Who draws an episode in `play`: a `plots.episode_plot.Painter`; None for `picture`, or rows of features.

        Args:
            record: of the episode, a `policy.episode.EpisodeRecord`.
        """
        return None

    def picture(self, world: World) -> Picture | None:
        """A world as the library that simulates it draws it, outside of compiled programs; None where it does not."""
        return None


def tells_wins(problem: Problem) -> bool:
    """Whether the problem defines `won`."""
    return type(problem).won is not Problem.won


def draws_pictures(problem: Problem) -> bool:
    """Whether the problem defines `picture`."""
    return type(problem).picture is not Problem.picture


class Policy(eqx.Module):
    """How a team acts. Policies see observations and availability, never the state."""

    @property
    def description(self) -> dict[str, Any]:
        """What the episodes keep of the policy that collected them; JSON-able. Here its class."""
        return {"kind": type(self).__name__}

    @abstractmethod
    def start(self, num_agents: int) -> Memory:
        """The team's memory before the first observation of an episode."""

    @abstractmethod
    def act(
        self,
        key: PRNGKeyArray,
        memory: Memory,
        observations: Float[Array, "agents observation"],
        available: Bool[Array, "agents actions"],
    ) -> tuple[Memory, Int[Array, " agents"]]:
        """Each agent's action and the memory that the next step starts from."""


class ReactivePolicy(Policy):
    """A policy without memory, π(a | o), each agent drawing on its own: what exact beliefs can account for."""

    @abstractmethod
    def probabilities(
        self, agent: Int[Array, ""], observation: Float[Array, " observation"], available: Bool[Array, " actions"]
    ) -> Float[Array, " actions"]:
        """π(· | o) of one agent; zero where an action is not available."""

    def start(self, num_agents: int) -> Memory:
        """Nothing is remembered."""
        return ()

    def act(self, key, memory, observations, available):
        """Draw every agent's action from its own π(· | o)."""
        agents = jnp.arange(observations.shape[0])
        chances = jax.vmap(self.probabilities)(agents, observations, available)
        keys = jax.random.split(key, observations.shape[0])
        return memory, jax.vmap(jax.random.categorical)(keys, jnp.log(chances))


class RandomPolicy(ReactivePolicy):
    """Every available action is equally likely."""

    @property
    def description(self) -> dict[str, Any]:
        return {"kind": "random"}

    def probabilities(self, agent, observation, available):
        """1 / (number of available actions) on each of them."""
        chances = available.astype(jnp.float32)
        return chances / jnp.sum(chances)


class EnumerableProblem(Problem):
    """A problem that lists its states and gives their probabilities.

    The hidden Markov state of such a problem is an index into `states`. Observations depend on that state
    alone. `num_states` is S below.
    """

    @property
    @abstractmethod
    def num_states(self) -> int:
        """S, known without building the list."""

    @abstractmethod
    def states(self) -> Float[Array, "states state"]:
        """Every state's features. Two hidden states may share them (a state that is a function of the world)."""

    @abstractmethod
    def initial_probabilities(self) -> Float[Array, " states"]:
        """Distribution of an episode's first state."""

    @abstractmethod
    def transition_probabilities(self, actions: Int[Array, " agents"]) -> Float[Array, "states next_states"]:
        """P(s' | s, a) for the joint action a."""

    @abstractmethod
    def local_transition_probabilities(
        self,
        agent: Int[Array, ""],
        observation: Float[Array, " observation"],
        action: Int[Array, ""],
        policy: ReactivePolicy,
    ) -> Float[Array, "states next_states"]:
        """P(s' | s, o_i, a_i): the transition as one agent knows it, the others acting by `policy` on what they see."""

    @abstractmethod
    def team_transition_probabilities(self, policy: ReactivePolicy) -> Float[Array, "states next_states"]:
        """P(s' | s) when the whole team acts by `policy` on what it sees."""

    @abstractmethod
    def log_likelihood(
        self, agent: Int[Array, ""], observation: Float[Array, " observation"]
    ) -> Float[Array, " states"]:
        """log P(o_i | s) for every state; −inf where impossible."""

    def local_prediction(
        self,
        weights: Float[Array, " states"],
        agent: Int[Array, ""],
        observation: Float[Array, " observation"],
        action: Int[Array, ""],
        policy: ReactivePolicy,
    ) -> Float[Array, " states"]:
        """Σ_s b(s) P(s' | s, o_i, a_i), up to a constant; here by the matrix, which sparse problems never build."""
        matrix = self.local_transition_probabilities(agent, observation, action, policy)
        return jnp.matmul(weights, matrix, precision="highest")

    def joint_prediction(
        self, weights: Float[Array, " states"], actions: Int[Array, " agents"]
    ) -> Float[Array, " states"]:
        """Σ_s b(s) P(s' | s, a)."""
        return jnp.matmul(weights, self.transition_probabilities(actions), precision="highest")

    def team_prediction(self, weights: Float[Array, " states"], policy: ReactivePolicy) -> Float[Array, " states"]:
        """Σ_s b(s) P(s' | s) when the whole team acts by `policy`."""
        return jnp.matmul(weights, self.team_transition_probabilities(policy), precision="highest")

    @property
    def belief_entries(self) -> int:
        """Numbers that one step of one belief holds at the same time: bounds how many beliefs go together."""
        return self.num_states

    def joint_log_likelihood(self, observations: Float[Array, "agents observation"]) -> Float[Array, " states"]:
        """log P(o_1, …, o_n | s); here for observations that are independent given the state."""
        agents = jnp.arange(self.num_agents)
        return jnp.sum(jax.vmap(self.log_likelihood)(agents, observations), axis=0)
