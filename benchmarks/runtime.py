"""What it takes to infer over a bus: round trips of teams, one agent's work, and a team under faults.

    python -m benchmarks.runtime

Writes docs/results/runtime.json and docs/bus.md; needs .venv-robot (`make .venv-robot/installed`).

Agents are processes on onnxruntime, without JAX, of which two cores carry a few tens; larger teams are simulated, all
members in one process with messages in memory. Weights are drawn, not trained: they cost the same.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.agent_start import start_of
from benchmarks.agent_work import one_agent
from benchmarks.bus_faults import under_faults
from benchmarks.drawn_model import Sizes
from benchmarks.harness import describe_machine, keep
from benchmarks.round_trips import round_trips, simulated

ROOT = Path(__file__).resolve().parent.parent


def page(document: dict) -> str:
    """The page for the documentation."""
    machine, sizes = document["machine"], document["sizes"]
    trips = "\n".join(
        f"| {row['agents']} | {row['how']} | {row['estimates']:,} | {1e3 * row['median']:.3g} ms "
        f"| {1e3 * row['percentile_99']:.3g} ms | {row['bytes']:.0f} | {row['cpu']:.0%} | {row['whole']:.1%} |"
        for row in document.get("trips", [])
    )
    work = "\n".join(
        f"| {row['by']} | {1e6 * row['answer']:.3g} µs | {1e6 * row['hop']:.3g} µs |"
        for row in document.get("work", [])
    )
    faults = document.get("faults")
    return f"""# What a bus costs

    python -m benchmarks.runtime

A state of {sizes["state"]} numbers, networks of width {sizes["width"]}, depth {sizes["depth"]}.
On {machine["processor"]}, {machine["cores"]} cores, {machine["system"]}; other work ran on the same cores.

| agents | as | estimates | median | 99th percentile | bytes sent a step, each | cores in use | heard all |
|---:|---|---:|---:|---:|---:|---:|---:|
{trips}

From the first observation that is given out in a step to an agent's estimate of all answers. Processes are exported
agents on onnxruntime. Simulated: all members in one process, messages in memory, one after the other.

| one agent | an answer, from its observation | a hop |
|---|---:|---:|
{work}

JAX and onnxruntime include all that `Agent` does; NumPy is the bare products of the same networks.

{start_in_words(document["start"]) if "start" in document else ""}
{faults_in_words(faults) if faults else ""}"""


def start_in_words(start: dict) -> str:
    """The paragraph of what starting an exported agent takes."""
    seconds, cpu, most = f"{start['seconds']:.2f} s", f"{start['cpu']:.2f} s", f"{start['megabytes']:.0f} MB"
    return f"""An exported agent is there, with its first estimate, after {seconds} ({cpu} of a core), and takes {most}
at most; median of {start["starts"]} starts, interpreter and imports included.
"""


def faults_in_words(faults: dict) -> str:
    """The paragraph of what a team under faults told."""
    sizes = ", ".join(f"{count:,}" for count in faults["team_sizes"])
    late, late_99, most = (f"{1e3 * faults[name]:.3g} ms" for name in ("late_median", "late_99", "late_most"))
    worst, wrong = f"{faults['difference']:.1g}", faults["wrong"]
    return f"""## Under faults

A team of five, of whom one after the other was killed ({faults["killed"]} times) or stopped ({faults["stopped"]} times)
and came back. Of {faults["estimates"]:,} estimates {wrong} differed by more than 1e-5 from the joint call's of the
participants that they named (at most {worst}); nobody else crashed. Estimates of 1, 2, 3, 4 and 5 members: {sizes}.
After the deadline of 100 ms they came {late} (median), {late_99} (99th percentile) and {most} (most) late; the longest
are of members that were stopped in the middle of a step.
"""


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robot-python", default=str(ROOT / ".venv-robot" / "bin" / "python"))
    parser.add_argument("--processes", type=int, nargs="*", default=[5, 25])
    parser.add_argument("--simulated", type=int, nargs="*", default=[25, 100])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--fault-steps", type=int, default=1000)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "runtime.json", help="JSON file")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "bus.md", help="Markdown file")
    return parser.parse_args()


def main() -> None:
    """Measure, print, save."""
    arguments, sizes = parse_arguments(), Sizes()
    document: dict = {"machine": describe_machine(), "sizes": asdict(sizes), "trips": []}
    document["work"], document["start"] = one_agent(sizes, 500), start_of(sizes, arguments.robot_python)
    keep(document, arguments, page)
    for agents in arguments.processes:
        document["trips"].append(round_trips(agents, arguments.steps, sizes, arguments.robot_python))
        print(f"{agents} processes: done.", file=sys.stderr)
        keep(document, arguments, page)
    for agents in arguments.simulated:
        document["trips"].append(simulated(agents, max(10, arguments.steps // 5), sizes))
        print(f"{agents} simulated: done.", file=sys.stderr)
        keep(document, arguments, page)
    if arguments.faults:
        document["faults"] = under_faults(arguments.fault_steps, arguments.faults, sizes, arguments.robot_python)
    keep(document, arguments, page)
    print(page(document))


if __name__ == "__main__":
    main()
