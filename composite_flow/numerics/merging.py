"""Merge points that lie within a radius: end points of flows become fixed points, samples become candidates."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Merged(eqx.Module):
    """Points merged within a radius, the largest clusters first; a fixed number of rows and a mask of those in use.

    Attributes:
        points: one member of each cluster; zeros where unused.
        mask: which rows are used.
        labels: the cluster of each given point; −1 where the point was left out or there was no room for its cluster.
        counts: the sum of the weights of each cluster's points.
        leaders: the index of the point that stands for each cluster.
    """

    points: Float[Array, "max_points state"]
    mask: Bool[Array, " max_points"]
    labels: Int[Array, " n"]
    counts: Int[Array, " max_points"]
    leaders: Int[Array, " max_points"]


def merge_points(
    points: Float[Array, "n state"],
    radius: float | Float[Array, ""],
    max_points: int,
    weights: Int[Array, " n"] | None = None,
) -> Merged:
    """Merge points greedily: the first free point leads, and takes all free points within the radius.

    Leaders are more than `radius` apart, and every point lies within `radius` of its leader. The order of the points
    decides which of them lead.

    Args:
        points: points in the units of the radius; one that is not finite is left out.
        radius: Euclidean distance.
        max_points: most clusters; points for which no cluster is left have label −1.
        weights: the number of points that each point stands for, 1 by default; one of weight 0 is left out.

    Returns:
        The clusters by falling count. Traceable; cost O(n · number of clusters).
    """
    weights = jnp.ones(points.shape[0], int) if weights is None else weights
    valid = jnp.all(jnp.isfinite(points), axis=-1) & (weights > 0)

    def unfinished(carry):
        labels, _, index = carry
        return jnp.any(valid & (labels < 0)) & (index < max_points)

    def lead(carry):
        labels, leaders, index = carry
        free = valid & (labels < 0)
        leader = jnp.argmax(free)
        near = free & (jnp.sum((points - points[leader][None]) ** 2, axis=-1) <= radius**2)
        return jnp.where(near, index, labels), leaders.at[index].set(leader), index + 1

    start = (jnp.full(points.shape[0], -1), jnp.zeros(max_points, int), jnp.zeros((), int))
    labels, leaders, _ = jax.lax.while_loop(unfinished, lead, start)
    # Label −1 goes to a last segment, which is dropped.
    counts = jax.ops.segment_sum(weights, jnp.where(labels >= 0, labels, max_points), max_points + 1)[:-1]
    order = jnp.argsort(-counts, stable=True)
    mask = counts[order] > 0
    return Merged(
        points=jnp.where(mask[:, None], points[leaders[order]], 0.0),
        mask=mask,
        labels=jnp.where(labels >= 0, jnp.argsort(order)[labels], -1),
        counts=counts[order],
        leaders=leaders[order],
    )
