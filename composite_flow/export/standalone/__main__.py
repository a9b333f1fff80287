"""Run an exported agent on a bus: python FOLDER --name 3 --team T. Topics are those of `composite-flow agent`."""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

try:
    from agent import Agent, Estimate  # type: ignore # in an exported folder, it lies beside this file
except ImportError:
    from composite_flow.export.standalone.agent import Agent, Estimate
from composite_flow.errors import CompositeFlowError, InputError
from composite_flow.export.standalone.exported import Exported
from composite_flow.runtime.broadcast import Broadcast
from composite_flow.runtime.bus import LEASE_SECONDS, bus_of
from composite_flow.runtime.loss import Loss
from composite_flow.runtime.member import Rule, Settings
from composite_flow.runtime.process import AgentProcess, run_until_stopped
from composite_flow.runtime.ring import Ring
from composite_flow.runtime.sent import Sent
from composite_flow.runtime.tree import Tree


def tell(agent: Any, found: Estimate, size: int, level: float) -> dict[str, Any]:
    """What is told of an estimate of a team of this size, as `composite-flow agent` does."""
    told: dict[str, Any] = {"participants": np.flatnonzero(found.participants).tolist()}
    told["mean"] = dict(zip(agent.state_names, found.mean.tolist(), strict=True))
    told["deviation"] = dict(zip(agent.state_names, np.sqrt(found.variance).tolist(), strict=True))
    told["uncertainty"] = found.uncertainty
    if found.verdict is not None:
        told["verdict"] = found.verdict
    bounds = agent.intervals(found, level, size)
    return told if bounds is None else {**told, "level": level, "intervals": bounds}


def rule_of(exported: Exported, asked: argparse.Namespace) -> Rule:
    """The rule by which the team infers."""

    def report(agent: Any, size: int) -> dict[str, Any]:
        found = agent.estimate(robust=asked.robust)
        left_out = {"left_out": np.flatnonzero(found.left_out).tolist()} if asked.robust else {}
        return {**tell(agent, found, size, asked.level), **left_out}

    def report_sum(agent: Any, total: Sent, whose: np.ndarray, size: int) -> dict[str, Any]:
        return tell(agent, agent.estimate_of(total, whose), size, asked.level)

    def report_ends(agent: Any, ends: np.ndarray) -> dict[str, Any]:
        state, share = agent.likeliest(ends)
        return {"mean": dict(zip(agent.state_names, state.tolist(), strict=True)), "share": share}

    count, size = exported.about["layout"]["num_agents"], len(exported.about["state_names"])
    if asked.rule == "ring":
        return Ring(count, (asked.samples, size), asked.sweeps, asked.team_seed, report_ends)
    if not exported.shapes:
        raise InputError("This folder's model learned no fusion, by which its agents could infer together.")
    if asked.rule == "broadcast":
        return Broadcast(exported.shapes, report)
    return Tree(count, exported.sums_shape, lambda agent: agent.whole_answer(), report_sum)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the agent's name, or its number")
    parser.add_argument("--team", required=True, help="name of the team")
    parser.add_argument("--listen", action="append", default=[], help="endpoint to listen at")
    parser.add_argument("--connect", action="append", default=[], help="endpoint to connect to")
    parser.add_argument("--through", action="append", default=[], help="endpoint of a router")
    parser.add_argument(
        "--rule", choices=("broadcast", "tree", "ring"), default="broadcast", help="how the team infers"
    )
    parser.add_argument("--robust", action="store_true", help="leave out those who cannot be relied on")
    parser.add_argument("--deadline", type=float, default=0.1, help="seconds after an observation")
    parser.add_argument("--lease", type=float, default=LEASE_SECONDS, help="seconds of silence until a member is gone")
    parser.add_argument("--bits", type=int, choices=(32, 16, 8), default=32, help="of a number in messages")
    parser.add_argument("--message-bytes", type=int, help="most bytes of a message")
    parser.add_argument("--key", type=Path, help="file with the team's secret")
    parser.add_argument("--max-age", type=int, default=0, help="steps for which an answer counts after its own")
    parser.add_argument("--level", type=float, default=0.9, help="of intervals")
    parser.add_argument("--lose", type=float, default=0.0, help="for tests: share of messages that are lost")
    parser.add_argument(
        "--delay", type=float, default=0.0, help="for tests: seconds by which messages are late at most"
    )
    parser.add_argument("--samples", type=int, default=4, help="of composite diffusion, round a ring")
    parser.add_argument("--sweeps", type=int, default=6, help="passes through the agents, round a ring")
    parser.add_argument("--team-seed", type=int, default=0, help="of the noise round a ring, and of what tests lose")
    return parser.parse_args(arguments)


def main() -> int:
    """Run until interrupted or terminated."""
    asked = parse()
    try:
        exported = Exported(Path(__file__).parent)
        agent = Agent(exported, asked.name, max_age=asked.max_age)
        key = asked.key.read_bytes().strip() if asked.key else None
        settings = Settings(asked.team, asked.deadline, asked.bits, asked.message_bytes, key)
        rule = rule_of(exported, asked)
        agent.observe(np.zeros(agent.layout["observation_size"]))
        rule.rehearse(agent)
        agent.reset()
        checksum, count = bytes.fromhex(exported.about["checksum"]), agent.layout["num_agents"]
        loss = Loss(asked.lose, asked.delay, asked.team_seed)
        with bus_of(asked.team, count, asked.listen, asked.connect, asked.through, asked.lease) as bus:
            run_until_stopped(AgentProcess(bus, agent, checksum, settings, rule, count, loss))
    except CompositeFlowError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
