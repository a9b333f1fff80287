"""The learned filter over time beside Stone Soup's filters, on targets that sensors with partial views track.

    make tracking

In an environment of its own, .venv-tracking: `python -m benchmarks.tracking --out docs/results/tracking.json --page
docs/tracking.md`. For each seed episodes are simulated, a filter is learned from most of them, and all filters follow
the rest.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import describe_machine, keep
from benchmarks.tracking.learned import Learning, followed, learn
from benchmarks.tracking.report import LEARNED, page, summarise, table
from benchmarks.tracking.rivals import rivals
from benchmarks.tracking.scores import Scores, scores_of
from benchmarks.tracking.world import World, simulate


def measure(world: World, learning: Learning, episodes: int, seed: int) -> tuple[dict[str, Scores], float]:
    """The scores of all filters on new episodes, and the seconds of a core that learning took.

    A sensor that is alone has the mean over the sensors.
    """
    seeds = np.random.SeedSequence(seed).generate_state(2).tolist()
    started = time.process_time()
    model = learn(learning, simulate(world, learning.episodes, seeds[0]), seed)
    spent, test = time.process_time() - started, simulate(world, episodes, seeds[1])
    found = rivals(world, test) | {LEARNED: [followed(model, test)]}
    scores = {name: [scores_of(test, each) for each in several] for name, several in found.items()}
    return {
        name: {score: np.mean([each[score] for each in several], axis=0) for score in several[0]}
        for name, several in scores.items()
    }, spent


def documents(world: World, learning: Learning, episodes: int, seeds: int) -> Iterator[dict[str, Any]]:
    """What is known after each seed."""
    runs, spent = [], []
    for seed in range(seeds):
        scores, seconds = measure(world, learning, episodes, seed)
        runs.append({name: {score: each.tolist() for score, each in of.items()} for name, of in scores.items()})
        spent.append(seconds)
        yield {
            "machine": describe_machine(),
            "world": asdict(world),
            "learning": asdict(learning),
            "episodes": episodes,
            "seeds": seed + 1,
            "training_seconds": spent,
            "summary": summarise(runs),
        }


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=100, help="to judge by, of each seed")
    parser.add_argument("--training-episodes", type=int, default=Learning.episodes)
    parser.add_argument("--steps", type=int, default=Learning.steps, help="of the optimiser")
    parser.add_argument("--width", type=int, default=Learning.width)
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--page", type=Path, help="Markdown file")
    arguments = parser.parse_args()
    if min(arguments.seeds, arguments.episodes, arguments.training_episodes, arguments.steps, arguments.width) < 1:
        raise SystemExit("Numbers of seeds, episodes, steps and units must be at least 1.")
    return arguments


def main() -> None:
    """Parse, run, print, save."""
    arguments = parse_arguments()
    learning = Learning(arguments.training_episodes, steps=arguments.steps, width=arguments.width)
    document: dict[str, Any] = {}
    for document in documents(World(), learning, arguments.episodes, arguments.seeds):
        keep(document, arguments, page)
        print(f"Seed {document['seeds']} of {arguments.seeds} is done.", file=sys.stderr)
    print(table(document["summary"]))


if __name__ == "__main__":
    main()
