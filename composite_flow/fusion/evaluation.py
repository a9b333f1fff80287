"""How good fusion is on episodes that it has not seen, by size of the team."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.certificate.reliability import are_binary
from composite_flow.fusion.answers import Answers
from composite_flow.fusion.fuse import fuse_each
from composite_flow.fusion.intervals import measured_sizes
from composite_flow.metrics import exact_states, psnr


@dataclass(frozen=True)
class FusionEvaluation:
    """Figures of merit of fusion, the whole team first.

    Attributes:
        psnr: in decibels.
        exact_rate: share of joint histories whose estimate, rounded, is the true state; None where states are not
            binary.
        messages: answers that the team sends for one estimate.
        message_bytes: of one answer.
        psnr_constant: of the training mean, which asks nobody.
        sizes: psnr and exact_rate by size of the team, whose members are drawn for each joint history.
    """

    psnr: float
    exact_rate: float | None
    messages: int
    message_bytes: int
    psnr_constant: float
    sizes: dict[int, dict[str, float | None]]


def evaluate_fusion(
    answers: Answers,
    histories: Float[Array, "joint agents history"],
    states: Float[Array, "joint state"],
    *,
    key: PRNGKeyArray,
) -> FusionEvaluation:
    """Measure answers on joint histories.

    Args:
        answers: what each agent says.
        histories, states: not used in training; the states scaled.
        key: draws the teams.
    """
    num_agents = histories.shape[1]
    places = np.asarray(jax.vmap(lambda k: jax.random.permutation(k, num_agents))(jax.random.split(key, len(states))))
    found = {size: fuse_each(answers, histories, jnp.asarray(places < size)) for size in measured_sizes(num_agents)}
    scores = {size: _scores(estimate.mean, states) for size, estimate in found.items()}
    whole = found[num_agents]
    constant = float(psnr(answers.prior.mean[None], states))
    return FusionEvaluation(
        psnr=float(psnr(whole.mean, states)),
        exact_rate=scores[num_agents]["exact_rate"],
        messages=num_agents,
        message_bytes=whole.message_bytes,
        psnr_constant=constant,
        sizes=scores,
    )


def fused_errors(
    answers: Answers, histories: Float[Array, "joint agents history"], states: Float[Array, "joint state"]
) -> dict[str, float | None]:
    """The median ‖s − ŝ‖ of whole teams, psnr and exact_rate; arguments as in `evaluate_fusion`."""
    means = fuse_each(answers, histories, jnp.ones(histories.shape[:2], bool)).mean
    return {"median_error": float(jnp.median(jnp.linalg.norm(means - states, axis=1))), **_scores(means, states)}


def _scores(means: Float[Array, "joint state"], states: Float[Array, "joint state"]) -> dict[str, Any]:
    exact = float(np.mean(exact_states(means, states))) if are_binary(states) else None
    return {"psnr": float(psnr(means, states)), "exact_rate": exact}
