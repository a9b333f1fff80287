"""Many flows at once rest where each alone would, whatever they are packed with."""

import jax.numpy as jnp
import numpy as np
from teams import Linear

from composite_flow.flow import settle, settle_teams
from composite_flow.numerics.batches import in_batches

HALF = Linear(jnp.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]), jnp.broadcast_to(0.5 * jnp.eye(2)[None], (3, 2, 2)))


def test_flows_packed_anew_end_where_each_alone_would(key):
    """Rates from 0.1 to 0.98 need from 5 to several hundred steps."""
    rates = jnp.array([0.1, 0.98, 0.5, 0.9, 0.3])
    team = Linear(jnp.linspace(0.0, 1.0, 10).reshape(5, 2), rates[:, None, None] * jnp.eye(2)[None])
    points, converged = settle(team, jnp.eye(5), jnp.zeros((5, 2)), batch_size=2, max_steps=1024)
    assert converged.all()
    distances = np.linalg.norm(points - np.asarray(team.points), axis=1)
    assert np.all(distances <= 1.1e-5 / (1 - np.asarray(rates)))  # the tolerance over 1 − ρ, and rounding


def test_starts_that_agree_share_one_flow_and_keep_their_places():
    """Rows 0 and 2 differ by a hundredth of the tolerance, row 3 by its history, row 1 by its start."""
    histories = np.eye(3, dtype=np.float32)[[0, 0, 0, 1]]
    starts = np.array([[0.2, 0.2], [0.9, 0.1], [0.2 + 1e-7, 0.2], [0.2, 0.2]], np.float32)
    points, converged = settle(HALF, histories, starts)
    assert converged.all() and np.array_equal(points[0], points[2])
    assert np.allclose(points, histories @ np.asarray(HALF.points), atol=2e-5)  # twice the tolerance at rate 1/2


def test_a_flow_that_leaves_the_floats_ends_at_nan_and_spoils_no_other():
    team = Linear(HALF.points, jnp.array([0.5, 1e9, 0.5])[:, None, None] * jnp.eye(2)[None])
    points, converged = settle(team, jnp.eye(3), jnp.full((3, 2), 0.3))
    assert converged.tolist() == [True, False, True]
    assert np.isnan(points[1]).all() and np.allclose(points[[0, 2]], HALF.points[jnp.array([0, 2])], atol=2e-5)


def test_teams_flow_from_every_start_agent_by_agent():
    histories = jnp.stack([jnp.eye(3), jnp.eye(3)[::-1]])
    starts = jnp.zeros((2, 4, 2)).at[:, :, 0].set(jnp.arange(4.0)[None])
    points, converged = settle_teams(HALF, histories, starts)
    assert points.shape == (2, 4, 3, 2) and converged.all()
    assert np.allclose(points[0], np.broadcast_to(HALF.points, (4, 3, 2)), atol=2e-5)
    assert np.allclose(points[1], points[0][:, ::-1], atol=2e-5)


def test_batches_are_filled_up_and_what_fills_them_is_dropped():
    sizes = []

    def double(rows):
        sizes.append(len(rows))
        return 2 * rows, rows + 1

    doubled, following = in_batches(double, (np.arange(11),), 4)
    assert np.array_equal(doubled, 2 * np.arange(11)) and np.array_equal(following, np.arange(1, 12))
    assert sizes == [4, 4, 4]
    in_batches(double, (np.arange(5),), 64)
    assert sizes[3:] == [8]  # the next power of two, so that few sizes are compiled
