"""Members on a bus within the test: messages arrive when the test says so, and clocks can differ."""

import json

import numpy as np

import composite_flow as cf
from composite_flow.runtime.broadcast import Broadcast
from composite_flow.runtime.identity import model_checksum, sent_shapes
from composite_flow.runtime.member import Member, Settings
from composite_flow.runtime.report import fused_report


class SimulatedBus:
    """Carries messages in order; `lost` says which (message, sender, listener) are not carried."""

    def __init__(self, model, settings=None, rule=None, max_age=0, offsets=None):
        self.model, self.told, self.sent = model, [], []
        self.settings = settings or Settings("test")
        self.now, self.offsets = 0.0, offsets or {}
        self.make_rule = rule or (
            lambda: Broadcast(sent_shapes(model), lambda agent, size: fused_report(agent, size, 0.9))
        )
        self.max_age, self.members, self.queue = max_age, {}, []
        self.lost = lambda data, sender, listener: False

    def start(self, number, model=None, agent=None):
        """A new start of an agent, met by all others and they by it."""
        agent = agent or cf.Agent(model or self.model, number, max_age=self.max_age)
        checksum = model_checksum(model or self.model)
        count = self.model.layout.num_agents
        send = lambda data, to: self.queue.append((data, number, to))  # noqa: E731
        member = Member(agent, checksum, self.settings, self.make_rule(), count, send, self.told.append)
        self.members[number] = member
        for other in self.members.values():
            if other is not member:
                other.meet(number, member.nonce, self.clock(other))
                member.meet(other.agent.number, other.nonce, self.clock(member))
        return member

    def kill(self, number):
        """An agent's process ends, and all others see it."""
        gone = self.members.pop(number)
        for other in self.members.values():
            other.miss(number, gone.nonce, self.clock(other))
        self.carry()

    def clock(self, member):
        return self.now + self.offsets.get(member.agent.number, 0.0)

    def observe(self, number, observation, **about):
        member = self.members[number]
        data = json.dumps({"observation": np.asarray(observation).tolist(), **about}).encode()
        member.observe(data, self.clock(member))

    def carry(self):
        """Deliver all that was said."""
        while self.queue:
            data, sender, to = self.queue.pop(0)
            self.sent.append((data, sender, to))
            for number, member in list(self.members.items()):
                if number != sender and to in (None, number) and not self.lost(data, sender, number):
                    member.hear(data, self.clock(member))

    def wait(self, seconds):
        """Let time pass on every clock."""
        self.now += seconds
        for member in self.members.values():
            member.tick(self.clock(member))

    def step(self, logged, step):
        """All members observe a step of logged episodes."""
        begins = step in logged.starts.tolist()
        for number in sorted(self.members):
            action = int(logged.actions[step - 1, number])
            self.observe(number, logged.observations[step, number], action=action, step=step, begins=begins)
        self.carry()
