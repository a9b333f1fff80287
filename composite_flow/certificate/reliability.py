"""How reliable the checks of composite diffusion are, measured on joint histories whose state is known.

Theorem 7 assumes three things that the checks themselves cannot verify (A.7):

1. D_φ < δ_s / 6, with δ_s the smallest distance between distinct states;
2. |λ| < 1 everywhere in the balls of radius 2 D_φ around the agents' fixed points;
3. each agent's fixed point near the true state lies within D_φ of it.

With the third, the error of an accepted sample is below 3 D_φ, if its flows end in those fixed points. Where the
assumptions fail, the measured share of wrong samples among the accepted is all that is known about a certificate.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.certificate.checks import Certificate, certify_batch
from composite_flow.composite.reconstruct import reconstruct_batch
from composite_flow.denoiser import Context, Denoiser
from composite_flow.errors import InputError
from composite_flow.flow import MAX_STEPS, TOLERANCE, converge
from composite_flow.jacobian import state_jacobian
from composite_flow.metrics import clopper_pearson, exact_states
from composite_flow.numerics.spectrum import radius_bound

_MOST_DISTINCT_STATES = 2048  # all their distances take seconds at most


@dataclass(frozen=True)
class Reliability:
    """How often the checks are right, and how far the assumptions of Theorem 7 hold.

    Attributes:
        num_samples: samples that were checked.
        accepted_share: share of all samples that were accepted.
        wrong_among_accepted: share of the accepted samples that are not the true state; None where none was accepted.
        wrong_interval: 95% Clopper–Pearson interval of that share. It counts joint histories, as samples of one depend
            on each other.
        right_rejected_share: share of the right samples that were rejected; None where none was right.
        wrong_among_accepted_by_paper: share of wrong samples among those that pass the paper's two conditions.
        radius: D_φ.
        smallest_distance: δ_s over the given states; infinite where there is only one.
        separated: whether D_φ < δ_s / 6.
        stable_in_balls: share of sampled points of the balls of radius 2 D_φ at which the Jacobian is surely stable.
        within_radius: share of the sampled agents whose fixed point lies within D_φ of the true state.
    """

    num_samples: int
    accepted_share: float
    wrong_among_accepted: float | None
    wrong_interval: tuple[float, float] | None
    right_rejected_share: float | None
    wrong_among_accepted_by_paper: float | None
    radius: float
    smallest_distance: float
    separated: bool
    stable_in_balls: float
    within_radius: float


def measure_reliability(
    denoiser: Denoiser,
    histories: Float[Array, "batch agents history"],
    states: Float[Array, "batch state"],
    *,
    key: PRNGKeyArray,
    radius: float,
    num_samples: int = 4,
    num_sweeps: int = 6,
    num_balls: int = 128,
) -> Reliability:
    """Reconstruct and certify labelled joint histories, and measure the assumptions of Theorem 7 on them.

    Args:
        denoiser: the shared denoiser.
        histories: joint histories that neither training nor the radius has seen.
        states: the true state of each, scaled.
        key: fixes noises, orders and sampled points.
        radius: D_φ.
        num_samples: noises per joint history.
        num_sweeps: passes through the agents.
        num_balls: pairs (an agent's history, the state) drawn for assumptions 2 and 3, one point in each ball.

    Raises:
        InputError: if the histories cannot be used or the states do not fit to them.

    Source: Theorem 7, appendix A.7; how far its assumptions and its conclusion hold.
    """
    if states.shape[0] != histories.shape[0]:
        raise InputError(f"{histories.shape[0]} joint histories need as many states, not {states.shape[0]}.")
    key_estimate, key_balls = jax.random.split(key)
    estimates = reconstruct_batch(denoiser, histories, key=key_estimate, num_samples=num_samples, num_sweeps=num_sweeps)
    certificates = certify_batch(denoiser, histories, estimates, radius=radius)
    right = right_samples(estimates.samples, states, radius)
    gap = smallest_distance(states)
    stable, within = _assumptions(denoiser, histories, states, jnp.float32(radius), key_balls, num_balls)
    return Reliability(
        **acceptance(certificates, right),
        radius=float(radius),
        smallest_distance=gap,
        separated=radius < gap / 6,
        stable_in_balls=float(stable),
        within_radius=float(within),
    )


def right_samples(
    samples: Float[Array, "batch samples state"], states: Float[Array, "batch state"], radius: float
) -> Bool[Array, "batch samples"]:
    """Which samples are right: exact where states are binary, less than 3 D_φ away where they are not."""
    if are_binary(states):
        return exact_states(samples, states[:, None])
    return jnp.linalg.norm(samples - states[:, None], axis=-1) < 3.0 * radius


def right_in_words(states: Float[Array, "batch state"], radius: float) -> str:
    """When `right_samples` counts a sample as right."""
    if are_binary(states):
        return "every feature, rounded at 0.5, is that of the true state"
    apart = states.shape[-1] ** 0.5
    return (
        f"it is within 3 D_φ = {3.0 * radius:.3g} of the true state (D_φ is the radius of the checks; features are "
        f"scaled to [0, 1], where two states are at most {apart:.3g} apart)"
    )


def are_binary(states: Float[Array, "*batch state"]) -> bool:
    """Whether every feature is 0 or 1."""
    return bool(jnp.all((states == 0.0) | (states == 1.0)))


def acceptance(certificates: Certificate, right: Bool[Array, "batch samples"]) -> dict:
    """The fields of `Reliability` that count samples, from the certificates and the truth.

    Args:
        certificates: the certificates of many estimates.
        right: which samples are right.
    """
    accepted, right_ = np.asarray(certificates.accepted), np.asarray(right)
    by_paper = np.asarray(certificates.accepted_by_paper)
    num_accepted, num_wrong = int(accepted.sum()), int((accepted & ~right_).sum())
    num_histories = int(accepted.any(axis=1).sum())
    return {
        "num_samples": int(accepted.size),
        "accepted_share": _share(num_accepted, accepted.size),
        "wrong_among_accepted": _share(num_wrong, num_accepted),
        "wrong_interval": clopper_pearson(num_wrong, num_accepted, groups=num_histories) if num_accepted else None,
        "right_rejected_share": _share((right_ & ~accepted).sum(), right_.sum()),
        "wrong_among_accepted_by_paper": _share((by_paper & ~right_).sum(), by_paper.sum()),
    }


def smallest_distance(states: Float[Array, "batch state"]) -> float:
    """δ_s, the smallest distance between distinct states; over the first 2,048 distinct ones where there are more."""
    from scipy.spatial import distance  # slow to import, and nothing else needs it

    distinct = np.unique(np.asarray(states), axis=0)[:_MOST_DISTINCT_STATES]
    return float(distance.pdist(distinct).min()) if len(distinct) > 1 else float("inf")


def _share(count, total) -> float | None:
    return float(count) / float(total) if total else None


def stable_in_ball(
    denoiser: Denoiser, context: Context, center: Float[Array, " state"], size: Float[Array, ""], key: PRNGKeyArray
) -> Bool[Array, ""]:
    """Whether the Jacobian is surely stable at one random point of a ball; this proves nothing about other points.

    Args:
        denoiser: f.
        context: `denoiser.condition(history)`.
        center: the ball's center, in scaled units.
        size: the ball's radius.
        key: draws the point.
    """
    # uniform in the ball; for a large state nearly all of its volume lies near the surface
    point = center + size * jax.random.ball(key, center.shape[0])
    return radius_bound(state_jacobian(denoiser, context, point)) < 1.0


@eqx.filter_jit
def _assumptions(denoiser, histories, states, radius, key, num_balls: int):
    """Shares of sampled balls that are stable at a random point, and of fixed points within D_φ of their state."""
    key_history, key_agent, key_point = jax.random.split(key, 3)
    rows = jax.random.randint(key_history, (num_balls,), 0, histories.shape[0])
    agents = jax.random.randint(key_agent, (num_balls,), 0, histories.shape[1])

    def one(example):
        history, state, key = example
        context = denoiser.condition(history)
        center = converge(denoiser, context, state, tolerance=TOLERANCE, max_steps=MAX_STEPS).y
        stable = stable_in_ball(denoiser, context, center, 2.0 * radius, key)
        return stable, jnp.linalg.norm(state - center) <= radius

    examples = histories[rows, agents], states[rows], jax.random.split(key_point, num_balls)
    stable, within = jax.lax.map(one, examples, batch_size=min(num_balls, 64))
    return jnp.mean(stable.astype(jnp.float32)), jnp.mean(within.astype(jnp.float32))
