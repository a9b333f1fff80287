"""Eq. (1) where flows go: the denoising loss at points that its own noisy states hardly ever reach.

A flow from noise first comes near the mean of the states that its history allows; with several agents it comes near a
state that the next one excludes. A noisy state of Eq. (1) is seldom like that: it lies near a state that its own
history allows, or is large. A network that has learned from such alone is wrong there, and flows rest between states.

The ideal denoiser is defined at every y, however y arose: f*(τ, y) = E[s | τ, y] with p(τ, s | y) ∝ p(τ, s) K(‖y − s‖²)
and K the kernel of Eq. (1)'s noise. So a pair (τ, s) that is drawn for y by this rule, out of pairs of the data, is a
pair to learn from at y: what has the smallest squared error on such pairs is f*. (The pair that y came from is not:
on pairs (τ, s) with y = f(τ, y₀), the best answer is y itself.) Two kinds of points:

- undecided: where the network's own flow is after one to four steps from N(0, I), with a pair drawn for y;
- contradicted: y close to a state s'. The pairs drawn for y itself would all have this state, which none of their
  histories excludes. So they are drawn for y' = y + σ z, and count by the rule for y as in the method of Metropolis
  and Hastings: w = min(1, ρ(s)/ρ(ŝ)), ρ(s) = K(‖y − s‖²)/K(‖y' − s‖²), where ŝ, at which the flow of τ from y'
  arrives, stands for the state to beat. Where τ allows s', that is often s', and any other state counts next to
  nothing; where τ excludes s', it is another state near y, and others as near count as much.

The fewer of the states near y are among the pairs, the less true are the draws: this is for states that come again.
"""

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from composite_flow.denoiser import Denoiser, Uniform
from composite_flow.flow import flow
from composite_flow.training.loss import noisy_states, squared_errors

CANDIDATES = 4
"""Pairs, for each pair of a batch, among which a point of a flow finds its own."""

_STEPS = 4  # at most, of the flow to an undecided point
_CLOSE = 0.3  # largest noise level around a contradicted state
_MOVED = 0.45  # σ of y': enough to draw states that share half of their ones with s', too little for all
_BACK = 2  # steps of the flow to ŝ
_TRIED = 2  # contradicted points for each one that is learned from
_RESOLUTION = 0.1  # distances below this count alike: what the flow to ŝ leaves open


class WeightedPoints(NamedTuple):
    """Points to learn from: histories, noisy states, the states to answer, and how much each counts."""

    histories: Float[Array, "points history"]
    y: Float[Array, "points state"]
    states: Float[Array, "points state"]
    weights: Float[Array, " points"]


@dataclass(frozen=True)
class FlowLosses:
    """The losses of a batch by Eq. (1) and of further points where flows go, half of them undecided.

    Attributes:
        batch: pairs of Eq. (1), the first that are given; the others are the candidates.
        points: of flows, an even number.
    """

    batch: int
    points: int

    def __call__(
        self,
        denoiser: Denoiser,
        histories: Float[Array, "pairs history"],
        states: Float[Array, "pairs state"],
        key: PRNGKeyArray,
    ) -> Float[Array, " losses"]:
        """Weighted squared errors of all points."""
        key_noise, key_undecided, key_contradicted = jax.random.split(key, 3)
        own = histories[: self.batch], states[: self.batch]
        candidates = histories[self.batch :], states[self.batch :]
        half = self.points // 2
        still = jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_array(leaf) else leaf, denoiser)
        lessons = (
            WeightedPoints(own[0], noisy_states(own[1], key_noise), own[1], jnp.ones(self.batch)),
            undecided_points(still, own[0][:half], *candidates, key_undecided),
            contradicted_points(still, own[1], *candidates, half, key_contradicted),
        )
        lesson = jax.tree.map(lambda *parts: jnp.concatenate(parts), *lessons)
        # The barrier keeps the compiler from fusing the draws into the products, which takes it minutes.
        lesson = jax.lax.optimization_barrier(lesson)
        return lesson.weights * squared_errors(denoiser, lesson.histories, lesson.y, lesson.states)


def undecided_points(
    denoiser: Denoiser,
    own: Float[Array, "points history"],
    histories: Float[Array, "candidates history"],
    states: Float[Array, "candidates state"],
    key: PRNGKeyArray,
) -> WeightedPoints:
    """Where flows from noise are after a few steps by these histories, each with a candidate drawn for it."""
    key_start, key_steps, key_draw = jax.random.split(key, 3)
    start = jax.random.normal(key_start, (len(own), states.shape[1]))
    steps = jax.random.randint(key_steps, (len(own),), 1, _STEPS + 1)
    y = _flows(denoiser, own, start, _STEPS)[jnp.arange(len(own)), steps]
    drawn = draw_candidates(y, states, key_draw)
    return WeightedPoints(histories[drawn], y, states[drawn], jnp.ones(len(own)))


def contradicted_points(
    denoiser: Denoiser,
    near: Float[Array, "states state"],
    histories: Float[Array, "candidates history"],
    states: Float[Array, "candidates state"],
    points: int,
    key: PRNGKeyArray,
) -> WeightedPoints:
    """Points close to some of the states `near`, drawn out of more by their weights w."""
    key_level, key_near, key_moved, key_draw, key_choice = jax.random.split(key, 5)
    near = near[: _TRIED * points]
    level = _CLOSE * jax.random.uniform(key_level, (len(near), 1))
    y = near + level * jax.random.normal(key_near, near.shape)
    moved = y + _MOVED * jax.random.normal(key_moved, y.shape)
    drawn = draw_candidates(moved, states, key_draw)
    back = _flows(denoiser, histories[drawn], moved, _BACK)[:, -1]
    weights = jnp.exp(jnp.minimum(0.0, log_kernel_ratio(y, moved, states[drawn]) - log_kernel_ratio(y, moved, back)))
    total = jnp.sum(weights)
    # Systematic resampling: evenly spaced levels of the sum of weights.
    places = (jnp.arange(points, dtype=jnp.float32) + jax.random.uniform(key_choice)) / points
    chosen = _first_at_least(jnp.cumsum(weights)[None], places * total)
    drawn = drawn[chosen]
    return WeightedPoints(
        histories[drawn], y[chosen], states[drawn], jnp.broadcast_to(jnp.minimum(1.0, total), (points,))
    )


def draw_candidates(
    y: Float[Array, "points state"], states: Float[Array, "candidates state"], key: PRNGKeyArray
) -> Int[Array, " points"]:
    """For each point a candidate j, with probability ∝ K(‖y − s_j‖²)."""
    # The product cancels near y = s, but a distance below 1e-3 then counts as such a one: there is no rival to it.
    products = y @ states.T
    squared = jnp.sum(y**2, axis=1)[:, None] - 2.0 * products + jnp.sum(states**2, axis=1)[None]
    chances = jax.nn.softmax(Uniform().log_kernel(jnp.maximum(squared, 1e-6), y.shape[1]), axis=1)
    sums = jnp.cumsum(chances, axis=1)
    levels = jax.random.uniform(key, (len(y),)) * sums[:, -1]
    return _first_at_least(sums, levels)


def log_kernel_ratio(
    y: Float[Array, "points state"], moved: Float[Array, "points state"], states: Float[Array, "points state"]
) -> Float[Array, " points"]:
    """log ρ(s): how much likelier y is than y', each as a noisy state of s."""

    def log_kernel(point):
        squared = jnp.maximum(jnp.sum((point - states) ** 2, axis=1), _RESOLUTION**2)
        return Uniform().log_kernel(squared, states.shape[1])

    return log_kernel(y) - log_kernel(moved)


def _flows(denoiser: Denoiser, histories, y, num_steps: int):
    """The flow of each history from its own start."""
    contexts = jax.vmap(denoiser.condition)(histories)
    return jax.vmap(lambda context, y: flow(denoiser, context, y, num_steps))(contexts, y)


def _first_at_least(sums: Float[Array, "#levels sums"], levels: Float[Array, " levels"]) -> Int[Array, " levels"]:
    """The first place at which growing sums reach each level; the last one where rounding keeps them below."""
    return jnp.minimum(jnp.sum(sums < levels[:, None], axis=1), sums.shape[1] - 1)
