"""Options that all commands share, and what they say of them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from composite_flow.errors import FileError
from composite_flow.runs import RunData

DataFolder = Annotated[Positional[Path], arg(metavar="DATA")]
RunFolder = Annotated[Positional[Path], arg(metavar="RUN")]


@dataclass(frozen=True)
class Shared:
    """Options of every command."""

    seed: int = 0
    """Fixes everything that is drawn at random: any whole number."""
    overwrite: bool = False
    """Replace what an earlier command left in --out."""
    json: bool = False
    """Print one JSON object on standard output; progress goes to standard error."""

    def __post_init__(self):
        object.__setattr__(self, "seed", usable_seed(self.seed))


def usable_seed(seed: int) -> int:
    """A seed that every generator takes: itself from 0 to below 2^63, else a number that is drawn from its digits."""
    if 0 <= seed < _SEEDS:
        return seed
    return int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:8], "big") % _SEEDS


_SEEDS = 2**63


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Refuse to go on where a result is in the way, before anything is computed.

    Raises:
        FileError: it is there, and may not be overwritten.
    """
    if path.exists() and not overwrite:
        raise FileError(f"{path} already exists; choose another --out, or add --overwrite.")


def part_in_words(opened: RunData) -> str:
    """Which episodes of its data a run is judged on."""
    return _PARTS[opened.part]


_PARTS = {
    "test": "the run's test episodes",
    "all": "all episodes",
    "unknown": "all episodes, training episodes perhaps among them (the model does not record its split),",
}
