"""Changes the core in one place at a time, and counts how many of these mutants its own tests notice.

    python -m mutants.check --number 300

Each mutant is made in a copy of the tree. It is killed where its module's tests fail, or take four times as long as
usual; it survives where they pass. Results are kept in `docs/results/mutants.jsonl`, which is committed: a run goes on
where another one was interrupted, also on another machine. The exit code is 0 where at least 95% were killed.
"""

import argparse
import hashlib
import json
import os
import queue
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from threading import Lock

from mutants.draw import Mutant, draw, read_equal
from mutants.own_tests import core_modules, own_tests

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "mutants.jsonl"
COPIED = ("composite_flow", "composite_flow_paper", "tests", "pyproject.toml")
ENOUGH = 0.95
NOTHING_COLLECTED = 5  # pytest's exit code
MEMORY = 8 * 2**30  # bytes that tests may use, twice what they need: a mutant may ask for arrays of any size


@dataclass
class Bench:
    """Runs tests in copies of the tree, and remembers how long the unchanged tree takes.

    Attributes:
        root: the tree that is copied.
        folder: holds the copies, and what JAX compiled.
        seconds: how long each group of tests, quick or slow, takes on the unchanged tree.
        running: tests that run now.
    """

    root: Path
    folder: Path
    seconds: dict[tuple[tuple[str, ...], str], float] = field(default_factory=dict)
    running: set[subprocess.Popen] = field(default_factory=set)
    lock: Lock = field(default_factory=Lock)

    def stop(self) -> None:
        """End all tests that run now."""
        for process in list(self.running):
            _end(process)

    def copy(self, name: str) -> Path:
        """A fresh copy of the tree."""
        tree = self.folder / name
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir(parents=True)
        for entry in filter(Path.exists, (self.root / name for name in COPIED)):
            if entry.is_dir():
                shutil.copytree(entry, tree / entry.name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(entry, tree)
        return tree

    def judge(self, tree: Path, mutant: Mutant, tests: tuple[str, ...]) -> str:
        """`killed`, `timeout` or `survived`, by these tests; the quick ones first, as few mutants survive them."""
        for marker in ("not slow", "slow"):
            limit = self._limit(tree, tests, marker)
            with _changed(tree / mutant.module, mutant.source):
                outcome = self._run(tree, tests, marker, limit)
            if outcome != "survived":
                return outcome
        return "survived"

    def _limit(self, tree: Path, tests: tuple[str, ...], marker: str) -> float:
        """Seconds after which tests count as failed: four times what they take on the unchanged tree."""
        with self.lock:
            if (tests, marker) not in self.seconds:
                start = time.monotonic()
                if self._run(tree, tests, marker, limit=3600) != "survived":
                    raise SystemExit(f"{', '.join(tests)} fail without any change; mend them first.")
                self.seconds[tests, marker] = time.monotonic() - start
            return max(60.0, 4 * self.seconds[tests, marker])

    def _run(self, tree: Path, tests: tuple[str, ...], marker: str, limit: float) -> str:
        pytest = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=no", "-p", "no:cacheprovider", "-m", marker, *tests]
        nowhere, own = subprocess.DEVNULL, self._environment(tree)
        process = subprocess.Popen(pytest, cwd=tree, env=own, stdout=nowhere, stderr=nowhere, start_new_session=True)
        self.running.add(process)
        if hasattr(resource, "prlimit"):  # on Linux
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (MEMORY, MEMORY))
        try:
            return "survived" if process.wait(limit) in (0, NOTHING_COLLECTED) else "killed"
        except subprocess.TimeoutExpired:
            return "timeout"
        finally:
            _end(process)
            self.running.discard(process)

    def _environment(self, tree: Path) -> dict[str, str]:
        compiled = {"JAX_COMPILATION_CACHE_DIR": str(self.folder / "compiled")}
        always = {"PYTHONPATH": str(tree), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        always["PYTHONDONTWRITEBYTECODE"] = ""  # compiled files of the copy save a third of a process's start
        return {**compiled, **os.environ, **always}


def _end(process: subprocess.Popen) -> None:
    """End the tests with all that they started, also where this program itself is interrupted."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def _changed(path: Path, source: str) -> Iterator[None]:
    """Write another source in the place of a module's, and put its own back."""
    original = path.read_text()
    try:
        _write(path, source)
        yield
    finally:
        _write(path, original)


def _write(path: Path, source: str) -> None:
    """Without its compiled files, which Python takes for new where the size and the second are the same."""
    path.write_text(source)
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
        compiled.unlink()


class Results:
    """What became of each mutant, one line of JSON each; a line cut short by an interruption is left out."""

    def __init__(self, path: Path):
        """Read what an earlier run left."""
        self.path, text = path, path.read_text() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole)
        self.found = {record["mutant"]: record for record in map(json.loads, whole.splitlines())}

    def known(self, mutant: Mutant, tests: str) -> bool:
        """Whether it was killed, or survived these very tests."""
        record = self.found.get(_digest(mutant.source))
        return record is not None and (record["outcome"] != "survived" or record["tests"] == tests)

    def add(self, mutant: Mutant, tests: str, outcome: str, seconds: float) -> None:
        """Keep one."""
        record = {"mutant": _digest(mutant.source), "tests": tests, "outcome": outcome, "seconds": round(seconds, 1)}
        record |= {"module": mutant.module, "operator": mutant.operator, "line": mutant.place[0], "diff": mutant.diff}
        self.found[record["mutant"]] = record
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def outcome(self, mutant: Mutant) -> str:
        """`killed`, `timeout` or `survived`."""
        return self.found[_digest(mutant.source)]["outcome"]


def check(mutants: list[Mutant], bench: Bench, results: Results, jobs: int, tests_of=own_tests) -> None:
    """Judge the mutants that are not known yet, in copies of the tree, one for each job."""
    trees: queue.Queue[Path] = queue.Queue()
    for job in range(jobs):
        trees.put(bench.copy(f"tree-{job}"))

    def one(mutant: Mutant) -> tuple[Mutant, str, float]:
        tree, start = trees.get(), time.monotonic()
        try:
            return mutant, bench.judge(tree, mutant, tests_of(mutant.module)), time.monotonic() - start
        finally:
            trees.put(tree)

    versions = {module: _version(bench.root, tests_of(module)) for module in {mutant.module for mutant in mutants}}
    pending = [mutant for mutant in mutants if not results.known(mutant, versions[mutant.module])]
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(one, mutant) for mutant in pending]
        try:
            for number, future in enumerate(as_completed(futures), 1):
                mutant, outcome, seconds = future.result()
                results.add(mutant, versions[mutant.module], outcome, seconds)
                print(f"{number}/{len(pending)} {outcome:8} {mutant.module}:{mutant.place[0]} {mutant.operator}")
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            bench.stop()


def report(mutants: list[Mutant], results: Results) -> float:
    """Print the survivors and the share of killed mutants, and return it."""
    survivors = [mutant for mutant in mutants if results.outcome(mutant) == "survived"]
    for mutant in survivors:
        print(f"\nSurvived: {mutant.operator}\n{mutant.diff}", end="")
    killed = len(mutants) - len(survivors)
    share = killed / max(1, len(mutants))
    print(f"\n{killed} of {len(mutants)} mutants killed: {share:.1%}, at least {ENOUGH:.0%} needed.")
    return share


def _version(root: Path, tests: tuple[str, ...]) -> str:
    return _digest("".join((root / name).read_text() for name in tests))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=300, help="mutants to draw")
    parser.add_argument("--seed", type=int, default=0, help="which mutants")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--results", type=Path, default=RESULTS, help="what became of each, as lines of JSON")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "mutants", help="folder of copies of the tree")
    parser.add_argument("--modules", nargs="*", default=["*"], help="patterns, such as '*/composite/*'")
    options = parser.parse_args()
    modules = [one for one in core_modules(ROOT) if any(fnmatch(one, pattern) for pattern in options.modules)]
    options.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    mutants = draw(ROOT, modules, options.number, options.seed, read_equal())
    results = Results(options.results)
    check(mutants, Bench(ROOT, options.out.resolve()), results, options.jobs)
    sys.exit(report(mutants, results) < ENOUGH)


if __name__ == "__main__":
    main()
