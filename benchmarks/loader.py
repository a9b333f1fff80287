"""Training on shards against training on the same data in memory: samples per second, and the process's peak memory.

    python -m benchmarks.loader --out docs/results/loader.json --page docs/loader.md

The data have the sizes of SMAX's five against five, and histories of ten steps; half of what agents observe is zero, as
where they see nobody. They are written once, by `collect_to`. Two processes then take turns, one with all data in
memory, one that reads a random share of them, trains on it for a few steps and reads the next meanwhile. Timed is what
comes after the first share, all exchanges of shares included.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.harness import Library, describe_machine, keep
from benchmarks.timing import peak_bytes, serve_calls

SIDES = ("memory", "shards")


@dataclass(frozen=True)
class Sizes:
    """What is trained, on how much."""

    samples: int = 500_000
    """Time steps of the team."""
    history: int = 10
    """H."""
    width: int = 512
    """Units of a hidden layer; six of them."""
    batch: int = 512
    """Pairs per step."""
    share_steps: int = 100
    """Steps on a share; 2,000 by default in training, on shares that are as much larger."""
    shares: int = 3
    """Shares in a run, the first of which is not timed."""
    share_gigabytes: float = 0.05
    """Size of a share; 1 by default in training."""

    @property
    def timed_samples(self) -> int:
        """Pairs that are learned from while the clock runs."""
        return (self.shares - 1) * self.share_steps * self.batch

    @property
    def bytes_per_sample(self) -> float:
        """What is read for a pair that is learned from."""
        return 1e9 * self.share_gigabytes / (self.share_steps * self.batch)


def write(folder: Path, samples: int) -> None:
    """Synthetic episodes of a hundred steps, in shards."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from composite_flow.data import collect_to
    from composite_flow.problems import Problem

    class Noise(Problem):
        """A world without rules, in SMAX's sizes."""

        num_agents: int = eqx.field(static=True, default=5)
        num_actions: int = eqx.field(static=True, default=10)
        observation_size: int = eqx.field(static=True, default=127)
        state_size: int = eqx.field(static=True, default=120)
        num_steps: int = eqx.field(static=True, default=100)

        @property
        def state_names(self):
            return tuple(f"feature {index}" for index in range(self.state_size))

        @property
        def description(self):
            return {"kind": "noise"}

        def reset(self, key):
            return jax.random.uniform(key, (self.state_size,))

        def step(self, key, world, actions):
            return jax.random.uniform(key, (self.state_size,)), jnp.float32(0.0), jnp.array(False)

        def observe(self, key, world):
            values = jax.random.uniform(key, (self.num_agents, self.observation_size), minval=-1.0)
            return jnp.maximum(values, 0.0)

        def state(self, world):
            return world

        def available(self, world):
            return jnp.ones((self.num_agents, self.num_actions), bool)

    collect_to(folder, Noise(), num_samples=samples, key=jax.random.key(0), in_memory=False)


def serve_side(side: str, folder: Path, sizes: Sizes) -> None:
    """The process of one side: answers `found` with the seconds of a run and the peak memory so far."""
    import jax

    from composite_flow.data import Episodes, HistoryDataset
    from composite_flow.training.fit import TrainingConfig, fit

    dataset = HistoryDataset(Episodes.load(folder, in_memory=side == "memory"), sizes.history)
    config = TrainingConfig(
        width=sizes.width,
        batch=sizes.batch,
        steps=sizes.shares * sizes.share_steps,
        record_every=sizes.share_steps,
        evaluate_every=sizes.share_steps,
        resident_gigabytes=sizes.share_gigabytes,
    )

    def warm_up():
        fit(dataset, None, replace(config, steps=2, record_every=1, evaluate_every=1), key=jax.random.key(0))

    def found():
        seconds = [point["seconds"] for point in fit(dataset, None, config, key=jax.random.key(0)).curves]
        return {"seconds": seconds[-1] - seconds[0], "peak_bytes": peak_bytes()}

    serve_calls({"side": side}, warm_up, found)


def measure(folder: Path, sizes: Sizes, rounds: int) -> Iterator[dict]:
    """What is known after each round of both sides, every second one in the reverse order."""
    command = [sys.executable, "-m", "benchmarks.loader", "--sizes", json.dumps(asdict(sizes)), "--serve"]
    libraries = [Library([*command, side, str(folder)], side) for side in SIDES]
    runs: dict[str, list[dict]] = {side: [] for side in SIDES}
    try:
        for number in range(rounds):
            for library in libraries if number % 2 == 0 else reversed(libraries):
                runs[library.side].append(library.ask("found"))
            print(f"Round {number + 1} of {rounds} is done.", file=sys.stderr)
            yield summary(folder, sizes, runs)
    finally:
        for library in libraries:
            library.close()


def summary(folder: Path, sizes: Sizes, runs: dict[str, list[dict]]) -> dict:
    """Medians over rounds; the two runs of a round are compared with each other."""
    rates = {side: [sizes.timed_samples / run["seconds"] for run in runs[side]] for side in SIDES}
    ratios = [shards / memory for memory, shards in zip(rates["memory"], rates["shards"], strict=True)]
    return {
        "samples_per_second": {side: statistics.median(rates[side]) for side in SIDES},
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "peak_bytes": {side: max(run["peak_bytes"] for run in runs[side]) for side in SIDES},
        "data_bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "runs": runs,
    }


def table(found: dict) -> str:
    """The two sides as Markdown."""
    lines = ["| data | samples/s | peak memory |", "|---|---:|---:|"]
    for side in SIDES:
        memory = found["peak_bytes"][side] / 2**30
        lines.append(f"| {side} | {found['samples_per_second'][side]:.4g} | {memory:.2f} GiB |")
    return "\n".join(lines)


def page(document: dict) -> str:
    """The page for the documentation."""
    sizes, found, machine = Sizes(**document["sizes"]), document["found"], document["machine"]
    low, high = min(found["ratios"]), max(found["ratios"])
    return f"""# Training from shards

    python -m benchmarks.loader --out docs/results/loader.json --page docs/loader.md

Training reads its data from shards at **{found["ratio"]:.0%}** of the speed on data in memory ({low:.0%} to {high:.0%}
over {document["rounds"]} rounds). On {machine["processor"]}, {machine["cores"]} cores, {machine["system"]}.

{table(found)}

{sizes.samples:,} time steps of five agents in SMAX's sizes, {found["data_bytes"] / 2**30:.2f} GiB in files; histories
of {sizes.history} steps, six hidden layers of {sizes.width} units, batches of {sizes.batch}. A share of
{sizes.share_gigabytes:g} GB serves {sizes.share_steps} steps, so that {sizes.bytes_per_sample / 1e3:.1f} kB are read
for each pair that is learned from, as with training's own defaults. Reading takes time of the same cores that
train, and none of a GPU's. Timed are {sizes.shares - 1} shares after the first, with all exchanges.
"""


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=Sizes.samples)
    parser.add_argument("--width", type=int, default=Sizes.width)
    parser.add_argument("--data", type=Path, help="folder for the data, kept; a temporary one where not given")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--page", type=Path, help="Markdown file")
    parser.add_argument("--sizes", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--serve", nargs=2, metavar=("SIDE", "FOLDER"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Parse, run, print, save."""
    arguments = parse_arguments()
    if arguments.serve:
        side, folder = arguments.serve
        return serve_side(side, Path(folder), Sizes(**arguments.sizes))
    sizes = Sizes(samples=arguments.samples, width=arguments.width)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.data or Path(temporary) / "data"
        if not folder.exists():
            write(folder, sizes.samples)
        for number, found in enumerate(measure(folder, sizes, arguments.rounds), start=1):
            document = {"machine": describe_machine(), "sizes": asdict(sizes), "rounds": number, "found": found}
            keep(document, arguments, page)
            print(f"{table(found)}\n\nRatio {found['ratio']:.3f}", flush=True)


if __name__ == "__main__":
    main()
