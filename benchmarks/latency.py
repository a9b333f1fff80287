"""How long a team waits for its estimate: by composite diffusion and by fusion, alone and in batches, by width.

    python -m benchmarks.latency --out docs/results/latency.json --page docs/latency.md

Estimates and the bare matrix products that they need, the same numbers of rows, agents and sweeps and nothing else, are
two processes that take turns, alone ten calls in a row each: a team that infers at every step finds its weights in the
processor's memory, but where another program has just filled it. What a call takes beyond its neighbour's products is
the share spent outside of them. The sizes are those of SMAX's five against five with histories of five steps.
"""

import argparse
import itertools
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.harness import Library, describe_machine, keep
from benchmarks.timing import Call, serve_calls

ESTIMATES = ("composite", "fusion")
WIDTHS = (256, 1024, 4096)
BATCHES = (1, 1024)
IN_A_ROW = 10


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


def serve_one(by: str, kind: str, width: int, batch: int, sizes: Sizes) -> None:
    """The process that times one kind of call, "estimate" or "products"."""
    prepare = {"composite": _composite, "fusion": _fusion}[by]
    serve_calls({"by": by, "kind": kind, "width": width, "batch": batch}, prepare(kind, width, batch, sizes), dict)


def _composite(kind: str, width: int, batch: int, sizes: Sizes) -> Call:
    """One sample of each joint history, without checks."""
    import jax

    from composite_flow.composite.reconstruct import reconstruct_batch
    from composite_flow.network import Network

    network = Network(sizes.history, sizes.state, width, sizes.depth, key=jax.random.key(0))
    histories = jax.random.uniform(jax.random.key(1), (batch, sizes.agents, sizes.history))
    if kind == "products":
        run = partial(_composite_products(sizes), network, histories)
    else:
        options = {"num_samples": sizes.samples, "num_sweeps": sizes.sweeps, "batch_size": batch}
        run = partial(reconstruct_batch, network, histories, key=jax.random.key(2), **options)
    return lambda: jax.block_until_ready(run())


def _composite_products(sizes: Sizes):
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


def _fusion(kind: str, width: int, batch: int, sizes: Sizes) -> Call:
    """What a team's program calls: from NumPy's histories to NumPy's mean in the state's own units."""
    import jax
    import numpy as np

    model = _fusion_model(width, sizes)
    generator = np.random.default_rng(0)
    histories = generator.random((batch, sizes.agents, sizes.history), dtype=np.float32)
    histories[..., -sizes.agents :] = np.eye(sizes.agents)
    if kind == "products":
        rows = jax.numpy.asarray(histories.reshape(-1, sizes.history))
        run = partial(_fusion_products(), model.answers, rows)
        return lambda: jax.block_until_ready(run())
    if batch == 1:
        return lambda: np.asarray(model.fuse(histories[0]).mean)
    return lambda: np.asarray(model.fuse_batch(histories).mean)


def _fusion_model(width: int, sizes: Sizes):
    """Untrained; every feature is a number, for which answers hold most."""
    import jax
    import jax.numpy as jnp

    from composite_flow.data.scaling import Scaling
    from composite_flow.denoiser import NoDenoiser
    from composite_flow.fusion.answers import Prior
    from composite_flow.fusion.features import FeatureTypes
    from composite_flow.fusion.learned import LearnedFusion
    from composite_flow.fusion.network import AnswerNetwork
    from composite_flow.history import HistoryLayout
    from composite_flow.model import Model

    layout = HistoryLayout(length=5, observation_size=87, num_actions=10, num_agents=sizes.agents)
    prior = Prior(jnp.full(sizes.state, 0.5), jnp.full(sizes.state, 12.0), FeatureTypes((), (), sizes.state))
    limits = jnp.zeros(sizes.history), jnp.ones(sizes.history)
    usual = jnp.full((sizes.agents, sizes.history), 0.5)
    answers = AnswerNetwork(usual, limits, prior, width, sizes.depth, key=jax.random.key(0))
    scaling = Scaling(jnp.zeros(sizes.state), jnp.full(sizes.state, 2.0))
    names = tuple(f"feature {number}" for number in range(sizes.state))
    return Model(NoDenoiser(sizes.state), layout, scaling, None, (), names, {}, LearnedFusion(answers))


def _fusion_products():
    """The network's own products, once for each agent."""
    import equinox as eqx

    @eqx.filter_jit
    def products(answers, histories):
        x = (histories @ answers.history_weights)[:, : answers.width]
        for weights in answers.hidden_weights:
            x = x @ weights
        return x @ answers.evidence_weights, x @ answers.weight_weights, x @ answers.precision_weights

    return products


def measure(by: str, width: int, batch: int, sizes: Sizes, seconds: float, most_calls: int) -> dict:
    """The row of one width and batch: both kinds of call in turn, until the time or the calls are used up."""
    given = ["--samples", str(sizes.samples), "--sweeps", str(sizes.sweeps)]
    command = [sys.executable, "-m", "benchmarks.latency", *given, "--serve"]
    kinds = {
        kind: Library([*command, by, kind, str(width), str(batch)], f"{kind} by {by} at width {width}")
        for kind in ("estimate", "products")
    }
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    stop, in_a_row = time.monotonic() + seconds, IN_A_ROW if batch == 1 else 1
    try:
        while len(found["products"]) < 2 or (len(found["products"]) < most_calls and time.monotonic() < stop):
            for kind, process in kinds.items():
                found[kind] += [process.ask("workload") for _ in range(in_a_row)]
    finally:
        for process in kinds.values():
            process.close()
    about = {"by": by, "width": width, "batch": batch, "calls": len(found["products"])}
    return {**about, **summarise(found), "seconds": found}


def summarise(found: dict[str, list[float]]) -> dict:
    """Median and 99th percentile (the slowest of fewer than a hundred calls), and the median share outside products."""
    ordered = sorted(found["estimate"])
    pairs = zip(found["estimate"], found["products"], strict=True)
    return {
        "median": statistics.median(ordered),
        "percentile_99": ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))],
        "outside_products": statistics.median(1 - products / whole for whole, products in pairs),
    }


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    lines = [
        "| by | width | joint histories at once | calls | median | 99th percentile | per joint history "
        "| bare products | outside products |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        products = statistics.median(row["seconds"]["products"])
        times = (row["median"], row["percentile_99"], row["median"] / row["batch"], products)
        lines.append(
            f"| {row['by']} | {row['width']:,} | {row['batch']:,} | {row['calls']} "
            f"| {' | '.join(map(duration, times))} | {row['outside_products']:.0%} |"
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

{sizes["agents"]} agents, a state of {sizes["state"]} features, histories of {sizes["history"]} columns. On
{machine["processor"]}, {machine["cores"]} cores, {machine["system"]}.

{table(document["rows"])}

- **composite**: composite diffusion of {sizes["sweeps"]} sweeps, samples: {sizes["samples"]}, without checks.
- **fusion**: all that `model.fuse` does (`model.fuse_batch` where there are many), from the histories in NumPy to the
  mean in NumPy and in the state's own units. Every feature is a number, for which answers hold most.
- Alone, ten calls follow each other, then ten of the bare products; many at once take turns call by call.
- **99th percentile**: of fewer than a hundred calls, the slowest.
- **bare products**: the median of the matrix products of the same sizes and nothing else, timed just after each call.
  It tells how fast the machine was, which others may use as well.
- **outside products**: share of a call beyond them; median. Alone, each product has one row and is bound by reading
  the weights; a negative share is noise.
"""


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--by", nargs="+", choices=ESTIMATES, default=list(ESTIMATES))
    parser.add_argument("--widths", type=int, nargs="+", default=list(WIDTHS))
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--samples", type=int, default=Sizes.samples)
    parser.add_argument("--sweeps", type=int, default=Sizes.sweeps)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each width and batch, at least two calls")
    parser.add_argument("--calls", type=int, default=200, help="of each kind, at most")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--page", type=Path, help="Markdown file")
    parser.add_argument("--serve", nargs=4, metavar=("BY", "KIND", "WIDTH", "BATCH"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Parse, run, print, save."""
    arguments = parse_arguments()
    sizes, rows = Sizes(samples=arguments.samples, sweeps=arguments.sweeps), []
    if arguments.serve:
        by, kind, width, batch = arguments.serve
        return serve_one(by, kind, int(width), int(batch), sizes)
    for by, width, batch in itertools.product(arguments.by, arguments.widths, arguments.batches):
        rows.append(measure(by, width, batch, sizes, arguments.seconds, arguments.calls))
        print(f"By {by}, width {width}, {batch} at once: done.", file=sys.stderr)
        document = {"machine": describe_machine(), "sizes": asdict(sizes), "rows": rows}
        keep(document, arguments, page)
    print(table(rows))


if __name__ == "__main__":
    main()
