"""One agent's share of the checks of a team's estimate."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from composite_flow.certificate.checks import Certificate
from composite_flow.fusion.contradictions import unusual
from composite_flow.fusion.doubts import Watch
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.one_estimate import answers_sent


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
