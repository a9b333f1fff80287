"""Merging: a net of the points, by falling size."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from composite_flow.numerics.merging import merge_points


def test_merging_gives_a_net_sorted_by_size(key):
    points = jax.random.uniform(key, (200, 2))
    merged = eqx.filter_jit(merge_points)(points, 0.3, 64)
    leaders, counts = np.asarray(merged.points[merged.mask]), np.asarray(merged.counts)
    gaps = np.linalg.norm(leaders[:, None] - leaders[None], axis=-1) + np.eye(len(leaders))
    assert gaps.min() > 0.3
    assert np.linalg.norm(points - leaders[merged.labels], axis=-1).max() <= 0.3
    assert (np.diff(counts) <= 0).all() and counts.sum() == 200
    np.testing.assert_array_equal(counts, np.bincount(merged.labels, minlength=64))
    assert not np.asarray(merged.points[~merged.mask]).any()


def test_merging_reports_what_overflows_and_what_is_not_valid():
    points = jnp.array([[0.0], [1.0], [2.0], [1.01], [jnp.nan], [1.02]])
    merged = merge_points(points, 0.1, 2, jnp.array([1, 1, 1, 1, 1, 0]))
    np.testing.assert_array_equal(merged.labels, [1, 0, -1, 0, -1, -1])
    np.testing.assert_array_equal(merged.counts, [2, 1])
    np.testing.assert_array_equal(merged.points, [[1.0], [0.0]])


def test_merging_counts_weights():
    merged = merge_points(jnp.array([[0.0], [1.0], [0.01]]), 0.1, 2, jnp.array([2, 7, 3]))
    np.testing.assert_array_equal(merged.counts, [7, 5])
    np.testing.assert_array_equal(merged.points, [[1.0], [0.0]])


def test_merging_under_vmap_is_merging_each(key):
    points = jax.random.uniform(key, (3, 50, 2))
    merge = jax.jit(lambda p: merge_points(p, 0.2, 32))
    together = jax.jit(jax.vmap(merge))(points)
    for index in range(3):
        alone = merge(points[index])
        np.testing.assert_array_equal(together.labels[index], alone.labels)
        np.testing.assert_array_equal(together.points[index], alone.points)
