"""How long a team waits for its estimate: composite reconstruction alone and in batches, by width of the network.

    python -m benchmarks.latency --out docs/results/latency.json --page docs/latency.md

One process per width and batch. In it calls of `reconstruct_batch` and of the bare matrix products that it needs take
turns: the same numbers of rows, agents and sweeps, and nothing else. What a call takes beyond its neighbour's products
is the share spent outside of them. The sizes are those of SMAX's five against five with histories of five steps.
"""

import argparse
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.harness import Library, describe_machine, keep
from benchmarks.timing import serve_calls

WIDTHS = (256, 1024, 4096)
BATCHES = (1, 1024)


@dataclass(frozen=True)
class Sizes:
    """What is reconstructed."""

    agents: int = 5
    history: int = 485
    """Columns of an encoded history: five observations of 87 features, four actions of ten, mask and identity."""
    state: int = 70
    depth: int = 6
    sweeps: int = 6
    samples: int = 1
    """Of each joint history; the default of `reconstruct` is 16, for candidates with their shares."""


def serve_one(kind: str, width: int, batch: int, sizes: Sizes) -> None:
    """The process that times one kind of call, "reconstruction" or "products"."""
    import jax

    from composite_flow.composite.reconstruct import reconstruct_batch
    from composite_flow.network import Network

    network = Network(sizes.history, sizes.state, width, sizes.depth, key=jax.random.key(0))
    histories = jax.random.uniform(jax.random.key(1), (batch, sizes.agents, sizes.history))
    if kind == "products":
        run = partial(_products(sizes), network, histories)
    else:
        options = {"num_samples": sizes.samples, "num_sweeps": sizes.sweeps, "batch_size": batch}
        run = partial(reconstruct_batch, network, histories, key=jax.random.key(2), **options)
    serve_calls({"kind": kind, "width": width, "batch": batch}, lambda: jax.block_until_ready(run()), dict)


def _products(sizes: Sizes):
    """The network's own products: histories once, then the layers for each agent in each sweep."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    @eqx.filter_jit
    def products(network, histories):
        terms = histories.reshape(-1, sizes.history) @ network.history_weights
        y = jnp.zeros((len(histories) * sizes.samples, sizes.state)) + 1e-6 * terms[:1, :1]

        def denoise(_, y):
            for weights in network.state_weights:
                y = y @ weights
            return y

        return jax.lax.fori_loop(0, sizes.agents * sizes.sweeps, denoise, y)

    return products


def measure(width: int, batch: int, sizes: Sizes, seconds: float, most_calls: int) -> dict:
    """The row of one width and batch: both kinds of call in turn, until the time or the calls are used up."""
    given = ["--samples", str(sizes.samples), "--sweeps", str(sizes.sweeps)]
    command = [sys.executable, "-m", "benchmarks.latency", *given, "--serve"]
    kinds = {
        kind: Library([*command, kind, str(width), str(batch)], f"{kind} at width {width}")
        for kind in ("reconstruction", "products")
    }
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    stop = time.monotonic() + seconds
    try:
        while len(found["products"]) < 2 or (len(found["products"]) < most_calls and time.monotonic() < stop):
            for kind, process in kinds.items():
                found[kind].append(process.ask("workload"))
    finally:
        for process in kinds.values():
            process.close()
    return {"width": width, "batch": batch, "calls": len(found["products"]), **summarise(found), "seconds": found}


def summarise(found: dict[str, list[float]]) -> dict:
    """Median and 99th percentile (the slowest of fewer than a hundred calls), and the median share outside products."""
    ordered = sorted(found["reconstruction"])
    pairs = zip(found["reconstruction"], found["products"], strict=True)
    return {
        "median": statistics.median(ordered),
        "percentile_99": ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))],
        "outside_products": statistics.median(1 - products / whole for whole, products in pairs),
    }


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    lines = [
        "| width | joint histories at once | calls | median | 99th percentile | per joint history | outside products |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        times = (row["median"], row["percentile_99"], row["median"] / row["batch"])
        lines.append(
            f"| {row['width']:,} | {row['batch']:,} | {row['calls']} | {' | '.join(map(duration, times))} "
            f"| {row['outside_products']:.0%} |"
        )
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Three digits, in the unit that people would choose."""
    unit, scale = ("s", 1.0) if seconds >= 1.0 else ("ms", 1e3)
    shown = f"{seconds * scale:#.3g}".rstrip(".")
    return f"{shown} {unit}"


def page(document: dict) -> str:
    """The page for the documentation."""
    machine, sizes = document["machine"], document["sizes"]
    return f"""# Waiting for an estimate

    python -m benchmarks.latency --out docs/results/latency.json --page docs/latency.md

Composite reconstruction: {sizes["agents"]} agents, {sizes["sweeps"]} sweeps, samples: {sizes["samples"]}, a state of
{sizes["state"]} features, histories of {sizes["history"]} columns. On {machine["processor"]}, {machine["cores"]} cores,
{machine["system"]}.

{table(document["rows"])}

- **99th percentile**: of fewer than a hundred calls, the slowest.
- **outside products**: share of a call beyond the bare matrix products of the same sizes, timed just after it; median.
  Alone, each product has one row and is bound by reading the weights; a negative share is noise.
"""


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=list(WIDTHS))
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--samples", type=int, default=Sizes.samples)
    parser.add_argument("--sweeps", type=int, default=Sizes.sweeps)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each width and batch, at least two calls")
    parser.add_argument("--calls", type=int, default=200, help="of each kind, at most")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--page", type=Path, help="Markdown file")
    parser.add_argument("--serve", nargs=3, metavar=("KIND", "WIDTH", "BATCH"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Parse, run, print, save."""
    arguments = parse_arguments()
    sizes, rows = Sizes(samples=arguments.samples, sweeps=arguments.sweeps), []
    if arguments.serve:
        kind, width, batch = arguments.serve
        return serve_one(kind, int(width), int(batch), sizes)
    for width in arguments.widths:
        for batch in arguments.batches:
            rows.append(measure(width, batch, sizes, arguments.seconds, arguments.calls))
            print(f"Width {width}, {batch} at once: done.", file=sys.stderr)
            document = {"machine": describe_machine(), "sizes": asdict(sizes), "rows": rows}
            keep(document, arguments, page)
    print(table(rows))


if __name__ == "__main__":
    main()
