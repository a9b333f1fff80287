"""What one agent carries from step to step: the team's last estimate, predicted, with each step's answers taken in.

An answer counts at its own step. One that comes late, but no more than `max_age` steps, is taken in there, and all that
follows is computed again, as if it had come in time; older ones are dropped.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from composite_flow.errors import InputError
from composite_flow.fusion.answers import Answer
from composite_flow.fusion.lacking import lacking
from composite_flow.fusion.over_time.alone import estimate_of_carried, product_of, said, taken_in
from composite_flow.fusion.over_time.carried import Carried
from composite_flow.fusion.team_estimate import TeamEstimate
from composite_flow.model import Model
from composite_flow.runtime.conversion import as_sent, sent_shape
from composite_flow.runtime.inbox import Inbox
from composite_flow.runtime.sent import Sent

MOST_SKIPPED = 1000
"""Steps without a word through which an estimate is carried; beyond them it is as if nothing were known."""


class Carrying:
    """One agent's filter."""

    def __init__(self, model: Model, number: int, inbox: Inbox, max_age: int):
        """Nothing is known yet, not even when the episode began.

        Raises:
            InputError: the model learned no filter, or a chain.
            MismatchError: the filter is of another problem or length of histories.
        """
        if model.fusion is None or model.fusion.over_time is None:
            raise lacking("filter", fusion=model.fusion is None)
        self._filter = product_of(model.fusion.over_time, len(model.state_names), model.layout.size)
        self._model, self._number, self._inbox, self._max_age = model, number, inbox, max_age
        self._shape = sent_shape(model.fusion, number, over_time=True)
        self.forget()

    def forget(self) -> None:
        """As before an episode."""
        self._own: dict[int, Sent] = {}
        self._began: int | None = None
        self._base: tuple[int, Carried] = -1, self._filter.initial

    def check(self, step: int, begins: bool, first: bool) -> None:
        """Refuse to go on where it is not known how the episode began.

        Args:
            step: that is to be observed.
            begins: whether an episode begins there.
            first: whether nothing was observed before; step 0 is an episode's first.
        """
        if not begins and self._began is None and not (first and step == 0):
            raise InputError(
                f"This episode began before step {step}, unseen by this agent, so that what the team carries is "
                "unknown: it takes part again where an episode begins (`begins=True`)."
            )

    def follow(self, step: int, begins: bool) -> None:
        """Go on to a step; answers of steps that are too old by then are no longer waited for."""
        if begins or (self._began is None and step == 0):
            self._began, self._base, self._own = step, (step - 1, self._filter.initial), {}
        if self._began is None:
            return
        if step - self._base[0] > MOST_SKIPPED + self._max_age:
            return self.forget()
        last = step - 1 - self._max_age
        if last > self._base[0]:
            self._base = last, self._known_at(last)
            self._own = {at: sent for at, sent in self._own.items() if at > last}

    def answer(self, step: int, history: Any) -> Sent:
        """What this agent says at the present step, of its own history; once."""
        if step not in self._own:
            said = _said(self._filter, jnp.asarray(history), self._predicted_at(step))
            self._own[step] = as_sent(jax.device_get(said))
        return self._own[step]

    def estimate(self, step: int, asked: tuple[int | None, bool | float]) -> TeamEstimate:
        """What is known at the present step, in the state's own units; without an answer what was predicted.

        Args:
            step: the present one.
            asked: `within` and `robust`, which have no meaning here.
        """
        if asked[0] is not None or asked[1]:
            raise InputError("Over time each answer counts at its own step, and nobody is left out: no other options.")
        model, heard = self._model, self._heard_at(step)[1]
        known, names = self._known_at(step), tuple(model.state_names)
        if model.scaling.is_double:  # which nothing compiled is
            return _estimate(self._filter, known, heard).in_own_units(model.scaling, names, None)
        return _told(self._filter, known, heard, model.scaling, names)

    # --- parts of the above

    def _predicted_at(self, step: int) -> Carried:
        if self._began is None:
            raise InputError("How this episode began is unknown, and with it what the team carries.")
        return self._filter.initial if step == self._began else _predicted(self._filter, self._known_at(step - 1))

    def _known_at(self, step: int) -> Carried:
        """After a step, from what is settled on."""
        settled, known = self._base
        if step < settled or self._began is None:
            raise InputError("How this episode began is unknown, and with it what the team carries.")
        for at in range(settled + 1, step + 1):
            predicted = self._filter.initial if at == self._began else _predicted(self._filter, known)
            known = _taken_in(self._filter, predicted, *self._heard_at(at))
        return known

    def _heard_at(self, step: int) -> tuple[Answer, np.ndarray]:
        """The answers of a step, agents along the leading axis, and whose they are."""
        answers = self._inbox.at(step)
        if step in self._own:
            answers[self._number] = self._own[step]
        count = self._model.layout.num_agents
        rows = [answers.get(agent, self._shape.nothing) for agent in range(count)]
        parts = (np.stack(part) for part in list(zip(*rows, strict=True))[:4])
        return Answer(*map(jnp.asarray, parts)), np.isin(np.arange(count), list(answers))


_said, _taken_in, _estimate = jax.jit(said), jax.jit(taken_in), jax.jit(estimate_of_carried)
_predicted = jax.jit(lambda team_filter, known: team_filter.predict(known))


@partial(jax.jit, static_argnames="names")
def _told(team_filter, known, heard, scaling, names) -> TeamEstimate:
    return estimate_of_carried(team_filter, known, heard).in_own_units(scaling, names, None)
