"""Matrix-free against dense spectral radii as the state grows: seconds, memory and where one overtakes the other.

    python -m benchmarks.state_size --out docs/results/state_size.json --page docs/state_size.md

For each size two processes take turns call by call, one for each method; a round starts new ones. Both compute the
radius of one state Jacobian of the same network, compiled before. Dense: d tangents, then all eigenvalues. Matrix-free:
Arnoldi with products alone, until the residual is a thousandth of the radius. Memory is what the compiled program
reserves besides the weights; LAPACK's own workspace is not in it. The JSON file also has the growth of the process's
peak, compilation included.

The weights are random, but the last layer has the given rank, as trained Jacobians have numerically: there Arnoldi
needs few products. On an untrained Jacobian, whose eigenvalues are all alike, it takes many more and may leave a
residual.
"""

import argparse
import math
import statistics
import sys
from pathlib import Path

from benchmarks.harness import Library, describe_machine, keep
from benchmarks.timing import peak_bytes, serve_calls

METHODS = ("dense", "matrix_free")
SIZES = (40, 80, 160, 320, 640, 1000, 1400, 2000)


def serve_method(method: str, size: int, width: int, rank: int) -> None:
    """The process that times one method at one size: answers `workload` with seconds, `found` with the rest."""
    import equinox as eqx
    import jax

    from composite_flow.jacobian import state_radius
    from composite_flow.network import Network

    keys = jax.random.split(jax.random.key(0), 5)
    network = Network(30, size, width, key=keys[0])
    output = (
        jax.random.normal(keys[1], (width, rank)) @ jax.random.normal(keys[2], (rank, size)) / (width * rank) ** 0.5
    )
    network = eqx.tree_at(lambda n: n.state_weights[-1], network, output)
    context, y = network.condition(jax.random.uniform(keys[3], (30,))), jax.random.uniform(keys[4], (size,))
    limit = size if method == "dense" else 0

    @eqx.filter_jit
    def radius(network, context, y):
        return state_radius(network, context, y, key=jax.random.key(1), dense_limit=limit)

    jax.block_until_ready(network)
    before = peak_bytes()
    compiled = radius.lower(network, context, y).compile()
    reserved = compiled.compiled.memory_analysis().temp_size_in_bytes

    def found():
        result = compiled(network, context, y)
        sizes = {"program_bytes": reserved, "peak_growth_bytes": peak_bytes() - before}
        return {"radius": float(result.value), "residual": float(result.residual), **sizes}

    serve_calls({"method": method, "size": size}, lambda: jax.block_until_ready(compiled(network, context, y)), found)


def measure(size: int, rounds: int, turns: int, width: int, rank: int) -> dict:
    """The row of one size: medians over all turns of all rounds, and what each method found."""
    seconds: dict[str, list[float]] = {method: [] for method in METHODS}
    found: dict[str, dict] = {}
    for number in range(rounds):
        sides = METHODS if number % 2 == 0 else METHODS[::-1]
        command = [sys.executable, "-m", "benchmarks.state_size", "--width", str(width), "--rank", str(rank), "--serve"]
        libraries = [Library([*command, side, str(size)], side) for side in sides]
        try:
            for turn in range(turns):
                for library in libraries if turn % 2 == 0 else reversed(libraries):
                    seconds[library.side].append(library.ask("workload"))
            found.update({library.side: library.ask("found") for library in libraries})
        finally:
            for library in libraries:
                library.close()
    methods = {method: {"seconds": statistics.median(seconds[method]), **found[method]} for method in METHODS}
    return {"size": size, **methods, "all_seconds": seconds}


def crossover(rows: list[dict]) -> float | None:
    """The size from which on matrix-free is faster at every measured one, interpolated in logarithms; None if never."""
    ratios = [math.log(row["matrix_free"]["seconds"] / row["dense"]["seconds"]) for row in rows]
    slower = [index for index, ratio in enumerate(ratios) if ratio >= 0]
    if not slower:
        return float(rows[0]["size"])
    last = slower[-1]
    if last == len(rows) - 1:
        return None
    low, high = math.log(rows[last]["size"]), math.log(rows[last + 1]["size"])
    return math.exp(low + (high - low) * ratios[last] / (ratios[last] - ratios[last + 1]))


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    lines = [
        "| features | dense | matrix-free | dense / matrix-free | dense, memory | matrix-free, memory | difference |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        dense, free = (row[method] for method in METHODS)
        difference = abs(free["radius"] - dense["radius"]) / dense["radius"]
        lines.append(
            f"| {row['size']} | {1e3 * dense['seconds']:.3g} ms | {1e3 * free['seconds']:.3g} ms "
            f"| {dense['seconds'] / free['seconds']:.2f} | {dense['program_bytes'] / 2**20:.3g} MiB "
            f"| {free['program_bytes'] / 2**20:.3g} MiB | {difference:.1e} |"
        )
    return "\n".join(lines)


def page(document: dict) -> str:
    """The page for the documentation."""
    at = document["crossover"]
    verdict = f"faster from about {at:.0f} features on" if at is not None else "not faster at any of these sizes"
    machine = document["machine"]
    return f"""# Spectral radii of large states

    python -m benchmarks.state_size --out docs/results/state_size.json --page docs/state_size.md

One state Jacobian of a network of width {document["width"]}; matrix-free is **{verdict}**. On {machine["processor"]},
{machine["cores"]} cores, {machine["system"]}; medians over {document["rounds"]} rounds of {document["turns"]} turns.

{table(document["rows"])}

- **dense**: as many tangents as features, then all eigenvalues.
- **matrix-free**: `arnoldi_radius`, products alone, stopped at a residual of a thousandth of the radius.
- **memory**: what the compiled program reserves besides the weights; LAPACK's own workspace is not in it.
- **difference**: of the two radii, relative to the dense one.

The weights are random with a last layer of rank {document["rank"]}, since trained Jacobians have a low numerical rank.
Where many eigenvalues are alike, the matrix-free method needs more products and reports the residual that it leaves.
"""


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=3, help="calls of each method in a round")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--page", type=Path, help="Markdown file")
    parser.add_argument("--serve", nargs=2, metavar=("METHOD", "SIZE"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Parse, run, print, save."""
    arguments = parse_arguments()
    if arguments.serve:
        method, size = arguments.serve
        return serve_method(method, int(size), arguments.width, arguments.rank)
    rows = []
    for size in sorted(arguments.sizes):
        rows.append(measure(size, arguments.rounds, arguments.turns, arguments.width, arguments.rank))
        print(f"{size} features are done.", file=sys.stderr)
        settings = {name: getattr(arguments, name) for name in ("width", "rank", "rounds", "turns")}
        document = {"machine": describe_machine(), **settings, "crossover": crossover(rows), "rows": rows}
        keep(document, arguments, page)
    print(table(rows))


if __name__ == "__main__":
    main()
