"""States drawn from the team's joint posterior, of which inputs that weigh several states can be made.

In each step every agent tells all others its answer. Whoever heard the same answers draws the same states, by the team
denoiser and from the same random key: p(s | τ_A) in the place of the p̂ that an agent has by itself. The team denoiser
is learned before the policy (`composite-flow train --learn fusion`) and stays as it is.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.errors import InputError
from composite_flow.fusion.answers import team_sums
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.team_denoiser import TeamDenoiser
from composite_flow.fusion.team_sampling import sample_conditional
from composite_flow.model import Model


class TeamSampler(eqx.Module):
    """What fusion learned, in the place of a policy's denoiser.

    Attributes:
        fusion: with a team denoiser.
    """

    fusion: LearnedFusion

    @property
    def team(self) -> TeamDenoiser:
        """The team denoiser."""
        return self.fusion.learned_team_denoiser

    @property
    def state_size(self) -> int:
        """Number of features of the state."""
        return self.team.state_size

    def samples(
        self,
        histories: Float[Array, "agents history"],
        heard: Bool[Array, "receivers agents"],
        num_samples: int,
        key: PRNGKeyArray,
    ) -> Float[Array, "receivers samples state"]:
        """States of the joint posterior of what each receiver heard, scaled; those who heard the same draw the same."""
        totals = team_sums(self.team.answer_each(histories), heard)

        def drawn(total):
            return sample_conditional(self.team, self.team.read(total), num_samples, key=key)

        return jax.vmap(drawn)(totals)


def heard_by_each(num_agents: int, lost: float, key: PRNGKeyArray) -> Bool[Array, "receivers agents"]:
    """Whose answers each agent hears, each lost by itself; its own it knows. One row for all where none is lost."""
    if not lost:
        return jnp.ones((1, num_agents), bool)
    return ~jax.random.bernoulli(key, lost, (num_agents, num_agents)) | jnp.eye(num_agents, dtype=bool)


def sampler_of(model: Model | None) -> TeamSampler:
    """What a policy draws states by.

    Raises:
        InputError: there is no model, or it learned no team denoiser.
    """
    fusion = None if model is None else model.fusion
    if fusion is None or fusion.team_denoiser is None:
        raise InputError(
            "States of the team's joint posterior are drawn by a team denoiser: give the folder of a run of "
            "`composite-flow train DATA --learn fusion` whose state is small."
        )
    return TeamSampler(fusion)
