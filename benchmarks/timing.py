"""The process that times one library: it does what the lines on its standard input ask for, one at a time.

prepare NAME    build the workload, call it and its products once so that all is compiled; answers null
products        seconds of one pass over the products
workload        seconds of one call of the workload
"""

import gc
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping

from benchmarks.shapes import Shapes

Call = Callable[[], None]
"""One call, back only when its result is there."""


def timed(call: Call) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak_bytes() -> int:
    """The most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def serve(
    description: dict, products: Callable[[Shapes, str], Call], workloads: Mapping[str, Callable[[Shapes], Call]]
) -> None:
    """Describe the library, then answer until the input ends."""
    shapes, calls = Shapes(), {}
    _answer(description)
    for line in sys.stdin:
        request, _, name = line.strip().partition(" ")
        if request != "prepare":
            _answer(timed(calls[request]))
            continue
        calls.clear()
        gc.collect()
        calls.update(products=products(shapes, name), workload=workloads[name](shapes))
        for call in calls.values():
            call()
        _answer(None)


def serve_calls(description: dict, workload: Call, found: Callable[[], dict]) -> None:
    """Like `serve` for one workload that is prepared at once; `found` answers what else there is to say."""
    workload()
    _answer(description)
    for line in sys.stdin:
        _answer(found() if line.strip() == "found" else timed(workload))


def _answer(value) -> None:
    print(json.dumps(value), flush=True)
