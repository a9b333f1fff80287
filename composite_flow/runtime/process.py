"""The process of one agent: it takes what the bus brings, one thing at a time, and keeps the deadlines. NumPy alone."""

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from composite_flow.errors import InputError
from composite_flow.runtime.bus import Bus
from composite_flow.runtime.loss import Loss
from composite_flow.runtime.member import Member, Rule, Settings
from composite_flow.runtime.message import RefusedMessage, is_proof, prove, unpack
from composite_flow.runtime.observation import Parse, parse_json, parse_numbers

_AT_MOST = 0.5  # seconds between two looks at the clock
_LOOK_SECONDS = 2.0  # between two times that it asks who is there


class AgentProcess:
    """Connects a member with the bus; what comes in waits in a queue until it is its turn."""

    def __init__(
        self, bus: Bus, agent: Any, checksum: bytes, settings: Settings, rule: Rule, num_agents: int, loss: Loss
    ):
        """Nothing is said before `run`."""
        self._bus, self._loss, self._settings, self._number = bus, loss, settings, agent.number
        self._events: queue.SimpleQueue[Callable[[float], None]] = queue.SimpleQueue()
        self.member = Member(agent, checksum, settings, rule, num_agents, self._send, self._tell)
        self._running, self._refusal = True, ""
        self._unmet: dict[tuple[int, int], float] = {}
        self._looked = 0.0

    def run(self) -> None:
        """Until `stop`.

        Raises:
            InputError: an agent of this name is in the team already.
        """
        self._refuse_a_second_one()
        number, nonce, team, key = self._number, self.member.nonce, self._settings.team, self._settings.key
        for topic, parse in (("observe", parse_json), ("numbers", parse_numbers)):
            self._bus.listen(f"{topic}/{number}", self._observed(parse))
        self._bus.listen("say/*", lambda _, data: self._arrived(data))
        self._bus.listen(f"tell/*/{number}", lambda _, data: self._arrived(data))
        self._bus.be_alive(number, nonce, lambda challenge: prove(challenge, team, number, nonce, key))
        self._bus.watch(lambda other, start, there: self._put(lambda now: self._seen(other, start, there, now)))
        while self._running:
            self._next()
        if self._refusal:
            raise InputError(self._refusal)

    def stop(self) -> None:
        """End `run`; from any thread or signal handler."""
        self._running = False
        self._events.put(lambda now: None)

    def _observed(self, parse: Parse) -> Callable[[str, bytes], None]:
        return lambda _, data: self._put(lambda now: self.member.observe(data, now, parse))

    def _refuse_a_second_one(self) -> None:
        """One that was killed may still be held to be alive for a lease."""
        until = time.monotonic() + 3 * self._bus.lease
        while self._bus.alive(self._number, self._bus.lease):
            if time.monotonic() > until:
                raise InputError(self._taken)
            time.sleep(0.1)

    @property
    def _taken(self) -> str:
        return f"Team {self._settings.team} has an agent {self._number} already; stop that one first."

    def _yield_to(self, nonce: int) -> None:
        """Another of this name started at the same time: the one with the smaller nonce stays."""
        if nonce < self.member.nonce:
            self._refusal = self._taken
            self.stop()

    def _next(self) -> None:
        wait = min(self.member.due - time.monotonic(), _AT_MOST)
        try:
            event = self._events.get(timeout=wait) if wait > 0 else self._events.get_nowait()
        except queue.Empty:
            event = None
        if event is not None:
            event(time.monotonic())
        self.member.tick(time.monotonic())
        self._look_again(time.monotonic())

    def _put(self, event: Callable[[float], None]) -> None:
        self._events.put(event)

    def _arrived(self, data: bytes) -> None:
        """A message, which tests may lose or delay."""
        try:
            message = unpack(data, None)
        except RefusedMessage:
            return self._put(lambda now: self.member.hear(data, now))
        if message.sender == self._number and message.nonce == self.member.nonce:
            return  # its own, which the bus brings back
        late = self._loss.fate(message.sender, self._number, message.step)
        if late is None:
            return
        if late > 0:
            timer = threading.Timer(late, self._put, [lambda now: self.member.hear(data, now)])
            timer.daemon = True
            return timer.start()
        self._put(lambda now: self.member.hear(data, now))

    def _seen(self, agent: int, nonce: int, there: bool, now: float) -> None:
        """A token came or went: who comes is challenged, who goes is gone."""
        if agent == self._number:
            return self._yield_to(nonce) if there else None
        if there:
            known = (agent, nonce) in self._unmet or self.member.has_met(agent, nonce)
            return None if known or agent >= self.member.num_agents else self._challenge(agent, nonce, now)
        self._unmet.pop((agent, nonce), None)
        self.member.miss(agent, nonce, now)
        self._tell_present()

    def _look_again(self, now: float) -> None:
        """Ask who is there, and whoever has not replied: news of it are lost where connections come and go."""
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        self._bus.look(lambda other, start: self._put(lambda now: self._seen(other, start, True, now)))
        for (agent, nonce), last in list(self._unmet.items()):
            if now - last > _LOOK_SECONDS:
                self._challenge(agent, nonce, now)
        self._tell_present()

    def _challenge(self, agent: int, nonce: int, now: float) -> None:
        self._unmet[agent, nonce] = now
        challenge, team, key = os.urandom(16), self._settings.team, self._settings.key

        def replied(reply: bytes) -> None:
            if is_proof(reply, challenge, team, agent, nonce, key):
                self._put(met)

        def met(now: float) -> None:
            if self._unmet.pop((agent, nonce), None) is None:
                return  # it is gone again, or was met before
            self.member.meet(agent, nonce, now)
            self._tell_present()

        self._bus.challenge(agent, nonce, challenge, replied)

    def _tell_present(self) -> None:
        told = {"agent": self._number, "present": sorted(self.member.present)}
        self._bus.publish(f"present/{self._number}", json.dumps(told).encode())

    def _send(self, data: bytes, to: int | None) -> None:
        self._bus.publish(f"say/{self._number}" if to is None else f"tell/{self._number}/{to}", data)

    def _tell(self, told: dict[str, Any]) -> None:
        self._bus.publish(f"estimate/{self._number}", json.dumps(told).encode())


def run_until_stopped(process: AgentProcess) -> None:
    """Run a process until it is interrupted or terminated."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: process.stop())
    process.run()
    print(json.dumps({"agent": process.member.agent.number, "refused": process.member.refused}), file=sys.stderr)
