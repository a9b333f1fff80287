"""Bad inputs from a seeded generator: each is refused in a sentence that names what was broken, and no file is lost.

300 in each run; `BAD_INPUTS=10000 BAD_INPUTS_SEED=7 python -m pytest tests/test_bad_inputs.py` for more and for others.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import jax
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

import composite_flow as cf
from composite_flow import cli
from composite_flow.data.foreign import hdf5_arrays
from composite_flow.errors import CompositeFlowError, InputError

COUNT, SEED = int(os.environ.get("BAD_INPUTS", 300)), int(os.environ.get("BAD_INPUTS_SEED", 0))
STEPS = 24


@dataclass(frozen=True)
class Case:
    """A broken input.

    Attributes:
        what: for the report.
        act: uses it.
        named: what the sentence must name, a pattern.
    """

    what: str
    act: Callable[[], object]
    named: str


# --- arrays


def arrays(random) -> dict:
    return {
        "observations": random.normal(size=(STEPS, 2, 3)),
        "actions": random.integers(0, 3, (STEPS, 2)),
        "states": random.normal(size=(STEPS, 2)),
        "ends": np.arange(STEPS) % 4 == 3,
        "rewards": random.normal(size=STEPS),
        "alive": np.ones((STEPS, 2), bool),
        "known": np.ones(STEPS, bool),
        "availability": np.ones((STEPS, 2, 3), bool),
    }


AXES = {
    "observations": 3,
    "actions": 2,
    "states": 2,
    "ends": 1,
    "rewards": 1,
    "alive": 2,
    "known": 1,
    "availability": 3,
}


def bad_arrays(random, place) -> Case:
    given = arrays(random)
    name = str(random.choice(list(given)))
    breaks = ("shorter", "an axis less", "text", "objects", "ragged", "empty", "complex")
    breaks += ("nan", "infinite") if name in ("observations", "rewards") else ()
    breaks += ("infinite",) if name == "states" else ()
    breaks += ("negative", "fractions") if name == "actions" else ("twos",) if given[name].dtype == bool else ()
    how = str(random.choice(breaks))
    array = given[name]
    where = tuple(random.integers(0, size) for size in array.shape)
    if how == "shorter":
        array = array[: random.integers(1, STEPS)]
    elif how == "an axis less":
        array = array[0]
    elif how in ("text", "complex", "objects"):
        array = array.astype({"text": str, "complex": complex, "objects": object}[how])
    elif how == "ragged":
        array = [*array.tolist()[:-1], [[1]]]
    elif how == "empty":
        array = array[:0]
    elif how == "twos":
        array = np.where(array, 2, array)
    else:
        array = array.astype(float)
        array[where] = {"nan": np.nan, "infinite": np.inf, "negative": -1.0, "fractions": 0.5}[how]
        array = array.astype(int) if how == "negative" else array
    return Case(
        f"{name}: {how}", lambda: cf.Episodes.from_arrays(**given | {name: array}), name if how != "empty" else "."
    )


def bad_options_of_arrays(random, place) -> Case:
    given = arrays(random)
    options = {
        "state_names": (["a"], "state_names"),
        "observation_names": (["a"], "observation_names"),
        "agent_names": (["a", "a"], "'a' is given twice"),
        "types": ({"state 0": str(random.choice(["round", "float", "Angle"]))}, "'state 0' cannot be of type"),
        "num_actions": (int(random.integers(0, 3)), "actions"),
        "observed": (np.ones((5, 3)), "observed"),
    }
    name = str(random.choice(list(options)))
    value, named = options[name]
    del given["availability"]
    return Case(f"option {name}", lambda: cf.Episodes.from_arrays(**given | {name: value}), named)


def bad_dictionaries(random, place) -> Case:
    episodes = [
        {
            "observations": {"a": np.zeros((4, 2)), "b": np.zeros((3, 1))},
            "states": np.zeros((4, 1)),
            "actions": {"a": [0] * 4, "b": [1] * 3},
        }
        for _ in range(3)
    ]
    number, part = int(random.integers(0, 3)), str(random.choice(["observations", "states", "actions"]))
    how = str(random.choice(["gone", "text", "longer", "scalar"]))
    if how == "gone":
        del episodes[number][part]
    elif part == "states":
        episodes[number][part] = {"text": [["x"]] * 4, "longer": np.zeros((2, 1)), "scalar": 3.0}[how]
    else:
        broken = {
            "text": [["x"]] * 4,
            "longer": np.zeros(9, int) if part == "actions" else np.zeros((9, 2)),
            "scalar": 3,
        }[how]
        episodes[number][part] = episodes[number][part] | {"a": broken}
    named = f"Episode {number}|{part}|agent 'a'"
    return Case(f"dictionaries: {part} {how}", lambda: cf.Episodes.from_episodes(episodes), named)


# --- tables


def table(random) -> dict[str, list]:
    rows = [(e, t, a) for e in range(4) for t in range(5) for a in ("r1", "r2")]
    state = random.normal(size=(4, 5))
    columns = {"run": [e for e, _, _ in rows], "t": [t for _, t, _ in rows], "robot": [a for _, _, a in rows]}
    columns |= {"x": random.normal(size=40).tolist(), "go": random.integers(0, 3, 40).tolist()}
    return columns | {"s": [float(state[e, t]) for e, t, _ in rows]}


NAMED = {"episode": "run", "step": "t", "agent": "robot", "observation": ["x"], "action": ["go"], "state": ["s"]}


def bad_tables(random, place) -> Case:
    columns, row = table(random), int(random.integers(2, 38))
    how = str(
        random.choice(
            [
                "twice",
                "missing row",
                "missing value",
                "text",
                "other state",
                "apart",
                "no agent",
                "infinite",
                "no column",
            ]
        )
    )
    named = {
        "missing value": "'x'",
        "text": "x|numbers",
        "other state": "'s'",
        "no column": "'y'",
        "infinite": "observations",
    }
    changes = {}
    if how == "twice":
        columns = {name: [*values[: row + 1], values[row], *values[row + 1 :]] for name, values in columns.items()}
    elif how == "missing row":
        row = 10 * (row // 10 % 4) + 2 * int(random.integers(1, 4)) + row % 2  # neither an episode's first nor its last
        columns = {name: [*values[:row], *values[row + 1 :]] for name, values in columns.items()}
    elif how == "apart":
        columns["run"] = [columns["run"][39] if place == 3 else value for place, value in enumerate(columns["run"])]
    elif how == "no column":
        changes = {"observation": ["y"]}
    else:
        column = {"missing value": "x", "text": "x", "infinite": "x", "other state": "s", "no agent": "robot"}[how]
        value = {"missing value": None, "text": "much", "infinite": np.inf, "other state": 99.0, "no agent": None}[how]
        values = list(map(str, columns[column])) if how == "text" else list(columns[column])
        values[row] = value
        columns[column] = values
    kind = str(random.choice(["frame", "csv", "parquet"]))
    source, path = pa.table(columns), place / f"log.{kind}"
    if kind == "csv":
        pa.csv.write_csv(source, path)
    elif kind == "parquet":
        pa.parquet.write_table(source, path)
    source = source if kind == "frame" else path
    folder = place / "out" if random.random() < 0.5 else None
    return Case(
        f"table {kind}: {how}",
        lambda: cf.Episodes.from_table(source, **(NAMED | changes), folder=folder),
        named.get(how, r"[Rr]ows? \d"),
    )


# --- files


def bad_files(random, place) -> Case:
    kind, path = str(random.choice(["shard", "model", "run", "csv", "parquet", "hdf5"])), None
    shutil.copytree(KEPT, place / "kept")
    kept = place / "kept"
    paths = {"shard": kept / "data" / "episodes-00000.h5", "model": kept / "run" / "model.safetensors"}
    paths |= {
        "run": kept / "run" / "run.json",
        "csv": kept / "log.csv",
        "parquet": kept / "log.parquet",
        "hdf5": kept / "own.h5",
    }
    path = paths[kind]
    how = damage(random, path)
    act = {
        "shard": lambda: cf.Episodes.load(kept / "data").states[:],
        "model": lambda: cf.load(kept / "run"),
        "run": lambda: command("train", kept / "data", "--out", kept / "run", "--resume"),
        "csv": lambda: whole_or_cut(path, how),
        "parquet": lambda: cf.Episodes.from_table(path, **NAMED),
        "hdf5": lambda: hdf5_arrays(path, {"observations": "obs", "states": "world", "ends": "done"}),
    }[kind]
    row_or_column = "|Row|column" if kind == "csv" else ""
    return Case(f"{kind}: {how}", act, re.escape(path.name) + "|" + re.escape(path.parent.name) + row_or_column)


def whole_or_cut(path: Path, how: str) -> None:
    """A CSV file; one that is cut may still be a table of its first rows, which nobody can tell from a whole one."""
    found = cf.Episodes.from_table(path, **NAMED)
    if how == "cut":
        original = cf.Episodes.from_table(KEPT / "log.csv", **NAMED).observations
        rows = found.num_steps - 1  # the last number may be cut
        if rows < len(original) and np.array_equal(found.observations[:rows], original[:rows]):
            raise InputError(f"{path.name} is a whole table of its first rows.")


def damage(random, path: Path) -> str:
    """Cut a file, put zeros or noise into it, replace it or remove it."""
    content = bytearray(path.read_bytes())
    how = str(random.choice(["cut", "zeros", "noise", "another", "removed", "a folder", "empty"]))
    first = int(random.integers(0, max(1, len(content) // 2)))
    if how == "cut":
        content = content[:first]
    elif how in ("zeros", "noise"):
        stop = min(len(content), first + max(64, len(content) // 2))
        content[first:stop] = bytes(stop - first) if how == "zeros" else random.bytes(stop - first)
    elif how == "another":
        content = bytearray(b"x" * len(content))
    elif how == "empty":
        content = bytearray()
    path.unlink()
    if how == "a folder":
        path.mkdir()
    elif how != "removed":
        path.write_bytes(content)
    return how


# --- options


def command(*arguments) -> None:
    """A command in this process; its sentence as an error."""
    if cli.main([str(argument) for argument in arguments]) != 0:
        raise CompositeFlowError(TOLD())


TOLD: Callable[[], str] = str


def bad_options(random, place) -> Case:
    number = str(random.choice(["0", "-3", "-1"]))
    data, run, out = KEPT / "data", KEPT / "run", place / "out"
    choices = [
        (("train", data, "--out", out, "--width", number), "width"),
        (("train", data, "--out", out, "--depth", number), "depth"),
        (("train", data, "--out", out, "--batch", number), "batch"),
        (("train", data, "--out", out, "--steps", number), "steps"),
        (("train", data, "--out", out, "--history", number), "history"),
        (("train", data, "--out", out, "--withhold-states", "1.5"), "withhold_states"),
        (("train", data, "--out", run), "run"),
        (("train", run, "--out", out), "run"),
        (("train", place / "none", "--out", out), "none"),
        (("collect", "sensor:2x2", "--episodes", number, "--out", out), "episodes"),
        (("collect", "sensor:2x2", "--episodes", "4", "--out", data), "data"),
        (("collect", "sensor:2y2", "--episodes", "4", "--out", out), "sensor:2y2"),
        (("reconstruct", run, data, "--out", out, "--joint", number), "joint"),
        (("reconstruct", run, data, "--out", out, "--samples", number), "samples"),
        (("reconstruct", place / "none", data, "--out", out), "none"),
        (("inspect", place / "none"), "none"),
        (("import", "table", KEPT / "log.csv", "--out", out), "observation"),
        (("import", "table", KEPT / "log.csv", "--observation", "x", "--state", "q", "--out", out), "'q'"),
        (
            ("import", "table", KEPT / "log.csv", "--observation", "x", "--state", "s", "--types", "s", "--out", out),
            "types",
        ),
        (("import", "hdf5", KEPT / "own.h5", "--map", "observations=obs", "--out", out), "'states'"),
        (("import", "vault", place / "none", "--rate", "2", "--out", out), "--rate"),
        (("import", "bag", place / "none", "--map", "a=b", "--out", out), "--rate"),
    ]
    arguments, named = choices[int(random.integers(0, len(choices)))]
    return Case(" ".join(map(str, arguments[:1] + arguments[3:])), lambda: command(*arguments), named)


KEPT = Path()
GENERATORS = (bad_arrays, bad_options_of_arrays, bad_dictionaries, bad_tables, bad_files, bad_options)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Files that must stay as they are: episodes, a run, a table and a file of one's own."""
    global KEPT
    KEPT, random = tmp_path_factory.mktemp("kept"), np.random.default_rng(0)
    episodes = cf.Episodes.from_arrays(**{**arrays(random), "ends": np.arange(STEPS) % 2 == 1})
    episodes.save(KEPT / "data")
    small = ["--width", "8", "--depth", "1", "--batch", "8", "--steps", "2"]
    assert cli.main(["train", str(KEPT / "data"), "--out", str(KEPT / "run"), *small]) == 0
    pa.csv.write_csv(pa.table(table(random)), KEPT / "log.csv")
    pa.parquet.write_table(pa.table(table(random)), KEPT / "log.parquet")
    with h5py.File(KEPT / "own.h5", "w") as file:
        file["obs"], file["world"], file["done"] = np.zeros((4, 1, 1)), np.zeros((4, 1)), [0, 1, 0, 1]
    return KEPT


def contents(folder: Path) -> dict[str, str]:
    """A digest of each file."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_bad_inputs_are_refused_in_a_sentence_that_names_them(kept, tmp_path, capsys):
    global TOLD
    TOLD = lambda: capsys.readouterr().err  # noqa: E731
    before, faults = contents(kept), []
    for number in range(COUNT):
        random, place = np.random.default_rng((SEED, number)), tmp_path / str(number)
        place.mkdir()
        case = GENERATORS[number % len(GENERATORS)](random, place)
        listed = sorted(place.rglob("*"))
        try:
            case.act()
            faults.append(f"{number} {case.what}: accepted")
        except CompositeFlowError as error:
            said = " ".join(str(error).split())
            if not re.search(case.named, said):
                faults.append(f"{number} {case.what}: {said!r} does not name {case.named}")
        except Exception as error:
            faults.append(f"{number} {case.what}: {type(error).__name__}: {error}")
        new = set(place.rglob("*")) - set(listed)
        if any(path.is_file() for path in new):
            faults.append(f"{number} {case.what}: left {sorted(map(str, new))}")
        shutil.rmtree(place)
        capsys.readouterr()
        if number % 500 == 499:
            jax.clear_caches()
    assert not faults, "\n".join(faults)
    assert contents(kept) == before
