"""A team of which one after the other is killed or stopped and comes back, and what every estimate was worth."""

import statistics
import tempfile
from pathlib import Path

import numpy as np

import composite_flow as cf
from benchmarks.drawn_model import Sizes, episodes_of, model_of
from benchmarks.round_trips import commands_for
from composite_flow.export.folder import export_model
from composite_flow.runtime.launcher import TeamProcesses, replay


def under_faults(steps: int, faults: int, sizes: Sizes, python: str) -> dict:
    """A team of five under so many faults, spread evenly over so many steps."""
    agents, deadline = 5, 0.1
    logged, model, random = episodes_of(agents, steps, sizes), model_of(agents, sizes), np.random.default_rng(1)
    histories = cf.HistoryDataset(logged, 1).joint(np.arange(steps)).histories
    every, events, found = steps // faults, {"killed": 0, "stopped": 0}, []
    back: dict[int, list[tuple[str, int]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        export_model(model, Path(folder) / "out")
        commands = commands_for(Path(folder) / "out", agents, "faults", python, ["--deadline", str(deadline)])
        with TeamProcesses("faults", commands) as team:
            team.wait_until_met()
            for step in range(steps):
                for what, agent in back.pop(step, []):
                    team.start(agent) if what == "killed" else team.resume(agent)
                if step % every == every // 2 and sum(events.values()) < faults and len(team.processes) > 2:
                    agent = int(random.choice(sorted(team.processes)))
                    what = "killed" if sum(events.values()) % 2 else "stopped"
                    team.kill(agent) if what == "killed" else team.pause(agent)
                    events[what] += 1
                    back.setdefault(step + int(random.integers(1, 2 * every)), []).append((what, agent))
                crashed = [agent for agent, process in team.processes.items() if process.poll() is not None]
                assert not crashed, f"agents {crashed} crashed at step {step}"
                for _, told in replay(team, logged, [step], 3 * deadline, deadline / 2):
                    found += told.values()
    return {**events, **judged(model, np.asarray(histories), found)}


def judged(model: cf.Model, histories: np.ndarray, found: list[dict]) -> dict:
    """Estimates that are not the joint call's of the participants they name, and lateness."""
    found = [told for told in found if told["participants"]]
    teams = np.zeros((len(found), model.layout.num_agents), bool)
    for row, told in zip(teams, found, strict=True):
        row[told["participants"]] = True
    expected = model.fuse_batch(histories[[told["step"] for told in found]], teams).mean
    means = np.asarray([list(told["mean"].values()) for told in found])
    difference = np.abs(means - np.asarray(expected)).max(axis=1)
    late = sorted(told["late"] for told in found)
    lateness = {
        "late_median": statistics.median(late),
        "late_99": late[int(0.99 * (len(late) - 1))],
        "late_most": late[-1],
    }
    sizes = np.bincount(teams.sum(axis=1), minlength=model.layout.num_agents + 1)[1:].tolist()
    return {
        "estimates": len(found),
        "wrong": int((difference > 1e-5).sum()),
        "difference": float(difference.max()),
        "team_sizes": sizes,
        **lateness,
    }
