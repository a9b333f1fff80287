"""From single measurements to a table, and the page that shows it."""

import statistics
from collections.abc import Callable, Iterable

from benchmarks.shapes import WORKLOADS, Shapes

Rows = list[dict]


def summarise(measurements: Rows) -> Rows:
    """One row per workload and library: rates, shares of the products' rate, ratios to the peer."""
    measured = [m | rates(m) for m in measurements]
    workloads = [name for name in WORKLOADS if any(m["workload"] == name for m in measured)]
    return [_row(measured, name, side) for name in workloads for side in sorted({m["side"] for m in measured})]


def rates(measurement: dict) -> dict:
    """Items and operations per second of one turn, and the operations as a share of the products' next to it."""
    shapes, workload = Shapes(), measurement["workload"]
    rate = shapes.items(workload) / measurement["workload_seconds"]
    operations = shapes.passes(workload) * shapes.rows(workload) * shapes.one_pass(workload)
    products = operations / measurement["products_seconds"] / 1e9
    gflops = rate * shapes.operations(workload) / 1e9
    return {"rate": rate, "gflops": gflops, "products": products, "share": gflops / products}


def _row(measured: Rows, workload: str, side: str) -> dict:
    """The row of one library."""
    ours = [m for m in measured if m["workload"] == workload and m["side"] == side]
    peers = [m for m in measured if m["workload"] == workload and m["side"] != side]
    row: dict = {"workload": workload, "side": side, "unit": WORKLOADS[workload]}
    for name in ("rate", "gflops", "products", "share"):
        row[name] = over_rounds(ours, lambda m, name=name: m[name])
    if side == "composite_flow" and peers:
        at = {(m["round"], m["turn"]): m for m in peers}
        row["times_torch"] = over_rounds(ours, lambda m: m["rate"] / at[m["round"], m["turn"]]["rate"])
        row["times_torch_by_shares"] = over_rounds(ours, lambda m: m["share"] / at[m["round"], m["turn"]]["share"])
    return row


def over_rounds(measured: Iterable[dict], value: Callable[[dict], float]) -> dict:
    """Median, lowest and highest over rounds of the median over each round's turns."""
    turns: dict[int, list[float]] = {}
    for measurement in measured:
        turns.setdefault(measurement["round"], []).append(value(measurement))
    rounds = [statistics.median(values) for values in turns.values()]
    return {"median": statistics.median(rounds), "lowest": min(rounds), "highest": max(rounds)}


def table(rows: Rows) -> str:
    """The rows as Markdown."""
    lines = [
        "| workload | library | rate | GFLOP/s | products, GFLOP/s | share of products | times PyTorch | by shares |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        cells = [
            f"{_range(row['rate'], '.4g')} {row['unit']}",
            _range(row["gflops"], ".0f"),
            _range(row["products"], ".0f"),
            _range(row["share"], ".0%"),
            *(_range(row[name], ".2f") if name in row else "" for name in ("times_torch", "times_torch_by_shares")),
        ]
        lines.append(f"| {row['workload']} | {row['side']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _range(values: dict, form: str) -> str:
    return f"{values['median']:{form}} ({values['lowest']:{form}} to {values['highest']:{form}})"


def page(document: dict) -> str:
    """The page for the documentation."""
    machine, shapes = document["machine"], document["shapes"]
    libraries = ", ".join(f"{library['library']} ({library['device']})" for library in document["libraries"])
    rounds, turns, team = document["rounds"], document["turns"], shapes["team"]
    return f"""# Benchmarks

    make benchmark

writes this page and `docs/results/benchmarks.json`, which holds every single measurement. Here on
{machine["processor"]}, {machine["cores"]} cores, {machine["system"]}, Python {machine["python"]}, {libraries}.
The network is the paper's: {shapes["depth"]} hidden layers of {shapes["width"]} units, {shapes["state"]} features,
{shapes["agents"]} agents.

{table(document["summary"])}

Each number is the median, and in brackets the range, over {rounds} rounds ({turns} turns in each; their median).
A round starts one process for each library; the two take turns call by call, so that only neighbours in time are
compared. Both use all cores.

- **training**: {shapes["steps"]} steps of Adam with clipped gradients, batches of {shapes["batch"]} drawn from memory.
- **fusion training**: {team["steps"]} such steps on what agents answer, each from {team["batch"]} joint histories:
  {team["depth"]} hidden layers of {team["width"]} units, {team["agents"]} agents, {team["history"]} history
  columns, {team["state"]} features, all of them numbers. Histories need no gradient, which is not counted.
  **torch.compile** is PyTorch's step compiled, as far as there is a C++ compiler, with its Adam as one
  operation; ours is the same.
- **reconstruction**: one sweep of composite diffusion over {shapes["agents"]} agents for {shapes["teams"]} joint
  histories of {shapes["samples"]} samples each; a reconstruction makes six by default.
- **certification**: all checks of {shapes["certified"]} samples of one joint history, stability decided by bounds where
  they suffice; **exact** computes every eigenvalue. PyTorch has one way: `torch.func.jacrev`, then all eigenvalues.
  Ours goes through active units alone, and once for samples that have settled at one state (here all of them, as most
  samples of a trained network do); operations are counted as if nothing was left out or shared.
- **Jacobians and radii**: dense Jacobians of {shapes["agents"] * shapes["certified"]} pairs and all their eigenvalues,
  against `torch.func.jacrev` and `torch.linalg.eigvals`. **Active units**: the same results from `active_jacobians`,
  which leaves out what no pair of a group needs, on biases that give each layer the share of active units of a
  trained network; its operations are counted as if none was left out. PyTorch's time does not depend on that share.
- **products**: the same library's float32 matrix products with the network's own shapes and the workload's number of
  rows, measured just before. **Share** is the workload's operations per second over theirs; only matrix products count
  as operations (`benchmarks/shapes.py`). It can pass 100% where the machine's speed changes in between.
- **times PyTorch** compares rates turn by turn. **By shares** compares the two shares instead: it corrects for a
  machine whose speed changes within a turn, but hides which library has the faster products.

Where all units are active and no two samples are alike, certification costs both libraries the same matrix products,
{shapes["state"]} tangents or cotangents through the network for each agent and sample, and the lead over PyTorch is
only what PyTorch loses beside its own products. Bounds save the eigenvalues alone, a small part at this width.

The weights are untrained and the data random, which changes no product's size; but how many steps an agent's flow takes
to rest, and how often a bound decides, depend on the weights.
"""
