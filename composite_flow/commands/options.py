"""Options that all commands share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

DataFolder = Annotated[Positional[Path], arg(metavar="DATA")]
RunFolder = Annotated[Positional[Path], arg(metavar="RUN")]


@dataclass(frozen=True)
class Shared:
    """Options of every command."""

    seed: int = 0
    """Fixes everything that is drawn at random."""
    overwrite: bool = False
    """Replace what an earlier command left in --out."""
    json: bool = False
    """Print one JSON object on standard output; progress goes to standard error."""
