"""What common information saves at Table 1's default: errors of the private features after each sweep.

A unit is common in a step where every living ally sees it. Its features are then given to composite diffusion
(`Given`), or not; both ways agents start from the same noises and speak in the same orders, and errors are those of the
other features alone.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.composite.given import Given, give
from composite_flow.composite.plan import make_plan
from composite_flow.composite.reconstruct import states_by_sweep
from composite_flow.composite.sampling import Sampling
from composite_flow.data.dataset import JointBatch
from composite_flow.denoiser import Denoiser
from composite_flow.metrics import decibels
from composite_flow.problems.seen_by_all import common_features
from composite_flow.problems.smax import SMAX

_BATCH = 64  # joint histories at once


def saved(
    problem: SMAX,
    denoiser: Denoiser,
    joint: JointBatch,
    *,
    key: PRNGKeyArray,
    num_samples: int,
    num_sweeps: int,
) -> dict[str, Any]:
    """PSNR of the private features after each sweep, and the sweeps that the given features make up for.

    Args:
        problem: whose states lie in [0, 1] as they are.
        denoiser: of all agents.
        joint: histories and states of some steps.
        key: fixes noises and orders.
        num_samples: of composite diffusion.
        num_sweeps: of composite diffusion.
    """
    known = jax.jit(jax.vmap(lambda state: common_features(problem, state)))(joint.states)
    options = {"key": key, "num_samples": num_samples, "num_sweeps": num_sweeps}
    plain = errors_by_sweep(denoiser, joint.histories, joint.states, ~known, **options)
    extended = give(joint.histories, known, joint.states)
    given = errors_by_sweep(Given(denoiser), extended, joint.states, ~known, **options)
    psnr, psnr_given = decibels(plain), decibels(given)
    reached = np.flatnonzero(psnr_given >= psnr[-1])
    return {
        "common_share": float(jnp.mean(known.astype(jnp.float32))),
        "psnr": psnr,
        "psnr_given": psnr_given,
        # the first sweep with the given features whose result is as good as the last without them
        "sweeps_to_equal": int(reached[0]) + 1 if len(reached) else None,
    }


def errors_by_sweep(
    denoiser: Denoiser,
    histories: Float[Array, "steps agents history"],
    states: Float[Array, "steps state"],
    private: Bool[Array, "steps state"],
    *,
    key: PRNGKeyArray,
    num_samples: int,
    num_sweeps: int,
) -> Float[np.ndarray, " sweeps"]:
    """Mean squared error of the private features of all steps and samples after each sweep of composite diffusion."""
    squares = np.asarray(
        _squares_by_sweep(denoiser, histories, states, private, key, num_samples, num_sweeps), np.float64
    )
    return squares.sum(axis=0) / max(1, num_samples * int(jnp.sum(private)))


@eqx.filter_jit
def _squares_by_sweep(denoiser, histories, states, private, key, num_samples: int, num_sweeps: int):
    """Summed squared errors, (steps, sweeps)."""
    plan = make_plan(histories.shape[1], Sampling(num_samples=num_samples, num_sweeps=num_sweeps))

    def one(example):
        history, state, counts, key = example
        ends = states_by_sweep(denoiser, history, key, plan)
        return jnp.sum(jnp.where(counts[None, None], (ends - state[None, None]) ** 2, 0.0), axis=(0, 2))

    examples = (histories, states, private, jax.random.split(key, len(states)))
    return jax.lax.map(one, examples, batch_size=min(_BATCH, len(states)))
