"""One agent's side of a team: its own history, what others sent, and what follows from both.

    agent = cf.Agent(model, 3)
    agent.observe(observation)                  # its own, of this step
    message = agent.answer()                    # to be sent to the others
    agent.receive(sender, step, answer)         # from each of them, in any order
    estimate = agent.estimate()                 # of those heard: what `model.fuse` says of the same answers

It holds nothing of others but what they sent. `model.fuse` and `reconstruct` are these steps for all agents at once:
they share the network's answers, their sum and what is told of it, and the rule's `hop`. With `over_time=True` it
carries the team's last estimate to the next step, as `model.filter` does: by its answers (`carrying`), or by a chain,
whose message starts from the last one (`chained`).

    message = first.begin()                     # by the step's first speaker
    message = agent.hop(message)                # by each in turn
    agent.end(message)                          # by all of them, who hear where it ended
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from composite_flow.composite.rule import DEFINITION_6, CompositionRule, Message
from composite_flow.errors import InputError
from composite_flow.fusion.lacking import lacking
from composite_flow.fusion.learned import LearnedFusion
from composite_flow.fusion.one_estimate import fuse_sent
from composite_flow.fusion.team_estimate import TeamEstimate
from composite_flow.model import Model
from composite_flow.runtime.agent_check import AgentCheck, certificate_of, doubt_of
from composite_flow.runtime.conversion import gathered, said_by, sent_shape
from composite_flow.runtime.hops import HopsBy, hops_of
from composite_flow.runtime.names import agent_number
from composite_flow.runtime.over_time import carried_by
from composite_flow.runtime.sent import Sent, SentShape
from composite_flow.runtime.stepping import SteppingAgent


class Agent(SteppingAgent):
    """One agent of a team.

    Attributes:
        model, number: the same for the whole team, and which agent it is.
        max_age: an answer counts for so many steps beyond its own.
        carried: what it carries over time; None where it does not.
    """

    def __init__(
        self,
        model: Model,
        agent: int | str,
        *,
        max_age: int = 0,
        rule: CompositionRule = DEFINITION_6,
        by: HopsBy = "denoiser",
        over_time: bool = False,
    ):
        """An agent that has seen nothing yet.

        Args:
            model: learned for the whole team.
            agent: its name or its number.
            max_age: steps for which an answer of another counts after its own; 0 for answers of the present step alone.
            rule, by: what its hops are: of the denoiser, by the rule, or of the gated chain.
            over_time: whether it carries what the team knows from step to step, by the filter that the model learned;
                where that is a chain, its hops are the chain's.

        Raises:
            InputError: there is no such agent, the age is negative, or the model did not learn what is asked for.
            MismatchError: the filter is of another problem or length of histories.
        """
        layout = model.layout
        if max_age < 0:
            raise InputError(f"max_age is a number of steps from 0 on, not {max_age}.")
        super().__init__(layout.settings, agent_number(agent, layout.settings), max_age)
        self.model = model
        self.carried = carried_by(model, self.number, self._inbox, max_age) if over_time else None
        self._hops = hops_of(model, rule, by, self.carried)
        self._found: TeamEstimate | None = None
        self._forget_step()

    # --- its own history

    @property
    def history(self) -> Float[Array, " history"]:
        """Its encoded history, by the model's layout."""
        return jnp.asarray(self._memory.history)

    def reset(self) -> None:
        """Forget everything, as at the start of an episode."""
        super().reset()
        self._found = None

    # --- what it sends

    def answer(self) -> Sent:
        """What its own history says, and how unlike those of training it is, to be sent to all others; scaled.

        Raises:
            InputError: the model learned no fusion, or nothing was observed at this step.
        """
        if self._said is None:
            self._check_sees()
            history, kept = self._memory.history, self.carried
            self._said = said_by(self._fusion, history) if kept is None else kept.answer(self.step, history)
        return self._said

    @property
    def rule(self) -> CompositionRule:
        """What it does with a message that goes round."""
        return self._hops.rule

    def begin(self) -> Message:
        """A chain's message for the step's first speaker: over time what the team knew last, else what was before.

        Raises:
            InputError: how the episode began is unknown, or it is no chain: composite diffusion begins with noise.
        """
        return self._hops.begin()

    def hop(self, messages: Message, noise: Float[Array, "samples state"] | None = None) -> Message:
        """What it makes of a message that goes round, for all samples that the message carries.

        Args:
            messages: of each sample along the leading axis, by `rule`.
            noise: what stirs each sample.

        Raises:
            InputError: the model learned no denoiser, or nothing was observed at this step.
        """
        self._check_sees()
        return self._hops.hop(self._memory.history, messages, noise)

    def end(self, messages: Message, participants: Sequence[int] | None = None, step: int | None = None) -> bool:
        """Hear where a chain's message over time ended, and whether that is news; the next step begins there.

        Args:
            messages, participants: as the last one sent it on, and who had spoken; all where None.
            step: of which it is; the present one by default.

        Raises:
            InputError: there is no such chain, or it is no message of it.
        """
        return self._hops.end(messages, participants, self.step if step is None else step, self.model.layout.num_agents)

    # --- what it hears, and what follows

    @property
    def sent_shape(self) -> SentShape:
        """Of this agent's answers; other agents' may differ in which entries are numbers."""
        return sent_shape(self._fusion, self.number, self.carried is not None)

    def receive(self, sender: int, step: int, message: Sent) -> bool:
        """Take in another's answer.

        Args:
            sender: its number.
            step: for which it was given.
            message: what `answer` gave there.

        Returns:
            Whether it is kept. The first answer of a sender and step counts; those older than all that are kept do not.

        Raises:
            InputError: there is no such other agent, or its answer is of another shape, or not finite.
        """
        is_other = 0 <= sender < self.model.layout.num_agents
        if is_other and not sent_shape(self._fusion, sender, self.carried is not None).fits(message):
            raise InputError(f"What agent {sender} sent is no answer of this model's agents.")
        return self._inbox.receive(int(sender), int(step), message)

    @property
    def num_answers(self) -> int:
        """How many others have answered at this step."""
        return self._inbox.count(self.step)

    def heard(self, within: int | None = None) -> dict[int, int]:
        """Whose answers count now, itself aside, and of which step they are; `within` as in `estimate`."""
        return {sender: step for sender, (step, _) in self._inbox.heard(self.step, within).items()}

    def estimate(self, within: int | None = None, *, robust: bool | float = False) -> TeamEstimate:
        """What those heard and itself say together, in the state's own units, with its verdict: as `Model.fuse` does.

        Args:
            within: answers count that are no older than so many steps; `max_age` where not given.
            robust: as in `Model.fuse`.

        Over time, what `model.filter` says of all that was heard, each at its own step, or where nobody was what was
        predicted; without a verdict, intervals, and these options.

        Raises:
            InputError: nobody has answered, no fusion was learned, or `within` is larger than `max_age`.
        """
        if self.carried is not None:
            if self.sees:
                self.carried.speak(self.step, self._memory.history)
            self._found = found = self.carried.estimate(self.step, asked=(within, robust))
            return found
        sent, unlike, team = self._gathered(within)
        if not team.any():
            raise InputError("Nobody has answered at this step, not even this agent: nothing can be inferred.")
        self._found = fuse_sent(self._fusion, sent, unlike, team, self.model.scaling, self.model.names, robust)
        return self._found

    def check(self, samples: Float[Array, "samples state"] | None = None, radius: float | None = None) -> AgentCheck:
        """Its share of the checks: whether it is stable, whether it can hold the team's state possible, and its doubt.

        Args:
            samples: states of the team, scaled, such as those where composite diffusion ended; by default the mean that
                `estimate` found last. Stability is looked at where its last hop received them; without a hop, there.
            radius: D_φ, scaled; the model's own by default.

        Raises:
            InputError: nothing was estimated and no samples are given, or there is no radius.
        """
        certificate = None
        if self.model.has_denoiser:
            self._check_sees()
            known = self.model, self.number, self.history, self._hops.received, self._found
            certificate = certificate_of(*known, samples, radius)
        return AgentCheck(certificate, self._doubt())

    @property
    def _fusion(self) -> LearnedFusion:
        if self.model.fusion is None:
            raise lacking()
        return self.model.fusion

    def _gathered(self, within: int | None) -> tuple[Any, np.ndarray | None, np.ndarray]:
        """What every agent sent, what it said of its history, zeros of those who were not heard; and who was."""
        heard = {sender: sent for sender, (_, sent) in self._inbox.heard(self.step, within).items()}
        if self.sees:
            heard[self.number] = self.answer()
        return gathered(self._fusion, heard, self.sent_shape.nothing, self.model.layout.num_agents)

    def _doubt(self) -> float | None:
        fused = self.model.fusion is not None and self.carried is None
        if not fused or not self._fusion.is_watched or not self._memory.sees:
            return None
        sent, _, team = self._gathered(None)
        return doubt_of(self._fusion, sent, team, self.number, self.history) if team.sum() > 1 else None
