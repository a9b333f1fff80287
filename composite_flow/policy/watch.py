"""What a team infers while its policy learns, for whoever watches: of the worlds in play, as they stand.

It reads what learning holds, writes nothing, and draws from a key of its own: watching changes no bit of what is
learned.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.data.scaling import Scaling
from composite_flow.policy.inference import Inference, infer
from composite_flow.policy.rollout import Live
from composite_flow.policy.team import Team
from composite_flow.problems.base import Problem
from composite_flow.training.listener import SHOWN


class Inferred(eqx.Module):
    """Of the first worlds in play, `SHOWN` of them at most.

    Attributes:
        states: the true ones, scaled.
        observations: what each agent sees of them.
        mean: of the states that agents infer, over all agents and samples; scaled.
        variance: of these; not a number where there is but one, on which all agents act.
    """

    states: Float[Array, "shown state"]
    observations: Float[Array, "shown agents observation"]
    mean: Float[Array, "shown state"]
    variance: Float[Array, "shown state"]


@runtime_checkable
class PolicyListener(Protocol):
    """Hears of the training of a policy, and of what its agents infer by."""

    def starts(self, scaling: Scaling | None) -> None:
        """Before the first step of each training: how the states are scaled that agents infer; None where none are."""
        ...

    def curve(self, network: str, points: Sequence[Mapping[str, Any]]) -> None:
        """All points of a learning curve so far, after new ones; those of "policy" are its rows."""
        ...

    def infers(self, step: int, found: Inferred) -> None:
        """What agents infer after so many steps of the environment."""
        ...


@eqx.filter_jit
def inferred_now(problem: Problem, team: Team, live: Live, key: PRNGKeyArray) -> Inferred:
    """What a team makes of its next observations in worlds in play; they stay as they are.

    Args:
        problem: the worlds' laws.
        team: one that infers.
        live: the worlds, along their leading axis.
        key: random key.
    """
    inference: Inference = team.inputs.inference

    def one(key_world, live: Live) -> tuple:
        key_observe, key_infer = jax.random.split(key_world)
        state = inference.scaling.scale(problem.state(live.world).astype(jnp.float32))
        seen = problem.observe(key_observe, live.world).astype(jnp.float32)
        recollection = live.memory.recollection
        assert recollection is not None, "a team that infers remembers"
        return state, seen, infer(inference, team.denoiser, recollection, seen, key_infer).y

    some = jax.tree.map(lambda part: part[:SHOWN], live)
    states, seen, samples = jax.vmap(one)(jax.random.split(key, len(some.starts)), some)
    spread = jnp.var(samples, axis=(1, 2))
    variance = jnp.full_like(spread, jnp.nan) if inference.holds_one else spread
    return Inferred(states, seen, jnp.mean(samples, axis=(1, 2)), variance)
