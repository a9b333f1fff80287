"""Composite diffusion round a ring: one message goes from agent to agent, as Definition 6 has it.

All members draw the same noise and orders from a seed and the step's number (`Turns`), so that the message holds
nothing but the noisy states. Who is dead is stepped over, and where the receiver of a message dies, its sender sends it
to the next. The last one tells all where the samples ended. An agent makes each of its hops once.
"""

import struct
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from composite_flow.composite.plan import make_plan
from composite_flow.composite.reconstruct import candidates_of
from composite_flow.composite.rule import DEFINITION_6
from composite_flow.composite.sampling import Sampling
from composite_flow.composite.turns import draw_turns
from composite_flow.model import Model
from composite_flow.runtime.agent import Agent
from composite_flow.runtime.member import Member
from composite_flow.runtime.message import RING, TOTAL, Message, RefusedMessage

_HEAD = struct.Struct("<II")  # the hop to be made, and hops made


class Baton:
    """What goes round: the next hop, hops made so far, who made them, and the noisy states."""

    def __init__(self, hop: int, made: int, whose: np.ndarray, y: np.ndarray):
        self.hop, self.made, self.whose, self.y = hop, made, whose, y

    def packed(self) -> bytes:
        """As bytes."""
        return _HEAD.pack(self.hop, self.made) + np.packbits(self.whose).tobytes() + self.y.astype("<f4").tobytes()

    @classmethod
    def unpacked(cls, data: bytes, num_agents: int, shape: tuple[int, int]) -> "Baton":
        """The inverse; `RefusedMessage` where it is of another size, or not finite."""
        flags = (num_agents + 7) // 8
        if len(data) != _HEAD.size + flags + 4 * shape[0] * shape[1]:
            raise RefusedMessage("no answer")
        hop, made = _HEAD.unpack_from(data)
        whose = np.unpackbits(np.frombuffer(data[_HEAD.size : _HEAD.size + flags], np.uint8))[:num_agents].astype(bool)
        y = np.frombuffer(data[_HEAD.size + flags :], "<f4").reshape(shape)
        if not np.isfinite(y).all():
            raise RefusedMessage("no answer")
        return cls(hop, made, whose, y)


class Ring:
    """The message goes round, `num_sweeps` times."""

    kinds, waits = (RING, TOTAL), True

    def __init__(self, model: Model, num_samples: int, num_sweeps: int, seed: int):
        """A ring of the model's agents; arguments as in `Sampling`."""
        self._plan = make_plan(model.layout.num_agents, Sampling(num_samples=num_samples, num_sweeps=num_sweeps))
        self._shape, self._seed = (num_samples, model.denoiser.state_size), seed
        self._end: Baton | None = None

    def rehearse(self, agent: Agent) -> None:
        """Do once what a step does, without a bus."""
        _, start = _drawn(self._plan, self._shape[1], self._seed, 0)
        everyone = np.ones(agent.model.layout.num_agents, bool)
        self._end = Baton(0, 0, everyone, np.asarray(agent.hop(jnp.asarray(start))))
        self._report(agent)

    def opened(self, member: Member) -> None:
        """Draw the turns; the first of those who are present begins."""
        order, self._start = _drawn(self._plan, self._shape[1], self._seed, member.agent.step)
        self._order, self._made, self._sent, self._end = np.asarray(order).tolist(), -1, None, None
        self._begin_if_first(member)

    def hear(self, member: Member, message: Message) -> None:
        """Make a hop, or take the end of it all."""
        if message.step < member.agent.step or not member.is_open:
            raise RefusedMessage("late")
        baton = Baton.unpacked(message.payload, member.num_agents, self._shape)
        if message.kind == TOTAL:
            self._end = self._end or baton
        elif baton.hop <= self._made or baton.hop >= len(self._order) or self._order[baton.hop] != member.agent.number:
            raise RefusedMessage("said already")
        else:
            self._take(member, baton)

    def gone(self, member: Member, other: int) -> None:
        """Send on what the one that is gone was sent, or begin in its place."""
        if not member.is_open or self._end is not None:
            return
        if self._sent is not None and self._sent[0] == other:
            self._pass_on(member, self._sent[1])
        elif self._made < 0:
            self._begin_if_first(member)

    def wake(self, member: Member) -> None:
        """It never asks to be woken."""

    def complete(self, member: Member) -> bool:
        """Whether it is known where the samples ended."""
        return self._end is not None

    def estimate(self, member: Member) -> dict[str, Any]:
        """The state that most samples reached; nothing where the message did not come round."""
        if self._end is None:
            return {"participants": [], "nothing": "The message did not come round by the deadline."}
        return self._report(member.agent)

    # --- parts of the above

    def _begin_if_first(self, member: Member) -> None:
        whose = np.zeros(member.num_agents, bool)
        baton = self._stepped_over(member, Baton(0, 0, whose, np.asarray(self._start)))
        if self._order[baton.hop] == member.agent.number:
            self._take(member, baton)

    def _take(self, member: Member, baton: Baton) -> None:
        """Make this hop, and pass the message on."""
        self._made = baton.hop
        if member.agent.sees:
            y, whose = np.asarray(member.agent.hop(jnp.asarray(baton.y))), baton.whose.copy()
            whose[member.agent.number] = True
            baton = Baton(baton.hop, baton.made + 1, whose, y)
        self._pass_on(member, Baton(baton.hop + 1, baton.made, baton.whose, baton.y))

    def _pass_on(self, member: Member, baton: Baton) -> None:
        """To the next who is present; to oneself where nobody else is, and to all at the end."""
        baton = self._stepped_over(member, baton)
        if baton.hop == len(self._order):
            self._end = baton
            return member.send(TOTAL, baton.packed())
        speaker = self._order[baton.hop]
        if speaker == member.agent.number:
            return self._take(member, baton)
        self._sent = speaker, baton
        member.send(RING, baton.packed(), speaker)

    def _stepped_over(self, member: Member, baton: Baton) -> Baton:
        """The same, due at the next who is present."""
        there, hop = member.present | {member.agent.number}, baton.hop
        while hop < len(self._order) and self._order[hop] not in there:
            hop += 1
        return Baton(hop, baton.made, baton.whose, baton.y)

    def _report(self, agent: Agent) -> dict[str, Any]:
        """What the ends say, and this agent's share of the checks."""
        assert self._end is not None
        model, samples = agent.model, jnp.asarray(self._end.y)
        found = candidates_of(samples, self._plan)
        state = np.asarray(model.scaling.unscale(found["state"])).tolist()
        told = {"participants": np.flatnonzero(self._end.whose).tolist(), "hops": self._end.made}
        told |= {"mean": dict(zip(model.state_names, state, strict=True)), "share": float(found["shares"][0])}
        if model.radius is not None and agent.sees:
            checked = agent.check(samples).certificate
            assert checked is not None
            told["holds_possible"] = bool(np.all(np.asarray(checked.accepted_by_paper)))
        return told


@partial(jax.jit, static_argnames="state_size")
def _drawn(plan, state_size: int, seed, step):
    """Who makes which hop, and the noisy states before the first."""
    turns = draw_turns(plan, DEFINITION_6, jax.random.fold_in(jax.random.key(seed), step))
    return turns.speakers.reshape(-1), turns.start(state_size)
