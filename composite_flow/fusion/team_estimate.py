"""What a team says together: a mean and a variance of each feature, and intervals."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from composite_flow.certificate.verdict import NAMELESS, Names, Verdict
from composite_flow.data.angles import angle_bounds, find_angle, named_values
from composite_flow.data.scaling import OwnArray, Scaling
from composite_flow.errors import InputError
from composite_flow.fusion.calibration import Calibration
from composite_flow.fusion.doubts import Doubts
from composite_flow.fusion.features import FeatureTypes
from composite_flow.fusion.intervals import TeamQuantiles
from composite_flow.fusion.levels import LEVELS, Over
from composite_flow.fusion.next_agent import NextAgentNetwork
from composite_flow.fusion.ranking import NOBODY_LEFT, expected_decreases, ranked_agents
from composite_flow.fusion.region import Region, box
from composite_flow.fusion.verdict import verdict_on

_NOT_CALIBRATED = "How far errors reach was not measured on calibration episodes; `calibrate` does so on yours."
Bound = Float[OwnArray, "*batch"]


class TeamEstimate(eqx.Module):
    """What a team says together; any leading axes are batch axes.

    Scaled like the data where `fuse` made it, in the state's own units where a model did.

    Attributes:
        mean: ŝ_A; of binary features and groups the probability, where they are scaled.
        variance: 1/P_A of numbers, ŝ (1 − ŝ) of all other features, where they are scaled.
        participants: whose answers were added up.
        messages: answers sent.
        message_bytes: size of one of them, in 32-bit numbers.
        types: of the features.
        names: of the features, empty where they have none, and of the agents.
        quantiles: how far errors of validation episodes reach, pooled; None where it was not measured.
        calibration: how far those of calibration episodes do; None where there were none.
        scaling: of the states; None where they are scaled.
        doubts: who cannot be relied on; None where it was not asked, or the model is not calibrated.
        uncertainty: √Σ variance, scaled: how far the state is expected to lie from the mean.
        asking: names the next agent to ask; None where it was not learned.
    """

    mean: Float[OwnArray, "*batch state"]
    variance: Float[OwnArray, "*batch state"]
    participants: Bool[Array, "*batch agents"]
    messages: Int[Array, "*batch"]
    message_bytes: int = eqx.field(static=True)
    types: FeatureTypes = eqx.field(static=True)
    names: Names = eqx.field(static=True, default=NAMELESS)
    quantiles: TeamQuantiles | None = None
    calibration: Calibration | None = None
    scaling: Scaling | None = None
    doubts: Doubts | None = None
    uncertainty: Float[Array, "*batch"] | None = None
    asking: NextAgentNetwork | None = None

    @property
    def state_names(self) -> tuple[str, ...]:
        """A name for each feature."""
        return self.names.states

    @property
    def named_mean(self) -> dict[str, list[float] | float]:
        """The mean by the names of the features: a number each, or a list of them along the batch axes.

        An angle stands there under its own name, in place of its sine and cosine.
        """
        return named_values(self.state_names, self.mean)

    def interval(self, name: str, level: float, over: Over = "step", team: int | None = None) -> tuple[Bound, Bound]:
        """Bounds between which a number lies at this level, mean ± q · √variance.

        q is a quantile of this feature's errors on calibration episodes, for the level and the size of the team. Where
        a model has none, it is pooled over numbers and steps of its validation episodes.

        Args:
            name: of a feature that is a number, or of an angle: its bounds enclose the directions of all points whose
                sine and cosine lie in their intervals, each of which misses half as often.
            level: share of the true values that lie between the bounds, such as 0.9.
            over: "step" for one step of a new episode; "episode" for all steps of a new episode at once.
            team: how many agents were to answer, where the calibration is of teams whose answers are lost now and then;
                as many as did by default.

        Raises:
            InputError: there is no such number, its errors were not measured, or on too few episodes for the level.
        """
        angle = find_angle(self.state_names, name)
        if angle is not None:
            names, each = (self.state_names[angle[0] + k] for k in (0, 1)), 0.5 + level / 2
            try:
                sine, cosine = (self.interval(one, each, over, team) for one in names)
            except InputError as error:
                raise InputError(f"An angle at {level:g} takes its sine and cosine at {each:g}. {error}") from error
            return angle_bounds(sine, cosine, angle[1])
        place = self._number(name)
        if self.calibration is not None:
            reach = self.calibration.reach(place, level, self._size(team), over)
        elif self.quantiles is None or over == "episode":
            raise InputError(_NOT_CALIBRATED)
        else:
            reach = self.quantiles.at(level, self.messages)
        mean, variance = self.mean[..., place], self.variance[..., place]
        if isinstance(self.mean, np.ndarray):  # in float64
            reach = np.asarray(reach) * np.sqrt(variance)
            bounds: Any = np.asarray(mean - reach), np.asarray(mean + reach)
            return bounds
        reach = reach * jnp.sqrt(variance)
        return mean - reach, mean + reach

    def promises(self, level: float) -> bool:
        """Whether errors were measured, and on enough episodes for intervals of this level."""
        if self.calibration is not None:
            return self.calibration.promises(level)
        return self.quantiles is not None and LEVELS[0] <= level <= LEVELS[-1]

    def region(self, level: float, over: Over = "step", team: int | None = None) -> Region:
        """A box that holds the whole state at this level; arguments as in `interval`.

        Raises:
            InputError: errors were not measured on calibration episodes, or on too few of them for the level.
        """
        if self.calibration is None:
            raise InputError(_NOT_CALIBRATED)
        reach = self.calibration.region_reach(level, self._size(team), over)
        return box(self.mean, self.variance, reach, self.types, self.scaling)

    def possible_states(
        self, level: float, over: Over = "step", team: int | None = None
    ) -> tuple[Float[Array, "states state"], Float[Array, " states"]]:
        """The states that one estimate leaves possible at this level, likeliest first, and how likely each is taken.

        For finite states. Arguments as in `interval`.

        Raises:
            InputError: a feature is a number, states are too many, errors were not measured on calibration episodes, or
                on too few of them for the level.
        """
        if self.calibration is None:
            raise InputError(_NOT_CALIBRATED)
        scaling = Scaling.identity(self.mean.shape[-1]) if self.scaling is None else self.scaling
        found, chances = self.calibration.set_of(scaling.scale(self.mean), self.types, level, self._size(team), over)
        return scaling.unscale(found), chances

    @property
    def expected_decreases(self) -> Float[Array, "*batch agents"]:
        """By how much each agent's answer is expected to lower the squared error of the scaled state; 0 once heard.

        Raises:
            InputError: it was not learned whom to ask.
        """
        scaling = Scaling.identity(self.mean.shape[-1]) if self.scaling is None else self.scaling
        return expected_decreases(self.asking, scaling, self.mean, self.variance, self._asked)

    def ranked_agents(self, among: Sequence[int] | None = None) -> list[tuple[int, float]]:
        """Who has not answered, from the most useful on, each with the decrease that is expected of its answer.

        Args:
            among: agents that can be asked; all by default.

        Raises:
            InputError: it was not learned whom to ask, these are many estimates, or an agent is unknown.
        """
        return ranked_agents(np.asarray(self.expected_decreases), np.asarray(self._asked), among)

    def next_agent(self, among: Sequence[int] | None = None) -> int:
        """The agent whose answer is expected to lower the error most; arguments and errors as in `ranked_agents`.

        Raises:
            InputError: also where all agents that can be asked have answered.
        """
        ranked = self.ranked_agents(among)
        if not ranked:
            raise InputError(NOBODY_LEFT)
        return ranked[0][0]

    @property
    def _asked(self) -> Bool[Array, "*batch agents"]:
        """Who has answered, those included who were left out."""
        return self.participants if self.doubts is None else self.participants | self.doubts.left_out

    @property
    def accepted(self) -> Bool[Array, "*batch"]:
        """Whether each estimate is to be used, as `verdict` says of one.

        Raises:
            InputError: nobody's reliability was checked.
        """
        doubts, uncertainty = self._checked()
        return ~jnp.any(doubts.in_doubt, axis=-1) & (uncertainty <= self._widest)

    @property
    def verdict(self) -> Verdict:
        """Whether this one estimate is to be used, and if not, why: sensors in doubt, unlike training, or too wide.

        Raises:
            InputError: nobody's reliability was checked, or these are many estimates.
        """
        doubts, uncertainty = self._checked()
        if self.messages.ndim:
            raise InputError("A verdict is about one estimate; of many ask `accepted`, or `verdicts` of some of them.")
        return verdict_on(doubts, float(uncertainty), float(self._widest), self.names)

    def verdicts(self, places: Sequence[int]) -> list[Verdict]:
        """The verdicts on some of many estimates along one batch axis, as `verdict` of one."""
        many = *self._checked(), self._widest
        each = (jax.tree.map(lambda leaf, k=k: leaf[k], many) for k in places)
        return [verdict_on(doubts, float(wide), float(widest), self.names) for doubts, wide, widest in each]

    def _checked(self) -> tuple[Doubts, Float[Array, "*batch"]]:
        if self.doubts is None or self.uncertainty is None:
            raise InputError(
                "Nobody's reliability was checked: calibrate the model with `calibrate(model, episodes, others)`; "
                "`fuse` then checks, and `fuse_batch` where it is asked to by `check=True`."
            )
        return self.doubts, self.uncertainty

    @property
    def _widest(self) -> Float[Array, "*batch"]:
        """The largest uncertainty that is usual; infinite where it was not measured."""
        if self.calibration is None:
            return jnp.full(jnp.shape(self.messages), jnp.inf)
        return self.calibration.widest(self.messages)

    def _size(self, team: int | None) -> Int[Array, "*batch"]:
        return self.messages if team is None else jnp.full_like(self.messages, team)

    def _number(self, name: str) -> int:
        """The place of a number of this name."""
        if name not in self.state_names:
            raise InputError(f"There is no feature {name!r}; the names are {_some(self.state_names)}.")
        place = self.state_names.index(name)
        if not self.types.is_number[place]:
            raise InputError(f"{name!r} is no number: read its mean as a probability, where an interval says nothing.")
        return place

    def in_own_units(
        self,
        scaling: Scaling,
        names: Names,
        quantiles: TeamQuantiles | None,
        calibration: Calibration | None = None,
    ) -> "TeamEstimate":
        """The same estimate of states that are not scaled, with names, and with how far errors reach."""
        unit = scaling.unscale(jnp.ones_like(self.mean)) - scaling.unscale(jnp.zeros_like(self.mean))
        return TeamEstimate(
            mean=scaling.unscale(self.mean),
            variance=(np.asarray(self.variance) if scaling.is_double else self.variance) * unit**2,
            participants=self.participants,
            messages=self.messages,
            message_bytes=self.message_bytes,
            types=self.types,
            names=names,
            quantiles=quantiles,
            calibration=calibration,
            scaling=scaling,
            doubts=self.doubts,
            uncertainty=self.uncertainty,
        )


def that_names_next(network: NextAgentNetwork | None, estimate: TeamEstimate) -> TeamEstimate:
    """An estimate that was just made, which names the next agent to ask where that was learned.

    Set in place, and outside of compiled functions: a copy, or handing its arrays on, takes half as long as all else.
    """
    if network is not None:
        object.__setattr__(estimate, "asking", network)
    return estimate


def _some(names: Sequence[str]) -> str:
    """Some of the names, for a sentence."""
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "") if names else "not known here"
