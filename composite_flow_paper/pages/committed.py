"""What the committed files of an experiment hold, by name: its summary, and its cells over the seeds."""

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from composite_flow.errors import FileError
from composite_flow.files.plain_json import read_json

_SEED = re.compile(r"(?P<name>.+)-seed\d+")


class Seeds:
    """One place in the cells of several seeds: `seeds.pairs` and `seeds["0.9"]` go deeper in each of them.

    Attributes:
        parts: what is there, by seed.
        place: how it was reached, for messages.
    """

    def __init__(self, parts: list[Any], place: str):
        self.parts, self.place = parts, place

    def __getitem__(self, name: str | int) -> "Seeds":
        try:
            return Seeds([part[name] for part in self.parts], f"{self.place}.{name}")
        except (KeyError, IndexError, TypeError):
            raise FileError(f"There is no {name!r} in {self.place}.") from None

    def __getattr__(self, name: str) -> "Seeds":
        if name.startswith("__"):  # as libraries ask of any object
            raise AttributeError(name)
        return self[name]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.parts)

    def __sub__(self, other: "Seeds") -> "Seeds":
        pairs = zip(self.parts, other.parts, strict=True)
        return Seeds([one - another for one, another in pairs], f"{self.place} - {other.place}")


class Committed:
    """The files of one experiment in a folder: `summary`, and its cells by their names without the seed.

    Attributes:
        folder: such as docs/results/figure4-laptop.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    @cached_property
    def summary(self) -> Any:
        """What the experiment made of its cells."""
        return read_json(self.folder / "summary.json")

    def __getitem__(self, name: str) -> Seeds:
        paths = [path for path in sorted(self.folder.glob(f"{name}-seed*.json")) if _name_of(path) == name]
        if not paths:
            raise FileError(f"{self.folder} has no cells {name}-seed*.json.")
        return Seeds([read_json(path)["result"] for path in paths], f"{self.folder.name}/{name}")

    def __getattr__(self, name: str) -> Seeds:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]


def _name_of(path: Path) -> str | None:
    found = _SEED.fullmatch(path.stem)
    return found and found["name"]
