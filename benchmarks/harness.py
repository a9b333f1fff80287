"""Times every workload in two processes that take turns, and reports medians.

    python -m benchmarks.harness --peer-python .venv-torch/bin/python

A shared machine changes its speed from second to second. So each round starts one process per library, and lets
them take turns call by call, one at work while the other waits: products and workload of the first, products and
workload of the second, and again in the reverse order. Only what was measured next to each other is compared; a
round reports the median of its turns, the table the median and the range over rounds.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks.report import page, summarise, table
from benchmarks.shapes import WORKLOADS, Shapes

MODULES = {"composite_flow": "benchmarks.workloads", "torch": "benchmarks.torch_workloads"}
ROOT = Path(__file__).resolve().parent.parent


class Library:
    """A process that times one library."""

    def __init__(self, command: list[str], side: str):
        """Start it and read what it says about itself."""
        pipe, self.side = subprocess.PIPE, side
        self.process = subprocess.Popen(command, cwd=ROOT, text=True, stdin=pipe, stdout=pipe)
        self.description = self._read()

    def ask(self, request: str):
        """One answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self):
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"The process that times {self.side} ended; its own message stands above.")
        return json.loads(line)

    def close(self) -> None:
        """Let the process end by itself."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def run_round(pythons: dict[str, str], workloads: list[str], turns: int) -> tuple[list[dict], list[dict]]:
    """The measurements of one round, and what the libraries say about themselves."""
    libraries = [Library([python, "-m", MODULES[side]], side) for side, python in pythons.items()]
    try:
        measurements = [one for workload in workloads for one in take_turns(libraries, workload, turns)]
        return measurements, [{"side": library.side, **library.description} for library in libraries]
    finally:
        for library in libraries:
            library.close()


def take_turns(libraries: list[Library], workload: str, turns: int) -> list[dict]:
    """Seconds of products and workload of each library, every second turn in the reverse order."""
    for library in libraries:
        library.ask(f"prepare {workload}")
    measurements = []
    for turn in range(turns):
        for library in libraries if turn % 2 == 0 else reversed(libraries):
            seconds = {f"{request}_seconds": library.ask(request) for request in ("products", "workload")}
            measurements.append({"workload": workload, "side": library.side, "turn": turn, **seconds})
    return measurements


def run_rounds(
    pythons: dict[str, str], workloads: list[str], rounds: int, turns: int
) -> Iterator[tuple[list[dict], list[dict]]]:
    """All measurements so far after each round of new processes; every second one starts with the other library."""
    measurements = []
    for number in range(rounds):
        order = list(pythons.items())
        found, libraries = run_round(dict(order if number % 2 == 0 else reversed(order)), workloads, turns)
        measurements = [*measurements, *({"round": number, **one} for one in found)]
        print(f"Round {number + 1} of {rounds} is done.", file=sys.stderr)
        yield measurements, sorted(libraries, key=lambda library: library["side"])


def check_peer(python: str) -> str:
    """The absolute path of a Python that has PyTorch."""
    # a path stays valid in the processes' folder, but its link is kept: it is what makes the environment
    python = os.path.abspath(python)
    try:
        done = subprocess.run([python, "-c", "import torch"], capture_output=True)
    except OSError as error:
        raise SystemExit(
            f"The peer's Python {python} cannot be run ({error.strerror}); name one that has PyTorch."
        ) from None
    if done.returncode != 0:
        raise SystemExit(
            f"{python} has no PyTorch: install it there with `{python} -m pip install torch==2.13.0`, or leave "
            "the peer out with --without-peer."
        )
    return python


def describe_machine() -> dict:
    """What the numbers depend on."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def save(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def keep(document: dict, arguments: argparse.Namespace, page: Callable[[dict], str]) -> None:
    """Write what is known so far where the command line says, so that an interrupt keeps what is finished."""
    if arguments.out:
        save(arguments.out, json.dumps(document, indent=1) + "\n")
    if arguments.page:
        save(arguments.page, page(document))


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peer = os.environ.get("PEER_PYTHON", ".venv-torch/bin/python")
    parser.add_argument("--peer-python", default=peer, help="a Python that has PyTorch; also PEER_PYTHON (%(default)s)")
    parser.add_argument("--without-peer", action="store_true", help="measure this package alone")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=3, help="calls of each workload in a round")
    parser.add_argument("--workloads", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--out", type=Path, help="JSON file for the measurements and their summary")
    parser.add_argument("--page", type=Path, help="Markdown file for the table; needs the peer and every workload")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.turns < 1:
        raise SystemExit("--rounds and --turns must be at least 1; five rounds give a median worth reporting.")
    return arguments


def main() -> None:
    """Parse, run, print, save."""
    arguments = parse_arguments()
    pythons = {"composite_flow": sys.executable}
    if not arguments.without_peer:
        pythons["torch"] = check_peer(arguments.peer_python)
    rounds = run_rounds(pythons, arguments.workloads, arguments.rounds, arguments.turns)
    for number, (measurements, libraries) in enumerate(rounds, start=1):
        document = {
            "machine": describe_machine(),
            "libraries": libraries,
            "shapes": asdict(Shapes()),
            "rounds": number,
            "turns": arguments.turns,
            "summary": summarise(measurements),
            "measurements": measurements,
        }
        keep(document, arguments, page)
        if number == arguments.rounds:
            print(table(document["summary"]))


if __name__ == "__main__":
    main()
