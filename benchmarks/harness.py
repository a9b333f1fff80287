"""Runs every workload in processes of its own, in turn, and reports medians.

    python -m benchmarks.harness --peer-python .venv-torch/bin/python --out benchmarks/results.json

A shared machine changes its speed from minute to minute, so each round runs every variant once, each in a fresh
process, odd rounds in the reverse order. A share is the median over rounds of a variant's operations per second
over those of the matrix products *of the same round*, the faster library's; a ratio to the peer is formed the
same way. `benchmarks/shapes.py` states what counts as an operation.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.shapes import WORKLOADS, Shapes

MODULES = {"composite_flow": "benchmarks.workloads", "torch": "benchmarks.torch_workloads"}
ROOT = Path(__file__).resolve().parent.parent


def run_variant(python: str, side: str, workload: str, seconds: float) -> dict:
    """One measurement, in a process of its own."""
    command = [python, "-m", MODULES[side], workload, "--seconds", str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{side} {workload} failed:\n{done.stderr[-2000:]}")
    return {"side": side, **json.loads(done.stdout.splitlines()[-1])}


def run_rounds(pythons: dict[str, str], workloads: list[str], rounds: int, seconds: float) -> list[dict]:
    """All measurements; every second round in the reverse order."""
    variants = [(workload, side) for workload in workloads for side in pythons]
    results = []
    for number in range(rounds):
        for workload, side in variants if number % 2 == 0 else reversed(variants):
            result = run_variant(pythons[side], side, workload, seconds)
            results.append({"round": number, **result})
            print(f"round {number + 1}/{rounds}  {side:15s} {workload:15s} {result['rate']:12.1f}", file=sys.stderr)
    return results


def summarise(results: list[dict]) -> list[dict]:
    """One row per workload and side: median rate, spread, share of the products' rate, ratio to the peer."""
    at = {(r["round"], r["side"], r["workload"]): r for r in results}
    rounds = sorted({r["round"] for r in results})
    sides = sorted({r["side"] for r in results})
    products = {n: max(at[n, side, "matmul"]["gflops"] for side in sides) for n in rounds}
    rows = []
    for workload, side in sorted({(r["workload"], r["side"]) for r in results}, key=_table_order):
        runs = [at[n, side, workload] for n in rounds]
        row = {
            "workload": workload,
            "side": side,
            "unit": WORKLOADS[workload],
            "rate": statistics.median(r["rate"] for r in runs),
            "rate_minimum": min(r["rate"] for r in runs),
            "rate_maximum": max(r["rate"] for r in runs),
            "gflops": statistics.median(r["gflops"] for r in runs),
            "share_of_products": statistics.median(r["gflops"] / products[r["round"]] for r in runs),
        }
        if side == "composite_flow" and "torch" in sides:
            row["times_torch"] = statistics.median(r["rate"] / at[r["round"], "torch", workload]["rate"] for r in runs)
        rows.append(row)
    return rows


def _table_order(variant: tuple[str, str]) -> tuple[int, str]:
    return list(WORKLOADS).index(variant[0]), variant[1]


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    lines = [
        "| workload | | median rate | lowest to highest | GFLOP/s | share of products | times PyTorch |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        times = f"{row['times_torch']:.2f}" if "times_torch" in row else ""
        spread = f"{row['rate_minimum']:.4g} to {row['rate_maximum']:.4g}"
        lines.append(
            f"| {row['workload']} | {row['side']} | {row['rate']:.4g} {row['unit']} | {spread} "
            f"| {row['gflops']:.0f} | {row['share_of_products']:.0%} | {times} |"
        )
    return "\n".join(lines)


def describe_machine(results: list[dict]) -> dict:
    """What the numbers depend on."""
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "libraries": sorted({r["library"] for r in results}),
        "devices": sorted({r["device"] for r in results}),
    }


def save(path: Path, document: dict) -> None:
    """Write the JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(path.suffix + ".partial")
    partial.write_text(json.dumps(document, indent=2) + "\n")
    partial.replace(path)


def main() -> None:
    """Parse, run, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="a Python that has PyTorch; without it the peer is left out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="time spent on each measurement")
    parser.add_argument("--workloads", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results.json")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        raise SystemExit("--rounds must be at least 1; five or more give a median worth reporting.")
    pythons = {"composite_flow": sys.executable}
    if arguments.peer_python:
        # a path stays valid in the processes' folder, but its link is kept: it is what makes the environment
        pythons["torch"] = os.path.abspath(arguments.peer_python)
    workloads = ["matmul", *(w for w in arguments.workloads if w != "matmul")]
    results = run_rounds(pythons, workloads, arguments.rounds, arguments.seconds)
    rows = summarise(results)
    print(table(rows))
    save(arguments.out, {
        "machine": describe_machine(results), "shapes": asdict(Shapes()), "rounds": arguments.rounds,
        "summary": rows, "measurements": results,
    })  # fmt: skip


if __name__ == "__main__":
    main()
