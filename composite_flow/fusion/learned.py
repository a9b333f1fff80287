"""All that a model learned for fusion: what agents answer, and how far fused numbers lie from the truth."""

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from composite_flow.data.scaling import Scaling
from composite_flow.errors import InputError, MismatchError
from composite_flow.fusion.fuse import estimate_of, fuse_each, taking_part
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.sparse import SparseAnswers
from composite_flow.fusion.structure import answers_settings, empty_answers, empty_team_denoiser, team_settings
from composite_flow.fusion.team_denoiser import TeamDenoiser
from composite_flow.fusion.team_estimate import LEVELS, TeamEstimate, TeamQuantiles
from composite_flow.fusion.team_sampling import sample_blind, sample_conditional
from composite_flow.validation import check_counts

Histories = Float[Array, "joint agents columns"] | Float[np.ndarray, "joint agents columns"]
Sampler = Literal["conditional", "blind"]


class LearnedFusion(eqx.Module):
    """What each agent answers, and what is known of the fused estimate.

    Attributes:
        answers: the network that all agents share.
        quantiles: how far fused numbers lie from the truth; None where it was not measured.
        team_denoiser: draws samples of what a team knows together; None where it was not learned.
    """

    answers: AnswerNetwork | SparseAnswers
    quantiles: TeamQuantiles | None = None
    team_denoiser: TeamDenoiser | None = None

    def fuse(
        self, histories: Histories, participants: Any, scaling: Scaling, state_names: Sequence[str]
    ) -> TeamEstimate:
        """What the participants of each joint history say together, in the state's own units.

        Args:
            histories: joint histories.
            participants: for each joint history which agents take part; or None, for all.
            scaling, state_names: of the states.

        Raises:
            MismatchError: the histories are of another number of agents.
            InputError: there are no participants in one of the joint histories.
        """
        shape = (len(histories), self.answers.num_agents)
        if histories.shape[1] != shape[1]:
            raise MismatchError(f"This model is of {shape[1]} agents, not of {histories.shape[1]}.")
        teams = np.ones(shape, bool) if participants is None else np.asarray(participants)
        if teams.shape != shape or not teams.any(axis=1).all():
            raise InputError("participants is to say for every joint history which agents take part, one at least.")
        found = fuse_each(self.answers, jnp.asarray(histories), jnp.asarray(teams))
        return found.in_own_units(scaling, state_names, self.quantiles)

    @cached_property
    def usual(self) -> Any:
        """What answers are read beside, half of the work of a single estimate: computed once for all of them."""
        with jax.ensure_compile_time_eval():
            return _usual(self.answers)

    def sample(
        self, histories, num_samples: int, participants: Sequence[int] | None, by: Sampler, key: PRNGKeyArray
    ) -> Float[Array, "samples state"]:
        """Samples of the joint posterior of one joint history's participants, scaled.

        Raises:
            InputError: no team denoiser was learned, or participants are empty, unknown or named twice.
        """
        if self.team_denoiser is None:
            raise InputError(
                "This model learned no team denoiser, by which samples are drawn: it was left out, or the state is so "
                "large that agents answer for a few features each."
            )
        check_counts(num_samples=num_samples)
        team = jnp.asarray(taking_part(self.answers.num_agents, participants))
        return _samples(self.team_denoiser, jnp.asarray(histories), team, num_samples, by, key)

    @property
    def settings(self) -> dict[str, Any]:
        """What `empty` needs; JSON-able."""
        sizes = None if self.quantiles is None else list(self.quantiles.sizes)
        team = None if self.team_denoiser is None else team_settings(self.team_denoiser)
        return {"answers": answers_settings(self.answers), "quantiles": sizes, "team_denoiser": team}

    @classmethod
    def empty(cls, settings: dict[str, Any]) -> "LearnedFusion":
        """The same structure without its weights."""
        sizes = settings["quantiles"]
        quantiles = None if sizes is None else TeamQuantiles(tuple(sizes), jnp.zeros((len(sizes), len(LEVELS))))
        answers, team = empty_answers(settings["answers"]), settings["team_denoiser"]
        return cls(answers, quantiles, None if team is None else empty_team_denoiser(team, answers))


def fuse_one(
    fusion: LearnedFusion,
    histories: Float[Array, "agents columns"] | Float[np.ndarray, "agents columns"],
    participants: Sequence[int] | None,
    scaling: Scaling,
    names: tuple[str, ...],
) -> TeamEstimate:
    """`LearnedFusion.fuse` for one joint history, as teams need it at every step; its participants as a list.

    A function, since Equinox takes longer to bind a method than half of such a call.
    """
    num_agents = fusion.answers.num_agents
    if len(histories) != num_agents:
        raise MismatchError(f"This model is of {num_agents} agents, not of {len(histories)}.")
    team = taking_part(num_agents, participants)
    return _fused(fusion.answers, fusion.usual, histories, team, scaling, names, fusion.quantiles)


_usual = jax.jit(lambda answers: answers.usual())


@partial(jax.jit, static_argnames="names")
def _fused(answers, usual, histories, team, scaling: Scaling, names: tuple[str, ...], quantiles) -> TeamEstimate:
    """The estimate of one joint history in one compiled call; `filter_jit` would take longer than what it calls."""
    total = answers.team_sums(jnp.where(team[:, None], histories, 0.0), team[None], usual)
    found = estimate_of(answers.prior, jax.tree.map(lambda part: part[0], total), team, answers.values_sent)
    return found.in_own_units(scaling, names, quantiles)


@eqx.filter_jit
def _samples(team: TeamDenoiser, histories, participants, num_samples: int, by: Sampler, key: PRNGKeyArray):
    draw = {"conditional": sample_conditional, "blind": sample_blind}[by]
    return draw(team, team.message(histories, participants), num_samples, key=key)
