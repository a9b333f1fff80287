"""What an agent's model carries over time, computed by JAX: the parts of the product filter, or a chain's message."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answer
from composite_flow.fusion.lacking import lacking
from composite_flow.fusion.over_time.alone import estimate_of_carried, fitting, said, taken_in
from composite_flow.fusion.over_time.carried import Carried, TeamFilter
from composite_flow.fusion.over_time.chains import ChainFilter
from composite_flow.fusion.over_time.product import ProductFilter
from composite_flow.fusion.team_estimate import TeamEstimate
from composite_flow.model import Model
from composite_flow.runtime.carrying import Carrying
from composite_flow.runtime.chained import Chained
from composite_flow.runtime.conversion import as_sent, sent_shape
from composite_flow.runtime.inbox import Inbox
from composite_flow.runtime.sent import Sent


def carried_by(model: Model, number: int, inbox: Inbox, max_age: int) -> Carrying | Chained:
    """What an agent of this model carries; nothing is known yet.

    Raises:
        InputError: the model learned no filter, or one of a class of one's own, or a chain is to wait for late answers.
        MismatchError: the filter is of another problem or length of histories.
    """
    if model.fusion is None or model.fusion.over_time is None:
        raise lacking("filter", fusion=model.fusion is None)
    found, count = fitting(model.fusion.over_time, len(model.state_names), model.layout.size), model.layout.num_agents
    if isinstance(found, ProductFilter):
        return Carrying(ProductParts(found, model), number, count, inbox, max_age)
    if not isinstance(found, ChainFilter):
        raise InputError("Agents carry what the library's own filters do, not those of another class.")
    if max_age:
        raise InputError("A chain's message is of its own step: max_age is of answers, and has no meaning here.")
    initial = np.asarray(found.initial.mean)

    def told(mean: np.ndarray, whose: np.ndarray) -> TeamEstimate:
        nothing = jnp.zeros(len(mean))
        return _told_of(found, model, Carried(jnp.asarray(mean), nothing, nothing), whose)

    return Chained(initial, count, told)


class ProductParts:
    """The contract of `carrying.Parts`, by the filter that a model learned."""

    def __init__(self, team_filter: ProductFilter, model: Model):
        """Nothing is computed yet."""
        assert model.fusion is not None, "a filter is learned beside fusion"
        self._filter, self._model, self.initial = team_filter, model, team_filter.initial
        self.nothing = sent_shape(model.fusion, 0, over_time=True).nothing

    def say(self, history: np.ndarray, predicted: Carried) -> Sent:
        """By `alone.said`."""
        return as_sent(jax.device_get(_said(self._filter, jnp.asarray(history), predicted)))

    def predict(self, known: Carried) -> Carried:
        """By the filter."""
        return _predicted(self._filter, known)

    def take_in(self, predicted: Carried, answers: Sent, heard: np.ndarray) -> Carried:
        """By `alone.taken_in`."""
        return _taken_in(self._filter, predicted, Answer(*map(jnp.asarray, answers[:4])), heard)

    def told(self, known: Carried, heard: np.ndarray) -> TeamEstimate:
        """By `alone.estimate_of_carried`."""
        return _told_of(self._filter, self._model, known, heard)


def _told_of(team_filter: TeamFilter, model: Model, known: Carried, heard: np.ndarray) -> TeamEstimate:
    """In the state's own units."""
    if model.scaling.is_double:  # which nothing compiled is
        return _estimate(team_filter, known, heard).in_own_units(model.scaling, model.names, None)
    return _told(team_filter, known, heard, model.scaling, model.names)


_said, _taken_in, _estimate = jax.jit(said), jax.jit(taken_in), jax.jit(estimate_of_carried)
_predicted = jax.jit(lambda team_filter, known: team_filter.predict(known))


@partial(jax.jit, static_argnames="names")
def _told(team_filter: Any, known, heard, scaling, names) -> TeamEstimate:
    return estimate_of_carried(team_filter, known, heard).in_own_units(scaling, names, None)
