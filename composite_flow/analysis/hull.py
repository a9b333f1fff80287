"""Convex hulls of a few points: the distance of a point to a hull, and random points of a hull.

    Conv(F) = {Σ_i β_i y_i : β_i ≥ 0, Σ_i β_i = 1}                                           (Eq. 71)

Everything here runs on the host in float64: a hull has one vertex for each agent, and squares of distances of 1e-3
between points known to 1e-7 would lose all digits in float32.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from scipy import linalg, optimize

from composite_flow.errors import InputError, TooLargeError

_LARGEST_TRIANGULATION = 5  # dimensions; the number of simplices grows like vertices^(dimensions / 2)
# Vertices are float32: directions below this share of the largest are rounding, not extent.
_FLAT = 1e-6


class HullDistance(NamedTuple):
    """The distance of a point to a hull, and where it is attained.

    Attributes:
        distance: Euclidean distance; an upper bound of the true one.
        error: how much smaller the true distance can be at most, by the optimality conditions.
        nearest: the nearest point of the hull.
        weights: β of that point; 0 for vertices that do not take part.
    """

    distance: float
    error: float
    nearest: Float[np.ndarray, " state"]
    weights: Float[np.ndarray, " vertices"]


def distance_to_hull(
    point: Float[Array, " state"] | Float[np.ndarray, " state"],
    vertices: Float[Array, "vertices state"] | Float[np.ndarray, "vertices state"],
    mask: Bool[Array, " vertices"] | Bool[np.ndarray, " vertices"] | None = None,
) -> HullDistance:
    """The distance of a point to the convex hull of others.

        min_β ‖Σ_i β_i a_i‖,  a_i = y_i − y        over the simplex,  by
        min_u ‖Σ_i u_i a_i‖² + (Σ_i u_i − 1)²      over u ≥ 0,        β = u / Σ u

    The second is no approximation of the first: for u = t β its minimum over t is D² / (1 + D²), D = ‖Σ β_i a_i‖,
    which grows with D. It is a non-negative least-squares problem, solved by an active-set method in finitely many
    steps, duplicate and degenerate vertices included.

    Accuracy: with x = Σ β_i a_i, any hull point z has z·x/‖x‖ ≥ min_i a_i·x/‖x‖. So the true distance lies between
    that and ‖x‖; the difference is `error`, about 1e-15 times the largest ‖a_i‖.

    Args:
        point: y.
        vertices: the points that span the hull, any number in any position.
        mask: which vertices take part; all by default.

    Returns:
        Distance, its error, the nearest point and its weights. For a point inside, the distance is a rounding error,
        not exactly 0.

    Raises:
        InputError: no vertex takes part, the sizes differ, or a value is not finite.

    Source: Theorem 7, Eq. 71; the distance to the hull that it names.
    """
    point, vertices = np.asarray(point, np.float64), np.asarray(vertices, np.float64)
    chosen = np.ones(len(vertices), bool) if mask is None else np.asarray(mask)
    _check(point, vertices, chosen)
    offsets = (vertices[chosen] - point[None]).T
    scale = np.linalg.norm(offsets, axis=0).max()
    scaled = offsets / (scale if scale > 0 else 1.0)  # both terms of the least squares are then of order one
    augmented = np.vstack([scaled, np.ones(scaled.shape[1])])
    target = np.zeros(len(augmented))
    target[-1] = 1.0
    solution, _ = optimize.nnls(augmented, target, maxiter=50 * scaled.shape[1])
    part = solution / solution.sum()
    offset = scaled @ part
    length = float(np.linalg.norm(offset))
    gap = length - float((scaled.T @ offset).min()) / length if length > 0 else 0.0
    weights = np.zeros(len(vertices))
    weights[chosen] = part
    error = min(max(gap, 0.0), length)
    return HullDistance(float(scale * length), float(scale * error), point + scale * offset, weights)


def simplex_weights(key: PRNGKeyArray, num_weights: int, num_draws: int) -> Float[np.ndarray, "draws weights"]:
    """Draw weights β uniform on the simplex, Dirichlet(1, …, 1)."""
    return np.asarray(jax.random.dirichlet(key, jnp.ones(num_weights), (num_draws,)), np.float64)


def balanced_simplex_weights(
    key: PRNGKeyArray, num_weights: int, num_draws: int
) -> Float[np.ndarray, "balanced weights"]:
    """Uniform weights in every rotation, so that the mean of each weight is exactly 1/n, its expectation.

    So what convexity says about the expectation also holds for the mean over these draws.
    """
    draws = simplex_weights(key, num_weights, num_draws)
    return np.concatenate([np.roll(draws, shift, axis=1) for shift in range(num_weights)])


def affinely_independent(vertices: Float[Array, "vertices state"] | Float[np.ndarray, "vertices state"]) -> bool:
    """Whether the vertices span a simplex: none lies in the affine span of the others, up to 1e-6 of their extent.

    Only then do uniform weights give the uniform distribution on the hull. More vertices than features + 1 are never
    affinely independent.
    """
    return _span(np.asarray(vertices, np.float64)).shape[1] == len(vertices) - 1


def uniform_on_hull(
    vertices: Float[Array, "vertices state"] | Float[np.ndarray, "vertices state"],
    *,
    key: PRNGKeyArray,
    num_draws: int,
) -> Float[np.ndarray, "draws state"]:
    """Draw points that are uniform on the hull itself, in the hull's own dimension.

    On a simplex, uniform weights do this. Any other hull is cut into simplices (Delaunay); then a simplex is drawn
    with a probability proportional to its volume, and a point of it by uniform weights.

    Args:
        vertices: the points that span the hull.
        key: fixes the draws.
        num_draws: number of points.

    Raises:
        TooLargeError: the hull is no simplex and has more than five dimensions.
    """
    vertices = np.asarray(vertices, np.float64)
    key_simplex, key_weights = jax.random.split(key)
    span = _span(vertices)
    dimensions = span.shape[1]
    if dimensions == len(vertices) - 1 or dimensions == 0:
        return simplex_weights(key_weights, len(vertices), num_draws) @ vertices
    if dimensions > _LARGEST_TRIANGULATION:
        raise TooLargeError(
            f"A hull of {len(vertices)} points in {dimensions} dimensions has too many simplices to draw from; "
            f"use at most {_LARGEST_TRIANGULATION} dimensions, or points in general position."
        )
    simplices = _triangulated((vertices - vertices.mean(axis=0)[None]) @ span)
    corners = vertices[simplices]
    edges = corners[:, 1:] - corners[:, :1]
    volumes = np.sqrt(np.maximum(np.linalg.det(edges @ edges.transpose(0, 2, 1)), 0.0))
    chosen = np.searchsorted(
        np.cumsum(volumes)[:-1] / volumes.sum(), np.asarray(jax.random.uniform(key_simplex, (num_draws,)))
    )
    weights = simplex_weights(key_weights, dimensions + 1, num_draws)
    return np.einsum("nk,nkd->nd", weights, corners[chosen])


def _span(vertices: Float[np.ndarray, "vertices state"]) -> Float[np.ndarray, "state dimensions"]:
    """An orthonormal basis of the directions in which the vertices differ."""
    return linalg.orth((vertices - vertices.mean(axis=0)[None]).T, rcond=_FLAT)


def _triangulated(points: np.ndarray) -> np.ndarray:
    """Simplices that fill the hull of the points, as rows of indices; points on a line are cut in their order."""
    if points.shape[1] == 1:
        order = np.argsort(points[:, 0])
        return np.stack([order[:-1], order[1:]], axis=1)
    from scipy import spatial  # slow to import

    return spatial.Delaunay(points).simplices


def _check(point: np.ndarray, vertices: np.ndarray, chosen: np.ndarray) -> None:
    if (
        point.ndim != 1
        or vertices.ndim != 2
        or vertices.shape[1] != point.shape[0]
        or chosen.shape != vertices.shape[:1]
    ):
        raise InputError(
            f"A point of shape {point.shape} and a mask of shape {chosen.shape} do not fit to vertices of shape "
            f"{vertices.shape}; give (state,), (vertices,) and (vertices, state)."
        )
    if not chosen.any():
        raise InputError("A hull needs at least one vertex that takes part.")
    if not (np.isfinite(point).all() and np.isfinite(vertices[chosen]).all()):
        raise InputError("The point or a vertex of the hull is NaN or infinite; mask what did not converge.")
