"""One agent's share of the checks of a team's estimate."""

from typing import Any, NamedTuple

import jax
import numpy as np

from composite_flow.certificate.checks import Certificate
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.one_estimate import answers_sent
from composite_flow.fusion.trust.doubt import discrepancies


class AgentCheck(NamedTuple):
    """One agent's share of the checks.

    Attributes:
        certificate: its own stability, and how far the team's states are from what it can hold possible; of a team of
            which it is all. None where the model learned no denoiser.
        doubt: how far its answer contradicts all others, beside what is usual among sound agents; None where that was
            not measured, or nobody else was heard.
    """

    certificate: Certificate | None
    doubt: float | None


def doubt_of(fusion: LearnedFusion, sent: Any, team: np.ndarray, agent: int) -> float:
    """How far an agent's answer contradicts all others', in units of what is usual; the fusion has a gate.

    Args:
        fusion: of the team.
        sent: by each agent, agents along the leading axis.
        team: who sent something, two at least.
        agent: whose doubt.
    """
    assert fusion.gate is not None
    found = np.asarray(_discrepancies(fusion.answers, sent, team)) / np.asarray(fusion.gate.scale)[None]
    return float(found[agent].max())


@jax.jit
def _discrepancies(answers, sent, team):
    return discrepancies(answers.prior, answers_sent(answers, sent), team)
