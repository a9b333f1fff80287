"""How near samples of a team denoiser come to the exact joint posterior, over binary states that can be listed.

    inside             share of the samples, rounded at 0.5, that are states with p(s | τ_A) > 0
    total variation    ½ (Σ_s |n_s/n − p(s | τ_A)| + n_none/n),  n_s samples in state s, n_none in no state at all
    floor              what is to be expected of as many exact samples,  ½ Σ_s E|N_s/n − p_s|,  N_s ~ Binomial(n, p_s)

all for each joint history by itself; the team and its posterior come from `teams.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.fusion.team_denoiser import TeamDenoiser
from composite_flow_paper.shared.teams import which_state

Draw = Callable[..., Float[Array, "samples state"]]
"""Draws samples, from (team denoiser, message, number of samples, key=…): `sample_conditional` or `sample_blind`."""


@dataclass(frozen=True, eq=False)
class JointScores:
    """How near samples are to the exact posterior, for each joint history.

    Attributes:
        inside: share of the samples in states that the team's histories allow.
        total_variation: distance of the samples' frequencies to the exact posterior.
        floor: expected distance of as many exact samples.
        states_allowed: number of states that the team's histories allow.
    """

    inside: Float[np.ndarray, " joint"]
    total_variation: Float[np.ndarray, " joint"]
    floor: Float[np.ndarray, " joint"]
    states_allowed: Float[np.ndarray, " joint"]

    def means(self) -> dict[str, float]:
        """Each of them, averaged over the joint histories."""
        return {name: float(np.mean(values)) for name, values in vars(self).items()}


def draw_joint_samples(
    team: TeamDenoiser,
    histories: Float[Array, "joint agents history"],
    participants: Bool[Array, "joint agents"],
    num_samples: int,
    draw: Draw,
    *,
    key: PRNGKeyArray,
    batch_size: int = 10,
) -> Float[Array, "joint {num_samples} state"]:
    """Samples of what the participants of each joint history know together; compiled once for all of them.

    Args:
        team: the team denoiser.
        histories: encoded; those of others than participants are not read.
        participants: one at least for each joint history.
        num_samples: for each joint history.
        draw: the sampler, such as `partial(sample_conditional, num_steps=30)`.
        key: random key.
        batch_size: joint histories at once.
    """
    keys = jax.random.split(key, len(histories))
    return _drawn(team, histories, participants, keys, num_samples, draw, batch_size)


@eqx.filter_jit
def _drawn(team: TeamDenoiser, histories, participants, keys, num_samples: int, draw: Draw, batch_size: int) -> Any:
    def of_team(example):
        each, members, key = example
        return draw(team, team.message(each, members), num_samples, key=key)

    return jax.lax.map(of_team, (histories, participants, keys), batch_size=batch_size)


def judge_samples(
    samples: Float[Array, "joint samples state"],
    states: Float[Array, "states state"],
    posteriors: Float[Array, "joint states"],
) -> JointScores:
    """Hold samples against exact posteriors.

    Args:
        samples: of each joint history; rounded at 0.5 here.
        states: all states, with features of 0 and 1.
        posteriors: p(s | τ_A) of each joint history, such as of `team_posteriors`.
    """
    exact, places = np.asarray(posteriors, np.float64), np.asarray(_places(samples, states))
    exact = exact / exact.sum(axis=1, keepdims=True)
    num_samples = places.shape[1]
    counts = np.stack([np.bincount(row[row >= 0], minlength=len(states)) for row in places])
    off = np.abs(counts / num_samples - exact).sum(axis=1) + (places < 0).mean(axis=1)
    return JointScores(
        inside=np.where(exact > 0, counts, 0).sum(axis=1) / num_samples,
        total_variation=0.5 * off,
        floor=expected_variation(exact, num_samples),
        states_allowed=(exact > 0).sum(axis=1).astype(np.float64),
    )


def expected_variation(probabilities: Float[np.ndarray, "*batch states"], num_samples: int) -> np.ndarray:
    """Expected total variation between a distribution and the frequencies of n exact samples.

        ½ Σ_s E|N_s/n − p_s|,    E|N − np| = 2 ν C(n, ν) p^ν (1 − p)^(n − ν + 1),  ν = ⌊np⌋ + 1

    Source: De Moivre's formula; Diaconis and Zabell, "Closed form summation for classical distributions", 1991.
    """
    from scipy import special  # slow to import

    p = np.asarray(probabilities, np.float64)
    inner = (p > 0.0) & (p < 1.0)
    q = np.where(inner, p, 0.5)
    above = np.minimum(np.floor(num_samples * q) + 1.0, num_samples)
    log_choose = (
        special.gammaln(num_samples + 1) - special.gammaln(above + 1) - special.gammaln(num_samples - above + 1)
    )
    log_mass = log_choose + above * np.log(q) + (num_samples - above + 1) * np.log1p(-q)
    deviation = np.where(inner, 2.0 * above * np.exp(log_mass) / num_samples, 0.0)
    return 0.5 * deviation.sum(axis=-1)


_places = jax.jit(which_state)
