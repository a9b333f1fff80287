"""All that a model learned for fusion: what agents answer, and how far fused numbers lie from the truth."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from composite_flow.data.scaling import Scaling
from composite_flow.errors import InputError, MismatchError
from composite_flow.fusion.fuse import fuse_each, taking_part
from composite_flow.fusion.network import AnswerNetwork
from composite_flow.fusion.sparse import SparseAnswers
from composite_flow.fusion.structure import answers_settings, empty_answers
from composite_flow.fusion.team_estimate import LEVELS, TeamEstimate, TeamQuantiles

Histories = Float[Array, "joint agents columns"] | Float[np.ndarray, "joint agents columns"]


class LearnedFusion(eqx.Module):
    """What each agent answers, and what is known of the fused estimate.

    Attributes:
        answers: the network that all agents share.
        quantiles: how far fused numbers lie from the truth; None where it was not measured.
    """

    answers: AnswerNetwork | SparseAnswers
    quantiles: TeamQuantiles | None = None

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

    def fuse_one(self, histories, participants: Sequence[int] | None, scaling: Scaling, names) -> TeamEstimate:
        """`fuse` for one joint history; its participants as a list."""
        team = taking_part(self.answers.num_agents, participants)
        found = LearnedFusion(self.answers).fuse(np.asarray(histories)[None], team[None], scaling, names)
        return jax.tree.map(lambda leaf: leaf[0], found).with_quantiles(self.quantiles)

    @property
    def settings(self) -> dict[str, Any]:
        """What `empty` needs; JSON-able."""
        sizes = None if self.quantiles is None else list(self.quantiles.sizes)
        return {"answers": answers_settings(self.answers), "quantiles": sizes}

    @classmethod
    def empty(cls, settings: dict[str, Any]) -> "LearnedFusion":
        """The same structure without its weights."""
        sizes = settings["quantiles"]
        quantiles = None if sizes is None else TeamQuantiles(tuple(sizes), jnp.zeros((len(sizes), len(LEVELS))))
        return cls(empty_answers(settings["answers"]), quantiles)
