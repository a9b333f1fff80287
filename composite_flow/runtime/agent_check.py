"""One agent's share of the checks of a team's estimate."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from composite_flow.certificate.checks import Certificate, certify_agent
from composite_flow.errors import InputError
from composite_flow.fusion.contradictions import unusual
from composite_flow.fusion.doubts import Watch
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.one_estimate import answers_sent
from composite_flow.fusion.team_estimate import TeamEstimate
from composite_flow.model import Model


class AgentCheck(NamedTuple):
    """One agent's share of the checks.

    Attributes:
        certificate: its own stability, and how far the team's states are from what it can hold possible; of a team of
            which it is all. None where the model learned no denoiser.
        doubt: how far its answer contradicts all others, or its history is unlike those of training, beside what is
            usual among sound agents; None where that was not measured, or nobody else was heard.
    """

    certificate: Certificate | None
    doubt: float | None


def certificate_of(
    model: Model,
    agent: int,
    history: Float[Array, " history"],
    received: Float[Array, "samples state"] | None,
    found: TeamEstimate | None,
    samples: Float[Array, "samples state"] | None,
    radius: float | None,
) -> Certificate:
    """Whether an agent is stable where it received noisy states, and can hold the team's states possible.

    Args:
        model: with a denoiser.
        agent, history: whose.
        received: by its last hop; the team's states where it made none.
        found: what the agent estimated last.
        samples: states of the team, scaled; the mean that was estimated where None.
        radius: D_φ, scaled; the model's own where None.

    Raises:
        InputError: there is no radius, or neither samples nor an estimate.
    """
    if samples is None:
        if found is None:
            raise InputError("There is nothing to check: call `estimate` first, or give the team's states.")
        samples = jnp.asarray(model.scaling.scale(found.mean))[None]
    radius = model.radius if radius is None else radius
    if radius is None:
        raise InputError("This model's radius was not measured; give one to check with.")
    at = samples if received is None else received
    return certify_agent(model.denoiser, agent, history, at, samples, radius=radius)


def doubt_of(
    fusion: LearnedFusion, sent: Any, team: np.ndarray, agent: int, history: Float[Array, " history"]
) -> float:
    """How far an agent contradicts all others, and its own history is unlike those of training or goes badly with them.

    Beside what is usual.

    Args:
        fusion: of the team, with what is usual.
        sent: by each agent, agents along the leading axis.
        team: who sent something, two at least.
        agent: whose doubt.
        history: its own.

    Raises:
        InputError: what is usual was not measured.
    """
    return float(_doubt(fusion.answers, fusion.measured_watch, sent, team, agent, history))


@jax.jit
def _doubt(answers, watch: Watch, sent, team, agent, history):
    histories = jnp.zeros((len(team), len(history))).at[agent].set(history)  # nobody else's is known, or read
    columns = unusual(watch, answers.prior, answers_sent(answers, sent), histories, team)[agent]
    return jnp.max(columns / watch.scale)
