"""Theorems 7 and 8 on data: where composite diffusion ends, beside the agents' own fixed points (§5.1, A.7, A.8).

For each joint history whose state s is known: the end points y of composite diffusion and their checks, the agents'
fixed points φ_∞(τ_i)(s) near the state and φ_∞(τ_i)(y) near each end, and what `composite_claims` compares of them.

Cost: certification, the flow of every agent from the state and from every end, and one Jacobian for each sampled ball.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.analysis.composite_claims import CompositeErrors
from composite_flow.analysis.hull import affinely_independent, balanced_simplex_weights, distance_to_hull
from composite_flow.certificate.checks import certify_batch
from composite_flow.certificate.reliability import smallest_distance, stable_in_ball
from composite_flow.composite.reconstruct import reconstruct_batch
from composite_flow.denoiser import Denoiser
from composite_flow.errors import InputError
from composite_flow.flow import settle_teams
from composite_flow.validation import check_counts, check_histories, check_one_per_history, check_scales

_JOINT_AT_ONCE = 64  # joint histories: 26 MB of fixed points for 25 agents, 4 samples and 1,000 features


def composite_error(
    denoiser: Denoiser,
    histories: Float[Array, "joint agents history"],
    states: Float[Array, "joint state"],
    *,
    radius: float,
    key: PRNGKeyArray,
    distinct_states: Float[Array, "distinct state"] | None = None,
    num_samples: int = 4,
    num_sweeps: int = 6,
    num_balls: int = 2,
    num_draws: int = 16,
    order: str = "random",
) -> CompositeErrors:
    """Reconstruct joint histories whose state is known, and compare the results with Theorems 7 and 8.

    Args:
        denoiser: the shared denoiser.
        histories: joint histories, such as `dataset.joint(steps).histories`.
        states: the true state of each, scaled.
        radius: D_φ, such as a model's radius.
        key: fixes noises, orders and every sampled point.
        distinct_states: the states over which δ_s is taken; those of these joint histories by default.
        num_samples, num_sweeps, order: as in `Sampling`.
        num_balls: agents drawn for each joint history. One point is sampled in the ball of radius 2 D_φ around each
            one's fixed point. Where it is not surely stable, |λ| < 1 fails there or matrix products could not decide
            it; where it is, this proves nothing about the rest of the ball.
        num_draws: draws of uniform weights for Eq. 18, each in all its rotations.

    Returns:
        Figures per joint history and sample; the fixed points are dropped block by block, so that memory is bounded.

    Raises:
        InputError: if the histories cannot be used, the states do not fit to them, or the flows stay finite for none.

    Source: Theorem 7, Theorem 8, Finding 5, Eq. 18, appendix A.7, appendix A.8.
    """
    histories = check_histories(denoiser, histories, axes=3)
    check_scales(radius=radius)
    check_counts(num_balls=num_balls, num_draws=num_draws)
    check_one_per_history(denoiser, histories, states)
    settings = {"num_samples": num_samples, "num_sweeps": num_sweeps, "order": order}
    blocks = []
    for number, part in enumerate(_parts(len(histories))):
        keys = jax.random.split(jax.random.fold_in(key, number), 3)
        estimates = reconstruct_batch(denoiser, histories[part], key=keys[0], **settings)
        verdict = certify_batch(denoiser, histories[part], estimates, radius=radius)
        inputs = (histories[part], states[part], estimates.samples, jnp.float32(radius))
        found = _fixed_points(denoiser, *inputs, keys[1], num_balls)
        block = _Block(states[part], estimates.samples, verdict.accepted_by_paper, verdict.accepted, found)
        blocks.append(_measured(block, keys[2], num_draws))
    merged: dict[str, Any] = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    if not len(merged["errors"]):
        raise InputError("The agents' flows stay finite for none of these joint histories; train the denoiser further.")
    return CompositeErrors(
        diverged=len(histories) - len(merged["errors"]),
        radius=float(radius),
        smallest_distance=smallest_distance(states if distinct_states is None else distinct_states),
        **merged,
    )


def _parts(count: int) -> Iterator[slice]:
    return (slice(first, first + _JOINT_AT_ONCE) for first in range(0, count, _JOINT_AT_ONCE))


class _Points(eqx.Module):
    """The agents' fixed points near the state and near each end, whether all flows rested, and the sampled balls."""

    near_state: Float[Array, "joint agents state"]
    near_end: Float[Array, "joint samples agents state"]
    settled: Bool[Array, " joint"]
    stable_balls: Bool[Array, "joint balls"]


class _Block(NamedTuple):
    """A block of joint histories with all that the denoiser computes for it."""

    states: Float[Array, "joint state"]
    ends: Float[Array, "joint samples state"]
    accepted_by_paper: Bool[Array, "joint samples"]
    accepted: Bool[Array, "joint samples"]
    points: _Points


def _fixed_points(denoiser, histories, states, samples, radius, key, num_balls: int) -> _Points:
    """Run the agents' flows of a block and sample the balls around their fixed points."""
    rested, settled = settle_teams(denoiser, histories, jnp.concatenate([states[:, None], samples], axis=1))
    near_state = jnp.asarray(rested[:, 0])
    stable = _stable_balls(denoiser, histories, near_state, 2.0 * radius, key, num_balls)
    return _Points(near_state, jnp.asarray(rested[:, 1:]), jnp.asarray(settled.all(axis=(1, 2))), stable)


@eqx.filter_jit
def _stable_balls(denoiser, histories, centers, size, key, num_balls: int) -> Bool[Array, "joint balls"]:
    """Whether random points of balls around random agents' fixed points are stable, one joint history at a time."""

    def one(example):
        joint_history, points, key = example
        key_agents, key_points = jax.random.split(key)
        agents = jax.random.randint(key_agents, (num_balls,), 0, joint_history.shape[0])
        contexts = jax.vmap(denoiser.condition)(joint_history[agents])
        keys = jax.random.split(key_points, num_balls)
        ball = partial(stable_in_ball, denoiser)
        return jax.vmap(lambda context, center, key: ball(context, center, size, key))(contexts, points[agents], keys)

    return jax.lax.map(one, (histories, centers, jax.random.split(key, histories.shape[0])))


def _measured(block: _Block, key: PRNGKeyArray, num_draws: int) -> dict[str, np.ndarray]:
    """The fields of `CompositeErrors` with one row per joint history, on the host in float64.

    Joint histories with a fixed point that is not finite are left out.
    """
    host: Any = jax.tree.map(np.asarray, block)
    finite = np.isfinite(host.points.near_state).all((1, 2)) & np.isfinite(host.points.near_end).all((1, 2, 3))
    host = jax.tree.map(lambda leaf: leaf[finite], host)
    states, ends, near_state, near_end = (
        values.astype(np.float64) for values in (host.states, host.ends, host.points.near_state, host.points.near_end)
    )
    offsets = near_state - states[:, None]
    weights = balanced_simplex_weights(key, near_state.shape[1], num_draws)
    return {
        "errors": _norm(ends - states[:, None]),
        "accepted_by_paper": host.accepted_by_paper,
        "accepted": host.accepted,
        "hull_distances": _hull_distances(ends, np.broadcast_to(near_state[:, None], near_end.shape)),
        "end_hull_distances": _hull_distances(ends, near_end),
        "end_mean_errors": _norm(near_end.mean(axis=2) - states[:, None]),
        "nearest_end_points": _norm(near_end - states[:, None, None]).min(axis=2),
        "deviations": _norm(offsets),
        "mean_errors": _norm(offsets.mean(axis=1)),
        "simplex_errors": np.array([_norm(weights @ one).mean() for one in offsets]),  # one by one: bounded memory
        "independent": np.array([affinely_independent(one) for one in near_state], bool),
        "settled": host.points.settled,
        "stable_balls": host.points.stable_balls,
    }


def _hull_distances(ends: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """The distance of each end (joint, samples, state) to its own hull (joint, samples, agents, state)."""
    distances = [
        distance_to_hull(*pair).distance for one in zip(ends, vertices, strict=True) for pair in zip(*one, strict=True)
    ]
    return np.array(distances).reshape(ends.shape[:2])


def _norm(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=-1)
