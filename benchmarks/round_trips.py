"""Seconds from the observations of a step to each agent's estimate: as processes, and simulated in one process."""

import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.drawn_model import Sizes, episodes_of, model_of
from composite_flow.export.folder import export_model
from composite_flow.export.standalone.agent import Agent
from composite_flow.export.standalone.exported import Exported
from composite_flow.runtime.broadcast import Broadcast
from composite_flow.runtime.launcher import TeamProcesses, exported_command, replay
from composite_flow.runtime.member import Member, Settings
from composite_flow.runtime.observation import parse_numbers


def commands_for(folder: Path, agents: int, team: str, python: str, options: list[str]) -> dict[int, list[str]]:
    """One exported agent for each process."""
    return {agent: exported_command(str(folder), agent, team, options, python) for agent in range(agents)}


def round_trips(agents: int, steps: int, sizes: Sizes, python: str) -> dict:
    """Seconds from the first observation of a step to each agent's estimate, as processes on a bus."""
    logged = episodes_of(agents, steps + 10, sizes)
    with tempfile.TemporaryDirectory() as folder:
        export_model(model_of(agents, sizes), Path(folder) / "out")
        commands = commands_for(Path(folder) / "out", agents, "trips", python, ["--deadline", "2"])
        with TeamProcesses("trips", commands) as team:
            team.wait_until_met()
            list(replay(team, logged, range(10), 10.0))  # the first steps find nothing ready
            told, used, begun, seconds = [], cpu_seconds(team), time.perf_counter(), []
            for step in range(10, steps + 10):
                start = time.monotonic()
                (_, found) = next(replay(team, logged, [step], 10.0))
                seconds += [one["received"] - start for one in found.values()]
                told += found.values()
            share = (cpu_seconds(team) - used) / (time.perf_counter() - begun)
    return trip_row("processes", agents, seconds, [one["bytes"] for one in told], share, told)


def cpu_seconds(team: TeamProcesses) -> float:
    """Processor time of all agents so far."""
    ticks = 0
    for process in team.processes.values():
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def simulated(agents: int, steps: int, sizes: Sizes) -> dict:
    """The same with all members in this process, on a bus in memory."""
    logged, model = episodes_of(agents, steps, sizes), model_of(agents, sizes)
    with tempfile.TemporaryDirectory() as folder:
        export_model(model, Path(folder) / "out")
        exported = Exported(Path(folder) / "out")
        team, queue, told = {}, [], []
        for number in range(agents):
            team[number] = simulated_member(exported, number, queue, told)
        for one in team.values():
            for other in team.values():
                if one is not other:
                    one.meet(other.agent.number, other.nonce, 0.0)
        seconds, used = [], time.process_time()
        for step in range(steps):
            seconds += simulated_step(team, queue, told, np.asarray(logged.observations[step]))
        share = (time.process_time() - used) / sum(seconds[:: max(1, agents)])
    return trip_row("simulated", agents, seconds, [one["bytes"] for one in told], min(share, 1.0), told)


def simulated_member(exported: Exported, number: int, queue: list, told: list) -> Member:
    """A member whose messages wait in a queue."""

    def report(agent, size: int) -> dict:
        found = agent.estimate()
        return {
            "participants": np.flatnonzero(found.participants).tolist(),
            "mean": found.mean,
            "at": time.perf_counter(),
        }

    agent, checksum = Agent(exported, number), bytes.fromhex(exported.about["checksum"])
    rule, count = Broadcast(exported.shapes, report), exported.about["layout"]["num_agents"]
    send = lambda data, to: queue.append((number, data))  # noqa: E731
    return Member(agent, checksum, Settings("trips", deadline=1e6), rule, count, send, told.append)


def simulated_step(team: dict[int, Member], queue: list, told: list, observations: np.ndarray) -> list[float]:
    """Seconds until each member's estimate."""
    begun, before = time.perf_counter(), len(told)
    for number, member in team.items():
        member.observe(observations[number].astype("<f4").tobytes(), 0.0, parse_numbers)
    while queue:
        sender, data = queue.pop(0)
        for number, member in team.items():
            if number != sender:
                member.hear(data, 0.0)
    return [one["at"] - begun for one in told[before:]]


def trip_row(how: str, agents: int, seconds: list[float], sent: list[int], share: float, told: list[dict]) -> dict:
    """Median and 99th percentile."""
    ordered = sorted(seconds)
    whole = sum(len(one["participants"]) == agents for one in told) / max(1, len(told))
    times = {"median": statistics.median(ordered), "percentile_99": ordered[int(0.99 * (len(ordered) - 1))]}
    return {
        "how": how,
        "agents": agents,
        "estimates": len(seconds),
        **times,
        "bytes": statistics.mean(sent),
        "cpu": share,
        "whole": whole,
    }
