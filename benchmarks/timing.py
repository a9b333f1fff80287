"""Timing one workload in its own process, and the line of JSON that it reports."""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping

from benchmarks.shapes import WORKLOADS, Shapes

Call = Callable[[], None]
"""One call of a workload, back only when its result is there."""


def time_calls(call: Call, seconds: float) -> list[float]:
    """Seconds of each call, repeated for about `seconds`, after one call that compiles and warms the caches."""
    call()
    durations: list[float] = []
    while sum(durations) < seconds or not durations:
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return durations


def main(library: str, device: str, workloads: Mapping[str, Callable[[Shapes], Call]]) -> None:
    """Run the workload named on the command line and print its median rate as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=sorted(WORKLOADS))
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    shapes = Shapes()
    durations = time_calls(workloads[arguments.workload](shapes), arguments.seconds)
    rate = shapes.items(arguments.workload) / statistics.median(durations)
    result = {
        "workload": arguments.workload,
        "library": library,
        "device": device,
        "calls": len(durations),
        "rate": rate,
        "gflops": rate * shapes.operations(arguments.workload) / 1e9,
    }
    print(json.dumps(result))
