"""Exact beliefs of enumerable problems: the exact answer that every other estimate is compared with.

A window τ_i of one agent is filtered forward, while the other agents act by a known reactive policy:

    b_t(s')  ∝  P(o_t | s') Σ_s b_{t−1}(s) P(s' | s, o_{t−1}, a_{t−1}),

and the joint history in the same way, with the joint observation and the joint action. States with b > 0 are the
consistent states S_G(τ). A window that reaches back to the start of its episode (its mask shows it) begins with
the problem's initial distribution. Any other window begins with `start`, the distribution of the state at a window's
first step, averaged over the data set's steps. Without `start` the initial distribution serves for both, which is
exact for problems that start stationary, as sensor networks do.

Beliefs are kept as logarithms. In the prediction, weights below e^−60 of the largest are raised to that value. It is
far below float32's resolution, but possible states stay possible, so the sets are exact (for transition
probabilities above 1e-11).
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from composite_flow.errors import InputError
from composite_flow.history import History, HistoryLayout
from composite_flow.numerics.entry_point import entry_point
from composite_flow.problems.base import EnumerableProblem, RandomPolicy, ReactivePolicy
from composite_flow.problems.distinct_states import distinct_states

LOWEST_WEIGHT = -60.0
# Entries that a likelihood table of `exact_belief` has at most: 16 MB.
BATCH_ENTRIES = 2**22


class BeliefModel(eqx.Module):
    """The Bayes filter of a problem, for one agent's window or for all of them.

    Attributes:
        problem: the enumerable problem, which gives all probabilities.
        layout: sizes and columns of the windows' flat form, for callers that hold them flat.
        policy: how the other agents act.
        start: distribution of the state at a window's first step; None stands for the problem's initial distribution.
    """

    problem: EnumerableProblem
    layout: HistoryLayout = eqx.field(static=True)
    policy: ReactivePolicy = RandomPolicy()
    start: Float[Array, " states"] | None = None

    @property
    def states(self) -> Float[Array, "states state"]:
        """The features of every hidden state."""
        return self.problem.states()

    def __call__(self, history: History) -> Float[Array, " states"]:
        """log p(s | τ_i) at the last step of one window, which may be traced; −inf everywhere if it is impossible."""

        def move(weights, observation, action):
            return self.problem.local_prediction(weights, history.agent, observation, action, self.policy)

        def weigh(observation):
            return self.problem.log_likelihood(history.agent, observation)

        return self._filter(history.observations, history.actions, history.mask, move, weigh)

    def joint(self, histories: History) -> Float[Array, " states"]:
        """log p(s | τ_{1:n}), given the windows of the same steps of all agents, in their order on the leading axis."""

        def move(weights, observations, actions):
            return self.problem.joint_prediction(weights, actions)

        observations, actions = jnp.swapaxes(histories.observations, 0, 1), jnp.swapaxes(histories.actions, 0, 1)
        return self._filter(observations, actions, histories.mask[0], move, self.problem.joint_log_likelihood)

    def _filter(
        self,
        observations: Float[Array, "length ..."],
        actions: Int[Array, "..."],
        mask: Bool[Array, " length"],
        move,
        weigh,
    ) -> Float[Array, " states"]:
        """Filter forward over the steps; masked steps are skipped."""
        initial = jnp.log(self.problem.initial_probabilities())
        first = initial if self.start is None else jnp.where(jnp.all(mask), jnp.log(self.start), initial)

        def advance(log_belief, step):
            before, action, inside, observation = step
            weights = _weights(log_belief)
            predicted = jnp.where(inside, jnp.log(move(weights, before, action)), initial)
            return predicted + weigh(observation), None

        log_belief = first + weigh(observations[0])
        # A single step needs no transitions, which may be too many to list.
        if len(observations) > 1:
            steps = (observations[:-1], actions, mask[:-1], observations[1:])
            log_belief = jax.lax.scan(advance, log_belief, steps)[0]
        return _normalize(log_belief)


class Belief(eqx.Module):
    """Exact probabilities of a problem's states given histories; the leading axes are those of the histories.

    Attributes:
        states: distinct features, one row per state.
        log_probabilities: log p(s | τ).
    """

    states: Float[Array, "states state"]
    log_probabilities: Float[Array, "*batch states"]

    @property
    def probabilities(self) -> Float[Array, "*batch states"]:
        """p(s | τ)."""
        return jnp.exp(self.log_probabilities)

    @property
    def consistent(self) -> Bool[Array, "*batch states"]:
        """The consistent states S_G(τ) = {s : p(s | τ) > 0}: those whose probability is not exactly zero.

        Source: Definition 1.
        """
        return self.log_probabilities > -jnp.inf


@entry_point
def exact_belief(
    problem: EnumerableProblem,
    histories: History,
    *,
    policy: ReactivePolicy | None = None,
    start: Float[Array, " states"] | None = None,
    joint: bool = False,
) -> Belief:
    """Exact beliefs of many windows.

    Hidden states with the same features count as one state.

    Args:
        problem: the problem that the histories come from.
        histories: windows with any leading axes; with `joint` the last leading axis holds the agents, in their order.
        policy: how the agents act; by default at random.
        start: see `start_distribution`; by default the problem's initial distribution.
        joint: condition on all agents' windows together.

    Returns:
        One distribution per window, or per joint history.

    Raises:
        InputError: a history does not fit the problem, or is impossible in it.
        TooLargeError: the problem has too many states.

    Source: Definition 1.
    """
    batch = histories.agent.shape[:-1] if joint else histories.agent.shape
    length = _check_histories(problem, histories, start, joint)
    layout = HistoryLayout(length, problem.observation_size, problem.num_actions, problem.num_agents)
    model = BeliefModel(problem, layout, RandomPolicy() if policy is None else policy, start)
    flat = jax.tree.map(lambda leaf: jnp.reshape(leaf, (math.prod(batch), *leaf.shape[len(batch) :])), histories)
    log_probabilities = np.asarray(_beliefs(model, flat, joint))
    impossible = np.flatnonzero(np.all(np.isneginf(log_probabilities), axis=1))
    if len(impossible):
        where = tuple(int(i) for i in np.unravel_index(impossible[0], batch)) if batch else ()
        raise InputError(
            f"{len(impossible)} of {len(log_probabilities)} histories are impossible in this problem, the first one at "
            f"index {where}: check that they come from it, and the policy and the start distribution."
        )
    states, merged = _merge_states(np.asarray(problem.states()), log_probabilities)
    return Belief(jnp.asarray(states), jnp.asarray(merged.reshape(*batch, len(states))))


def intersection(consistent: Bool[Array, "*batch agents states"]) -> Bool[Array, "*batch states"]:
    """The states that every agent's own history allows, ∩_i S_G(τ_i).

    Source: Theorem 3, Theorem 4.
    """
    return jnp.all(consistent, axis=-2)


def intersection_excess(
    problem: EnumerableProblem,
    histories: History,
    *,
    policy: ReactivePolicy | None = None,
    start: Float[Array, " states"] | None = None,
) -> float:
    """How often the intersection of the agents' consistent sets is larger than the set that the joint history allows.

    Theorems 3 and 4 say that both sets are equal. This is true where each agent has one observation and these are
    independent given the state. Otherwise the intersection, which is the best that composite diffusion can reach, may
    be larger.

    Args:
        problem: the problem that the histories come from.
        histories: windows with leading axes (joint histories, agents).
        policy: how the agents act; by default at random.
        start: see `start_distribution`.

    Returns:
        The fraction of joint histories for which the intersection is larger.

    Raises:
        InputError: as `exact_belief`.

    Source: Theorem 3, Theorem 4; a measure of how often they fail.
    """
    each = exact_belief(problem, histories, policy=policy, start=start)
    together = exact_belief(problem, histories, policy=policy, start=start, joint=True)
    larger = jnp.any(intersection(each.consistent) & ~together.consistent, axis=-1)
    return float(jnp.mean(larger.astype(jnp.float32)))


def start_distribution(
    problem: EnumerableProblem, policy: ReactivePolicy, num_steps: int, length: int
) -> Float[Array, " states"]:
    """Distribution of the state at the first step of an unmasked window, averaged over an episode's windows.

        (1 / (T − H + 1)) Σ_{t=0}^{T−H} p_0 Pᵗ,        P(s' | s) under the team's policy.

    Args:
        problem: the problem, which gives the Markov chain of states.
        policy: how the whole team acts.
        num_steps: T, the number of states in each episode.
        length: H, the windows' length.

    Raises:
        InputError: no window fits into an episode.
    """
    if not 1 <= length <= num_steps:
        raise InputError(f"A window of {length} steps does not fit into episodes of {num_steps}.")
    if length == num_steps:
        return problem.initial_probabilities()
    mean = jnp.mean(state_distributions(problem, policy, num_steps - length + 1), axis=0)
    return mean / jnp.sum(mean)


def state_distributions(
    problem: EnumerableProblem, policy: ReactivePolicy, num_steps: int
) -> Float[Array, "steps states"]:
    """p_0 Pᵗ, the distribution of the hidden state at each of the first steps, under the team's policy."""

    def advance(distribution, _):
        return problem.team_prediction(distribution, policy), distribution

    return jax.lax.scan(advance, problem.initial_probabilities(), length=num_steps)[1]


def _weights(log_belief: Float[Array, " states"]) -> Float[Array, " states"]:
    """The belief up to a constant, the largest weight 1, with an exact support."""
    peak = jnp.max(log_belief)
    peak = jnp.where(peak > -jnp.inf, peak, 0.0)
    return jnp.where(log_belief > -jnp.inf, jnp.exp(jnp.maximum(log_belief - peak, LOWEST_WEIGHT)), 0.0)


def _normalize(log_belief: Float[Array, " states"]) -> Float[Array, " states"]:
    """Make the probabilities add up to one; a belief that is −inf everywhere stays so."""
    total = jax.nn.logsumexp(log_belief)
    return log_belief - jnp.where(total > -jnp.inf, total, 0.0)


@eqx.filter_jit
def _beliefs(model: BeliefModel, histories: History, joint: bool) -> Float[Array, "batch states"]:
    """Beliefs of a flat batch, computed in parts so that memory is bounded."""
    entries = model.problem.belief_entries * (model.problem.num_agents if joint else 1)
    condition = model.joint if joint else model.__call__
    return jax.lax.map(condition, histories, batch_size=max(1, BATCH_ENTRIES // entries))


def _merge_states(states: np.ndarray, log_probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add up the probabilities of hidden states with the same features, in the order of their first appearance."""
    distinct, labels = distinct_states(states)
    if len(distinct) == len(states):
        return states, log_probabilities
    merged = np.full((len(distinct), len(log_probabilities)), -np.inf, np.float32)
    np.logaddexp.at(merged, labels, log_probabilities.T)
    return distinct, merged.T


def _check_histories(problem: EnumerableProblem, histories: History, start, joint: bool) -> int:
    """Refuse histories that do not fit the problem; returns their length."""
    length, size = histories.observations.shape[-2:]
    agents, mask = np.asarray(histories.agent), np.asarray(histories.mask)
    if agents.size == 0:
        raise InputError("There are no histories.")
    if size != problem.observation_size:
        raise InputError(f"Observations of this problem have {problem.observation_size} features, not {size}.")
    if not mask[..., -1].all() or (mask[..., :-1] & ~mask[..., 1:]).any():
        raise InputError("A history's mask must be off before its episode began and on from there to the last step.")
    if agents.min() < 0 or agents.max() >= problem.num_agents:
        raise InputError(
            f"This problem's agents have the indices 0 to {problem.num_agents - 1}; a history has another."
        )
    team = np.arange(problem.num_agents)
    if joint and (agents.shape[-1:] != team.shape or (agents != team).any()):
        raise InputError(f"A joint history needs one window of each of the {len(team)} agents, in their order.")
    if start is not None and start.shape != (problem.num_states,):
        raise InputError(f"The start distribution has the shape {start.shape}, not one entry per hidden state.")
    return length
