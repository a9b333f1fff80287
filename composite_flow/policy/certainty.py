"""Which agents know the state by themselves: those whose own distribution p̂ has one state (Finding 1).

Samples of p̂ tell, drawn from noise beside those that act, with more calls of the denoiser:

    certain  ⇔  max_k ‖y_k − ȳ‖ ≤ r,        right  ⇔  ‖ȳ − s‖ ≤ r,        ȳ = Σ_k y_k / K,   in scaled units.

A state of probability p escapes all K samples with chance (1 − p)^K; then an agent counts as certain that is not.
"""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.policy.inference import fresh_recollection, infer
from composite_flow.policy.team import Team, TeamMemory

_PATIENCE = 4  # calls for each call when the team acts


class Certainty(eqx.Module):
    """What each agent knows by itself.

    Attributes:
        is_certain: all its samples agree.
        mean: of its samples, in scaled units.
        is_right: the mean is near the true state.
    """

    is_certain: Bool[Array, " agents"]
    mean: Float[Array, "agents state"]
    is_right: Bool[Array, " agents"]


def certainty(
    team: Team,
    memory: TeamMemory,
    observations: Float[Array, "agents observation"],
    state: Float[Array, " state"],
    key: PRNGKeyArray,
    num_samples: int,
    radius: float | Float[Array, ""],
) -> Certainty:
    """Ask each agent of a team that infers states what it knows before it acts.

    Args:
        team: with a denoiser.
        memory: from the step before, as `decide` takes it.
        observations: what each agent sees now.
        state: the true one, in its own units; it says who is right, and is not shown to anybody.
        key: random key.
        num_samples: K, of each agent's own p̂.
        radius: r.

    Source: Finding 1.
    """
    acting, kept = team.inputs.inference, memory.recollection
    assert kept is not None
    calls = _PATIENCE * acting.calls
    alone = dataclasses.replace(acting, calls=calls, samples=num_samples, warm=False, together=False)
    before = eqx.tree_at(lambda fresh: fresh.window, fresh_recollection(alone), kept.window)
    samples = infer(alone, team.denoiser, before, observations, key).y
    mean = jnp.mean(samples, axis=1)
    spread = jnp.max(jnp.linalg.norm(samples - mean[:, None], axis=-1), axis=1)
    error = jnp.linalg.norm(mean - acting.scaling.scale(state)[None], axis=-1)
    return Certainty(spread <= radius, mean, error <= radius)
