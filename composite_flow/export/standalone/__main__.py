"""Run an exported agent on a bus: python FOLDER --name 3 --team T. Topics are those of `composite-flow agent`."""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

try:
    from agent import Agent  # type: ignore # in an exported folder, it lies beside this file
except ImportError:
    from composite_flow.export.standalone.agent import Agent
from composite_flow.errors import CompositeFlowError, InputError
from composite_flow.export.standalone.estimate import Estimate, likeliest, limits
from composite_flow.export.standalone.exported import Exported
from composite_flow.export.standalone.over_time import lacking_filter
from composite_flow.runtime.broadcast import Broadcast
from composite_flow.runtime.bus import LEASE_SECONDS, bus_of
from composite_flow.runtime.inference import RULES, Inference
from composite_flow.runtime.loss import Loss
from composite_flow.runtime.member import Rule, Settings
from composite_flow.runtime.process import AgentProcess, run_until_stopped
from composite_flow.runtime.ring import Ring, Round
from composite_flow.runtime.rounds import CarriedMean, NoisyStates, OneMean
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

    inference = inference_of(asked)
    if inference.over_time and exported.carries is None:
        raise lacking_filter()
    inference.check(exported.carries)
    count = exported.about["layout"]["num_agents"]
    if inference.by in ("ring", "chain"):
        return Ring(count, _round(exported, inference), inference.seed)
    if not exported.shapes:
        raise InputError("This folder's model learned no fusion, by which its agents could infer together.")
    if inference.by == "broadcast":
        return Broadcast(exported.shapes_of(inference.over_time), report)
    return Tree(count, exported.sums_shape, lambda agent: agent.whole_answer(), report_sum)


def inference_of(asked: argparse.Namespace) -> Inference:
    """How the team infers."""
    beside = asked.max_age, asked.level, asked.robust, asked.samples, asked.sweeps, asked.team_seed, asked.over_time
    return Inference(asked.rule, *beside)


def _round(exported: Exported, inference: Inference) -> Round:
    """What goes round a ring."""
    about, size = exported.about, len(exported.about["state_names"])
    low, unit = limits(about)

    def named(state: np.ndarray) -> dict[str, float]:
        return dict(zip(about["state_names"], state.tolist(), strict=True))

    def report_ends(agent: Any, ends: np.ndarray) -> dict[str, Any]:
        state, share = likeliest(about, ends)
        return {"mean": named(state), "share": share}

    def hop(agent: Any, y: np.ndarray, first: bool) -> np.ndarray:
        return agent.hop(y, first)

    if inference.over_time:
        return CarriedMean(size, hop, lambda agent: {"mean": named(agent.estimate().mean)})
    if inference.by == "ring":
        shape = inference.num_samples, size
        return NoisyStates(shape, inference.num_sweeps, inference.seed, hop, report_ends)
    if about.get("chain") is None:
        raise InputError("This folder's model learned no chain, whose message its agents could hand on.")
    start = np.asarray(about["chain"]["start"], np.float32)
    return OneMean(start, hop, lambda agent, mean: {"mean": named(low + unit * mean)})


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the agent's name, or its number")
    parser.add_argument("--team", required=True, help="name of the team")
    parser.add_argument("--listen", action="append", default=[], help="endpoint to listen at")
    parser.add_argument("--connect", action="append", default=[], help="endpoint to connect to")
    parser.add_argument("--through", action="append", default=[], help="endpoint of a router")
    parser.add_argument("--rule", choices=RULES, default="broadcast", help="how the team infers")
    parser.add_argument("--robust", action="store_true", help="leave out those who cannot be relied on")
    parser.add_argument("--over-time", action="store_true", help="carry what the team knows from step to step")
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
    apart = "for tests: first and last step at which agents of even and of odd numbers hear nothing of each other"
    parser.add_argument("--parted", type=int, nargs=2, metavar=("FIRST", "LAST"), help=apart)
    parser.add_argument("--samples", type=int, default=4, help="of composite diffusion, round a ring")
    parser.add_argument("--sweeps", type=int, default=6, help="passes through the agents, round a ring")
    parser.add_argument("--team-seed", type=int, default=0, help="of the noise round a ring, and of what tests lose")
    return parser.parse_args(arguments)


def main() -> int:
    """Run until interrupted or terminated."""
    asked = parse()
    try:
        exported = Exported(Path(__file__).parent)
        rule, over_time, by_chain = rule_of(exported, asked), asked.over_time, asked.rule == "chain"
        by = "chain" if by_chain else "denoiser"
        agent = Agent(exported, asked.name, max_age=asked.max_age, by=by, over_time=over_time)
        key = asked.key.read_bytes().strip() if asked.key else None
        settings = Settings(asked.team, asked.deadline, asked.bits, asked.message_bytes, key)
        agent.observe(np.zeros(agent.layout["observation_size"]))
        rule.rehearse(agent)
        agent.reset()
        checksum, count = exported.checksum(over_time, by_chain), agent.layout["num_agents"]
        loss = Loss(asked.lose, asked.delay, asked.team_seed, asked.parted)
        with bus_of(asked.team, count, asked.listen, asked.connect, asked.through, asked.lease) as bus:
            run_until_stopped(AgentProcess(bus, agent, checksum, settings, rule, count, loss))
    except CompositeFlowError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
