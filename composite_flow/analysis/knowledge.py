"""What can be known of a problem's state, exactly: by each agent, by the team, and by what agents say to each other.

Everything is measured in the same units, on joint histories from the start of an episode on, at a random step of each:

    bits         E[−log₂ p(s)] of the true state: what is still open
    right        how often the likeliest state is the true one
    certain      how often a single state is left
    states       how many states are left, on average

of nobody's history (the distribution of the state at this step), each agent's own, and the team's. Fusion adds up exact
answers, log p(s) + Σ_i (log p(s | τ_i) − log p(s)), which loses what histories tell only jointly; its bits are of that
distribution. Composite diffusion runs with the ideal denoiser; of its samples can be told which states they are.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from composite_flow.belief import BeliefModel, exact_belief, intersection, state_distributions
from composite_flow.composite.reconstruct import reconstruct_batch
from composite_flow.data.collect import collect
from composite_flow.data.dataset import HistoryDataset, JointBatch
from composite_flow.denoiser import IdealDenoiser
from composite_flow.errors import InputError
from composite_flow.fusion.ideal import fuse_beliefs
from composite_flow.history import History, HistoryLayout
from composite_flow.metrics import exact_states
from composite_flow.problems.base import EnumerableProblem, RandomPolicy, ReactivePolicy
from composite_flow.problems.distinct_states import distinct_states

STIR = 0.2  # as states are one-hot or 0 and 1, at least 1 apart


@dataclass(frozen=True)
class Known:
    """What one source tells of the state; means over joint histories.

    Attributes:
        bits: of the true state that are open; None where states are sampled, which have no probabilities.
        right: share whose likeliest state is the true one.
        certain: share with a single state left; None likewise.
        states: states left; None likewise.
    """

    bits: float | None
    right: float
    certain: float | None = None
    states: float | None = None


@dataclass(frozen=True)
class Knowledge:
    """What can be known of a problem's state.

    Attributes:
        num_joint: joint histories that were looked at.
        nobody, agents, team, fusion, composite: what is known without a history, by each agent, by all histories
            together, by the sum of exact answers, and by composite diffusion with the ideal denoiser.
        excess: share of joint histories of which all agents allow a state that the joint history excludes. There
            Theorems 3 and 4 fail, and composite diffusion can come to rest in that state.
        composite_possible: share of samples of composite diffusion that are states which the joint history allows.
    """

    num_joint: int
    nobody: Known
    agents: tuple[Known, ...]
    team: Known
    fusion: Known
    composite: Known
    excess: float
    composite_possible: float


class MergedBelief(eqx.Module):
    """A belief in which hidden states that share their features count as one state.

    Attributes:
        model: over hidden states.
        states: each features once.
        labels: of each hidden state, its place there.
    """

    model: BeliefModel
    states: Float[Array, "states state"]
    labels: Int[Array, " hidden"]

    def __init__(self, model: BeliefModel):
        states, labels = distinct_states(np.asarray(model.problem.states()))
        self.model, self.states, self.labels = model, jnp.asarray(states), jnp.asarray(labels)

    @property
    def layout(self) -> HistoryLayout:
        """Of flat histories."""
        return self.model.layout

    def __call__(self, history: History) -> Float[Array, " states"]:
        """log p(s | τ)."""
        return merge_log(self.model(history), self.labels, self.states.shape[0])


def knowledge(
    problem: EnumerableProblem, num_joint: int = 64, *, policy: ReactivePolicy | None = None, key: PRNGKeyArray
) -> Knowledge:
    """Measure what can be known of a problem's state.

    Args:
        problem: with a number of steps.
        num_joint: joint histories, each from an episode of its own.
        policy: how the team acts; by default at random.
        key: draws the episodes, and what composite diffusion starts from.

    Raises:
        InputError: the problem has no number of steps, or histories are too few.
        TooLargeError: it has too many states to list.
    """
    if num_joint < 1 or problem.num_steps is None:
        raise InputError("Give at least one joint history, of a problem that says how long an episode is.")
    policy = RandomPolicy() if policy is None else policy
    key_data, key_step, key_flow = jax.random.split(key, 3)
    episodes = collect(problem, num_joint, key=key_data, policy=policy)
    lengths = np.diff(np.append(episodes.starts, episodes.num_steps))
    steps = np.asarray(jax.random.randint(key_step, (num_joint,), 0, jnp.asarray(lengths)))
    dataset = HistoryDataset(episodes, length=problem.num_steps)
    joint = dataset.joint(np.asarray(episodes.starts) + steps)
    raw = dataset.scaling.unscale(jnp.asarray(joint.states))
    each = exact_belief(problem, joint.structured, policy=policy)
    team = exact_belief(problem, joint.structured, policy=policy, joint=True)
    truth = jnp.argmin(jnp.sum((each.states[None] - raw[:, None]) ** 2, axis=2), axis=1)
    prior = _priors(problem, policy)[steps]
    fused = jax.vmap(fuse_beliefs)(each.log_probabilities, prior, jnp.ones((num_joint, problem.num_agents), bool))
    alone = tuple(_known(each.log_probabilities[:, agent], truth) for agent in range(problem.num_agents))
    larger = jnp.any(intersection(each.consistent) & ~team.consistent, axis=1)
    composite, possible = _composed(problem, policy, dataset, joint, team.consistent, key_flow)
    return Knowledge(
        num_joint,
        _known(prior, truth),
        alone,
        _known(team.log_probabilities, truth),
        _known(fused, truth),
        composite,
        float(jnp.mean(larger.astype(jnp.float32))),
        possible,
    )


def merge_log(
    log_belief: Float[Array, " hidden"], labels: Int[Array, " hidden"], count: int
) -> Float[Array, " states"]:
    """log of the sums of probabilities with the same label."""
    return jnp.log(jax.ops.segment_sum(jnp.exp(log_belief), labels, count))


def _known(log_probabilities: Float[Array, "joint states"], truth: Int[Array, " joint"]) -> Known:
    """What distributions tell of the true states."""
    possible = log_probabilities > -jnp.inf
    peak = jnp.max(log_probabilities, axis=1, keepdims=True)
    # A tie of k states, to within rounding, is right one time in k.
    is_peak = (log_probabilities > peak - 1e-4).astype(jnp.float32)
    rows = jnp.arange(len(truth))
    right = is_peak[rows, truth] / jnp.sum(is_peak, axis=1)
    left = np.asarray(jnp.sum(possible, axis=1))
    bits = -np.asarray(log_probabilities[rows, truth]) / np.log(2)
    return Known(max(0.0, float(bits.mean())), float(jnp.mean(right)), float(np.mean(left == 1)), float(left.mean()))


def _priors(problem: EnumerableProblem, policy: ReactivePolicy) -> Float[Array, "steps states"]:
    """log p(s_t) at every step, under the team's policy."""
    states, labels = distinct_states(np.asarray(problem.states()))
    assert problem.num_steps is not None, "`knowledge` refuses others"
    found = state_distributions(problem, policy, problem.num_steps)
    return jax.vmap(lambda one: merge_log(jnp.log(one), jnp.asarray(labels), len(states)))(found)


def _composed(
    problem: EnumerableProblem,
    policy: ReactivePolicy,
    dataset: HistoryDataset,
    joint: JointBatch,
    consistent: Bool[Array, "joint states"],
    key: PRNGKeyArray,
) -> tuple[Known, float]:
    """Composite diffusion with the ideal denoiser: how often its estimate is true, and samples are possible."""
    belief = MergedBelief(BeliefModel(problem, dataset.layout, policy))
    scaled = eqx.tree_at(lambda one: one.states, belief, dataset.scaling.scale(belief.states))
    found = reconstruct_batch(
        IdealDenoiser(scaled), jnp.asarray(joint.histories), key=key, num_samples=16, num_sweeps=20, stir=STIR
    )
    truth = jnp.asarray(joint.states)
    right = float(jnp.mean(exact_states(found.state, truth).astype(jnp.float32)))

    def is_possible(samples, allowed):
        apart = jnp.max(jnp.abs(samples[:, None] - scaled.states[None]), axis=2)
        return jnp.any((apart < 0.5) & allowed[None], axis=1)

    possible = jax.lax.map(lambda pair: is_possible(*pair), (found.samples, consistent))
    return Known(None, right), float(jnp.mean(possible.astype(jnp.float32)))
