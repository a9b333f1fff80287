"""A team of processes on this machine, to which logged episodes are replayed; what each agent infers is gathered."""

import json
import queue
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from composite_flow.data.episodes import Episodes
from composite_flow.data.shards import ShardedArray
from composite_flow.errors import CompositeFlowError, InputError
from composite_flow.runtime.bus import LEASE_SECONDS, Bus

START_SECONDS = 600.0  # many agents on few cores compile what they call before they meet


class TeamProcesses:
    """One process for each agent, and a connection to their bus; a context manager that ends them all.

    Attributes:
        endpoint: where the bus is reached.
        bus: the connection.
        processes: those that run, by agent.
        paused: those that were paused.
    """

    def __init__(self, team: str, commands: Mapping[int, Sequence[str]], lease: float = LEASE_SECONDS):
        """Nothing is started before the `with` block.

        Args:
            team: its name on the bus.
            commands: by which each agent is started; the endpoint and the lease are added to them.
            lease: seconds without a sign of life after which a member is gone.
        """
        self.team, self._commands, self._lease = team, commands, lease
        self.endpoint = f"tcp/127.0.0.1:{free_port()}"
        self.processes: dict[int, subprocess.Popen] = {}
        self.paused: dict[int, subprocess.Popen] = {}
        self._told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._present: dict[int, list[int]] = {}

    def __enter__(self) -> "TeamProcesses":
        with ExitStack() as opened:
            self.bus = opened.enter_context(Bus(self.team, [self.endpoint], lease=self._lease, carries=True))
            opened.callback(self._stop)
            self.bus.listen("estimate/*", lambda _, data: self._note_told(json.loads(data)))
            self.bus.listen("present/*", lambda _, data: self._note_present(json.loads(data)))
            for agent in self._commands:
                self.start(agent)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *error) -> None:
        self._opened.close()

    def start(self, agent: int) -> None:
        """Start an agent, for the first time or again."""
        command = [*self._commands[agent], "--through", self.endpoint, "--lease", str(self._lease)]
        self._present.pop(agent, None)
        self.processes[agent] = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def kill(self, agent: int) -> None:
        """End an agent at once, without a word."""
        process = self.processes.pop(agent)
        process.kill()
        _reap(process)

    def pause(self, agent: int) -> None:
        """Stop an agent where it is."""
        self.paused[agent] = self.processes.pop(agent)
        self.paused[agent].send_signal(signal.SIGSTOP)

    def resume(self, agent: int) -> None:
        """Let an agent go on that was paused."""
        self.processes[agent] = self.paused.pop(agent)
        self._present.pop(agent, None)
        self.processes[agent].send_signal(signal.SIGCONT)

    def sees(self, agent: int, other: int) -> bool:
        """Whether an agent has said last that another is there."""
        return other in self._present.get(agent, [])

    def wait_until_met(self, agents: Sequence[int] | None = None, seconds: float = START_SECONDS) -> None:
        """Until each of these agents, all that run by default, knows that all the others are there.

        Raises:
            CompositeFlowError: one ended, or they did not meet in time.
        """
        expected, until = set(self.processes if agents is None else agents), time.monotonic() + seconds
        while not all(expected - {agent} <= set(self._present.get(agent, [])) for agent in expected):
            for agent in expected:
                if self.processes[agent].poll() is not None:
                    raise CompositeFlowError(f"Agent {agent} ended: {self._last_words(agent)}")
            if time.monotonic() > until:
                raise CompositeFlowError(f"The agents did not meet within {seconds:g} seconds.")
            time.sleep(0.02)

    def observe(self, agent: int, observation: np.ndarray, **about: Any) -> None:
        """Give an agent its observation."""
        told = {"observation": np.asarray(observation, float).tolist(), **about}
        self.bus.publish(f"observe/{agent}", json.dumps(told).encode())

    def estimates(self, step: int, agents: Sequence[int], seconds: float) -> dict[int, dict[str, Any]]:
        """What these agents tell of a step, as far as they do so in time, and when that was received (`received`)."""
        found, until = {}, time.monotonic() + seconds
        while set(agents) - set(found):
            try:
                told = self._told.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if told["step"] == step:
                found[told["agent"]] = told
        return found

    def _note_told(self, told: dict[str, Any]) -> None:
        self._told.put({**told, "received": time.monotonic()})

    def _note_present(self, told: dict[str, Any]) -> None:
        self._present[told["agent"]] = told["present"]

    def _last_words(self, agent: int) -> str:
        process = self.processes[agent]
        lines = process.stderr.read().splitlines() if process.stderr else []
        words = [line.strip(" │") for line in lines if any(letter.isalpha() for letter in line)]
        return " ".join(words[-3:]) or f"exit code {process.returncode}"

    def _stop(self) -> None:
        for agent in list(self.paused):
            self.resume(agent)
        for process in self.processes.values():
            process.terminate()
        until = time.monotonic() + 5.0
        for process in self.processes.values():
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
            _reap(process)


def _reap(process: subprocess.Popen) -> None:
    process.wait()
    if process.stderr:
        process.stderr.close()


def replay(
    team: TeamProcesses, episodes: Episodes, steps: Sequence[int], seconds: float, period: float = 0.0
) -> Iterator[tuple[int, dict[int, dict[str, Any]]]]:
    """Give the agents what they saw at these steps, one step after the other; yields what they infer.

    Args:
        team: of processes that have met.
        episodes: whose observations are replayed, to the agents that are there.
        steps: in rising order.
        seconds: to wait for the estimates of a step at most.
        period: seconds between two steps at least.
    """
    starts = set(episodes.starts.tolist())
    for step in steps:
        begun = time.monotonic()
        before, observations = _row(episodes.actions, max(step - 1, 0)), _row(episodes.observations, step)
        there = [agent for agent in team.processes if episodes.alive is None or _row(episodes.alive, step)[agent]]
        for agent in there:
            about = {"step": int(step), "begins": int(step) in starts, "action": before[agent].tolist()}
            team.observe(agent, observations[agent], **about)
        yield step, team.estimates(step, there, seconds)
        time.sleep(max(0.0, begun + period - time.monotonic()))


def exported_command(folder: str, agent: int, team: str, options: Sequence[str], python: str) -> list[str]:
    """The command that starts one exported agent as a process, in an environment that need not have JAX."""
    return [python, folder, "--name", str(agent), "--team", team, *options]


def agent_command(run: str, agent: int, team: str, options: Sequence[str]) -> list[str]:
    """The command that starts one agent as a process."""
    return [sys.executable, "-m", "composite_flow", "agent", run, "--name", str(agent), "--team", team, *options]


def _row(array: np.ndarray | ShardedArray, step: int) -> np.ndarray:
    return np.asarray(array[step : step + 1])[0]


def free_port() -> int:
    """A port of this machine that nothing listens at."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 0))
        except OSError as error:
            raise InputError(f"This machine has no free port for the bus: {error}.") from None
        return probe.getsockname()[1]
