"""All that a model learned for fusion: what agents answer, how far fused numbers err, samples, and the gated chain."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, TypedDict, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from composite_flow.certificate.verdict import NAMELESS, Names
from composite_flow.data.scaling import Scaling
from composite_flow.errors import InputError, MismatchError
from composite_flow.fusion.calibration import Calibration
from composite_flow.fusion.chain import ChainNetwork
from composite_flow.fusion.chain_estimate import ChainEstimate, infer_by_chain
from composite_flow.fusion.doubts import Watch
from composite_flow.fusion.fuse import fuse_each, taking_part
from composite_flow.fusion.intervals import TeamQuantiles
from composite_flow.fusion.lacking import lacking
from composite_flow.fusion.levels import LEVELS
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.next_agent import NextAgentNetwork
from composite_flow.fusion.over_time import (
    FilteredEpisode,
    TeamFilter,
    empty_filter,
    filter_episode,
    filter_settings,
)
from composite_flow.fusion.robust import checked_each
from composite_flow.fusion.sparse import SparseAnswers
from composite_flow.fusion.structure import (
    answers_settings,
    chain_settings,
    empty_answers,
    empty_chain,
    empty_team_denoiser,
    team_settings,
)
from composite_flow.fusion.team_denoiser import TeamDenoiser
from composite_flow.fusion.team_estimate import TeamEstimate, that_names_next
from composite_flow.fusion.team_sampling import Sampler, samples_of_each, samples_of_team
from composite_flow.numerics.entry_point import entry_point
from composite_flow.validation import check_counts

JointHistory = Float[Array, "agents columns"] | Float[np.ndarray, "agents columns"]
Histories = Float[Array, "joint agents columns"] | Float[np.ndarray, "joint agents columns"]
Participants = Bool[Array, "joint agents"] | Bool[np.ndarray, "joint agents"]
FusedBy = Literal["fusion", "chain", "samples"]
"""Ways of fusion to infer the state: summed answers, the gated chain, or the mean of joint samples."""


class Checks(TypedDict, total=False):
    """Whether agents are checked, and whether those in doubt are left out: see `Model.fuse`."""

    check: bool
    robust: bool | float


class FusedOptions(TypedDict, total=False):
    """Options of `LearnedFusion.infer` as keywords of a function."""

    by: FusedBy
    num_samples: int
    key: PRNGKeyArray


class LearnedFusion(eqx.Module):
    """What each agent answers, and what is known of the fused estimate.

    Attributes:
        answers: the network that all agents share.
        quantiles: how far fused numbers lie from the truth; None where it was not measured.
        team_denoiser: draws samples of what a team knows together; None where it was not learned.
        chain: the network of the gated chain; None where it was not learned.
        calibration: how far estimates lie from the truth on calibration episodes; None where there were none.
        watch: the histories of training, and what is usual among sound agents; None in files of before it was kept.
        over_time: carries what a team knows from step to step; None where it was not learned.
        next_agent: says whose answer would help most; None where it was not learned.
    """

    answers: AnswerNetwork | SparseAnswers
    quantiles: TeamQuantiles | None = None
    team_denoiser: TeamDenoiser | None = None
    chain: ChainNetwork | None = None
    calibration: Calibration | None = None
    watch: Watch | None = None
    over_time: TeamFilter | None = None
    next_agent: NextAgentNetwork | None = None

    @entry_point
    def fuse(
        self,
        histories: Histories,
        participants: Any,
        scaling: Scaling,
        names: Names,
        **options: Unpack[Checks],
    ) -> TeamEstimate:
        """What the participants of each joint history say together, in the state's own units.

        Args:
            histories: joint histories.
            participants: for each joint history which agents take part; or None, for all.
            scaling, names: of the states, and the agents' names.
            options: whether the agents are checked.

        Raises:
            MismatchError: the histories are of another number of agents.
            InputError: there are no participants in one of the joint histories, or what is usual was not measured.
        """
        self._check_agents(histories)
        shape = histories.shape[:2]
        teams = np.ones(shape, bool) if participants is None else np.asarray(participants)
        if teams.shape != shape or not teams.any(axis=1).all():
            raise InputError("participants is to say for every joint history which agents take part, one at least.")
        asked, robust = (jnp.asarray(histories), jnp.asarray(teams)), options.get("robust", False)
        if robust or options.get("check"):
            watch = self.measured_watch
            bound = watch.bound_for(robust)
            found = checked_each(self.answers, watch, *asked, jnp.float32(bound), bool(robust))
        else:
            found = fuse_each(self.answers, *asked)
        told = found.in_own_units(scaling, names, self.quantiles, self.calibration)
        return that_names_next(self.next_agent, told)

    @property
    def is_watched(self) -> bool:
        """Whether what is usual among sound agents was measured."""
        return self.watch is not None and self.watch.measured

    @property
    def measured_watch(self) -> Watch:
        """What is usual among sound agents; InputError where it was not measured."""
        if self.watch is None or not self.is_watched:
            raise InputError("What is usual among sound agents was not measured for this model; `calibrate` does so.")
        return self.watch

    @cached_property
    def usual(self) -> Any:
        """What answers are read beside, half of the work of a single estimate: computed once for all of them."""
        with jax.ensure_compile_time_eval():
            return _usual(self.answers)

    @entry_point
    def sample(
        self, histories, num_samples: int, participants: Sequence[int] | None, by: Sampler, key: PRNGKeyArray
    ) -> Float[Array, "samples state"]:
        """Samples of the joint posterior of one joint history's participants, scaled.

        Raises:
            InputError: no team denoiser was learned, or participants are empty, unknown or named twice.
        """
        team = self.learned_team_denoiser
        check_counts(num_samples=num_samples)
        heard = jnp.asarray(taking_part(self.answers.num_agents, participants))
        return samples_of_team(team, jnp.asarray(histories), heard, num_samples, by, key)

    @entry_point
    def sample_each(
        self, histories: Histories, num_samples: int, key: PRNGKeyArray
    ) -> Float[Array, "joint samples state"]:
        """Conditional samples of whole teams for each joint history, scaled; arguments and errors as in `sample`."""
        team = self.learned_team_denoiser
        check_counts(num_samples=num_samples)
        return samples_of_each(team, jnp.asarray(histories), num_samples, jax.random.split(key, len(histories)))

    @entry_point
    def infer_by_chain(
        self, histories, participants: Sequence[int] | None, scaling: Scaling, state_names: Sequence[str]
    ) -> ChainEstimate:
        """What the chain says of one joint history or of many; see `chain_estimate.infer_by_chain`.

        Raises:
            MismatchError: the histories are of another number of agents.
            InputError: no chain was learned, or participants are empty, unknown or named twice.
        """
        if self.chain is None:
            raise lacking("chain", fusion=False)
        self._check_agents(histories)
        return infer_by_chain(self.chain, jnp.asarray(histories), participants, scaling, state_names)

    @entry_point
    def filter(
        self, histories, participants: Any, scaling: Scaling, state_names: Sequence[str], key: PRNGKeyArray
    ) -> FilteredEpisode:
        """What the team knows at each step of an episode; see `over_time.filter_episode`.

        Raises:
            MismatchError: the histories are of another number of agents.
            InputError: no filter was learned, or histories or participants cannot be used.
        """
        if self.over_time is None:
            raise lacking("filter", fusion=False)
        self._check_agents(histories)
        histories = jnp.asarray(histories)
        there = jax.vmap(self.answers.there)(histories)
        return filter_episode(self.over_time, histories, participants, there, scaling, state_names, key)

    def infer(
        self,
        histories: Histories,
        number: int,
        scaling: Scaling,
        *,
        by: FusedBy = "fusion",
        num_samples: int = 16,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, "joint state"], dict[str, Array]]:
        """The states that whole teams infer, in their own units, and arrays that `Estimates` keeps beside them.

        By fusion these are the claimed variances, of joint samples the samples, whose mean the state is.

        Args:
            histories: joint histories.
            number: of this part of the data; folded into the key.
            scaling: of the states.
            by: summed answers, the gated chain, or joint samples.
            num_samples: joint samples of each joint history.
            key: draws them; `jax.random.key(0)` by default.

        Raises:
            MismatchError: the histories are of another number of agents.
            InputError: what is needed for this was not learned.
        """
        if by == "samples":
            key_part = jax.random.fold_in(jax.random.key(0) if key is None else key, number)
            samples = scaling.unscale(self.sample_each(histories, num_samples, key_part))
            return jnp.mean(samples, axis=1), {"samples": samples}
        if by == "chain":
            return self.infer_by_chain(histories, None, scaling, ()).mean, {}
        found = self.fuse(histories, None, scaling, NAMELESS)
        return found.mean, {"variances": found.variance}

    @property
    def learned_team_denoiser(self) -> TeamDenoiser:
        """The team denoiser; InputError where there is none."""
        if self.team_denoiser is None:
            raise InputError(
                "This model learned no team denoiser, by which samples are drawn: it was left out, or the state is so "
                "large that agents answer for a few features each; `composite-flow train DATA --out NEW --learn both` "
                "learns one where the state is small."
            )
        return self.team_denoiser

    def _check_agents(self, histories) -> None:
        ours, theirs = self.answers.num_agents, histories.shape[-2]
        if ours != theirs:
            raise MismatchError(f"This model is of {ours} agents, not of {theirs}.")

    @property
    def settings(self) -> dict[str, Any]:
        """What `empty` needs; JSON-able."""
        sizes = None if self.quantiles is None else list(self.quantiles.sizes)
        team = None if self.team_denoiser is None else team_settings(self.team_denoiser)
        chain = None if self.chain is None else chain_settings(self.chain)
        found = {"answers": answers_settings(self.answers), "quantiles": sizes, "team_denoiser": team, "chain": chain}
        measured = {"calibration": self.calibration, "watch": self.watch, "next_agent": self.next_agent}
        measured = {name: part.settings for name, part in measured.items() if part is not None}
        over_time = {} if self.over_time is None else {"over_time": filter_settings(self.over_time)}
        return {**found, **measured, **over_time}

    @classmethod
    def empty(cls, settings: dict[str, Any]) -> "LearnedFusion":
        """The same structure without its weights."""
        sizes = settings["quantiles"]
        quantiles = None if sizes is None else TeamQuantiles(tuple(sizes), jnp.zeros((len(sizes), len(LEVELS))))
        answers, team = empty_answers(settings["answers"]), settings["team_denoiser"]
        # which older files do not have
        later = ("chain", "calibration", "watch", "over_time", "next_agent")
        chain, calibration, watch, over_time, next_agent = map(settings.get, later)
        return cls(
            answers,
            quantiles,
            None if team is None else empty_team_denoiser(team, answers),
            None if chain is None else empty_chain(chain),
            None if calibration is None else Calibration.empty(**calibration),
            None if watch is None else Watch.empty(**watch, prior=answers.prior),
            None if over_time is None else empty_filter(**over_time, prior=answers.prior),
            None if next_agent is None else NextAgentNetwork.empty(**next_agent, prior=answers.prior),
        )


_usual = jax.jit(lambda answers: answers.usual())
