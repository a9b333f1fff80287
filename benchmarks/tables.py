"""How long a large table takes to become episodes, and how much memory: `python -m benchmarks.tables`.

Rows of ten agents with 20 columns of numbers, as CSV and as Parquet, streamed into shards; beside it the time that
pyarrow takes to read the same CSV file on one thread. Each is measured in a process of its own.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

AGENTS, STEPS, BLOCK = 10, 100, 1_000_000


def main() -> None:
    """Write the tables, where they are not there, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--folder", type=Path, default=Path("tables"))
    parser.add_argument("--only", choices=("read", "csv", "parquet"))
    chosen = parser.parse_args()
    paths = {kind: chosen.folder / f"log-{chosen.rows}.{kind}" for kind in ("csv", "parquet")}
    if chosen.only:
        _measured(chosen.only, paths)
        return
    chosen.folder.mkdir(parents=True, exist_ok=True)
    if not all(path.exists() for path in paths.values()):
        _write(chosen.rows, paths)
    for kind, path in paths.items():
        print(f"{kind}: {path.stat().st_size / 1e9:.2f} GB", flush=True)
    for only in ("read", "csv", "parquet"):
        arguments = [f"--rows={chosen.rows}", f"--folder={chosen.folder}", f"--only={only}"]
        subprocess.run([sys.executable, "-m", "benchmarks.tables", *arguments], check=True)


def _measured(only: str, paths: dict[str, Path]) -> None:
    started = time.perf_counter()
    _read(paths["csv"]) if only == "read" else _import(paths[only])
    seconds, peak = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    what = {"read": "pyarrow reads the CSV on one thread"}.get(only, f"episodes from {only}")
    print(f"{what}: {seconds:.1f} s, at most {peak:.2f} GB of memory", flush=True)


def _read(path: Path) -> None:
    from pyarrow import csv

    for _ in csv.open_csv(path, csv.ReadOptions(use_threads=False, block_size=2**24)):
        pass


def _import(path: Path) -> None:
    import composite_flow as cf

    names = [f"x{place}" for place in range(20)]
    out = path.with_suffix(".episodes")
    columns = {"episode": "episode", "step": "step", "agent": "agent"}
    found = cf.Episodes.from_table(
        path, **columns, observation=names[:16], state=names[16:], folder=out, overwrite=True
    )
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e9
    print(f"{found.num_episodes} episodes of {found.num_steps} steps, {size:.2f} GB")


def _write(rows: int, paths: dict[str, Path]) -> None:
    """Rows of episodes of 100 steps of ten agents; observations differ, states are the same within a step."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv, parquet

    random, parquet_file, csv_file = np.random.default_rng(0), None, None
    for first in range(0, rows, BLOCK):
        number = np.arange(first, min(first + BLOCK, rows))
        step = number // AGENTS
        states = random.normal(size=(step[-1] - step[0] + 1, 4)).round(6)[step - step[0]]
        columns = {"episode": step // STEPS, "step": step % STEPS, "agent": number % AGENTS}
        columns |= {f"x{place}": random.normal(size=len(number)).round(6) for place in range(16)}
        table = pa.table(columns | {f"x{16 + place}": states[:, place] for place in range(4)})
        csv_file = csv_file or csv.CSVWriter(paths["csv"], table.schema)
        parquet_file = parquet_file or parquet.ParquetWriter(paths["parquet"], table.schema)
        csv_file.write_table(table)
        parquet_file.write_table(table)
    for file in (csv_file, parquet_file):
        if file is not None:
            file.close()


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
