"""The denoising loss of Eq. (1) at points that flows visit but its own noisy states hardly ever reach.

A flow from noise first comes near the mean of the states that its history allows; with several agents it comes near a
state that the next agent excludes. A noisy state of Eq. (1) is seldom such a point: it lies near a state that its own
history allows, or it is large. A network trained on noisy states alone is wrong there, and flows rest between states.

The ideal denoiser is defined at every y, however y arose: f*(τ, y) = E[s | τ, y] with p(τ, s | y) ∝ p(τ, s) K(‖y − s‖²)
and K the kernel of Eq. (1)'s noise. So a pair (τ, s) that is drawn for y by this rule, out of pairs of the data, is a
correct training example at y: f* has the smallest squared error on such pairs. (The pair from which y was computed is
not a correct example: on pairs (τ, s) with y = f(τ, y₀), the best answer is y itself.) There are two kinds of points:

- undecided: y is where the network's own flow is after one to four steps from N(0, I), with a pair drawn for y;
- contradicted: y lies close to a state s'. Pairs drawn for y itself would all have the state s', which none of their
  histories excludes. So pairs are drawn for y' = y + σ z and weighted for y as in the Metropolis–Hastings method:
  w = min(1, ρ(s)/ρ(ŝ)), ρ(s) = K(‖y − s‖²)/K(‖y' − s‖²). Here ŝ is the point at which the flow of τ from y' arrives;
  it stands for the current state of the Markov chain. Where τ allows s', ŝ is often s', and any other state has almost
  no weight. Where τ excludes s', ŝ is another state near y, and states that are as near have the same weight.

The draws are less exact if few of the states near y occur among the pairs. So this loss is for states that occur again
and again.
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
"""Number of candidate pairs for each pair of a batch, from which the pairs of flow points are drawn."""

_STEPS = 4  # most steps of the flow to an undecided point
_CLOSE = 0.3  # largest noise level around a contradicted state
_MOVED = 0.45  # σ of y': enough to draw states with half of their ones in common with s', too little for all
_BACK = 2  # steps of the flow to ŝ
_TRIED = 2  # contradicted points that are drawn for each one that is kept
_RESOLUTION = 0.1  # smaller distances count as this one, since the flow to ŝ is no more accurate


class WeightedPoints(NamedTuple):
    """Training examples: histories, noisy states, the states to estimate, and the weight of each example."""

    histories: Float[Array, "points history"]
    y: Float[Array, "points state"]
    states: Float[Array, "points state"]
    weights: Float[Array, " points"]


@dataclass(frozen=True)
class FlowLosses:
    """The losses of a batch by Eq. (1), and of additional points that flows visit, half of them undecided.

    Attributes:
        batch: number of pairs for Eq. (1). These come first among the given pairs; the others are the candidates.
        points: number of flow points, an even number.
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
        parts = (
            WeightedPoints(own[0], noisy_states(own[1], key_noise), own[1], jnp.ones(self.batch)),
            undecided_points(still, own[0][:half], *candidates, key_undecided),
            contradicted_points(still, own[1], *candidates, half, key_contradicted),
        )
        examples = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
        # The barrier stops the compiler from fusing the draws into the products, which would take it minutes.
        examples = jax.lax.optimization_barrier(examples)
        return examples.weights * squared_errors(denoiser, examples.histories, examples.y, examples.states)


def undecided_points(
    denoiser: Denoiser,
    own: Float[Array, "points history"],
    histories: Float[Array, "candidates history"],
    states: Float[Array, "candidates state"],
    key: PRNGKeyArray,
) -> WeightedPoints:
    """The points of these histories' flows a few steps after noise, each with a candidate drawn for it."""
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
    """Points close to some of the states `near`; more points are drawn, and some are kept by their weights w."""
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
    """For each point the index of a candidate j, drawn with probability ∝ K(‖y − s_j‖²)."""
    # The product loses its digits near y = s. There distances below 1e-3 count as 1e-3; no other state is as near.
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
    """The flow of each history from the start in its row."""
    contexts = jax.vmap(denoiser.condition)(histories)
    return jax.vmap(lambda context, y: flow(denoiser, context, y, num_steps))(contexts, y)


def _first_at_least(sums: Float[Array, "#levels sums"], levels: Float[Array, " levels"]) -> Int[Array, " levels"]:
    """The first place at which the increasing sums reach each level, or the last place if rounding prevents it."""
    return jnp.minimum(jnp.sum(sums < levels[:, None], axis=1), sums.shape[1] - 1)
