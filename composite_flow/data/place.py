"""Where a folder of shards is written before it is complete.

Beside the folder, in `<folder>.partial`, which is then renamed. A folder that cannot be renamed, a mount point or one
that the process works in, is filled from within, from `<folder>/episodes.partial`; its shards then come one by one, the
last one at the end, and a folder that lacks shards is refused.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

INSIDE = "episodes.partial"
LOCK = "episodes.lock"
SHARD_NAME = re.compile(r"episodes-\d{5}\.h5(\.partial)?")


@dataclass(frozen=True)
class Place:
    """A folder, where links and relative paths lead to.

    Attributes:
        folder: of the complete shards.
        is_fixed: whether it cannot be renamed.
    """

    folder: Path
    is_fixed: bool

    @property
    def partial(self) -> Path:
        """The folder of shards that are being written."""
        return self.folder / INSIDE if self.is_fixed else partial_of(self.folder)

    @property
    def lock(self) -> Path:
        """The file of the writer's lock."""
        return self.folder / LOCK if self.is_fixed else self.folder.with_name(self.folder.name + ".lock")


def place_of(folder: Path) -> Place:
    """The place that a folder's path means now, whichever folder the process works in later."""
    real = Path(os.path.realpath(folder))
    return Place(real, real.is_dir() and (_is_mounted(real) or _is_worked_in(real)))


def partial_of(folder: Path) -> Path:
    """The folder beside it, of shards that are being written."""
    return folder.with_name(folder.name + ".partial")


def previous_of(folder: Path) -> Path:
    """The folder beside it, of old shards between the two renames of an overwrite."""
    return folder.with_name(folder.name + ".previous.partial")


def _is_mounted(folder: Path) -> bool:
    if os.path.ismount(folder):
        return True
    try:  # mounts of the same file system, as of containers
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    return str(folder).replace(" ", "\\040") in {line.split(" ")[4] for line in mounts}


def _is_worked_in(folder: Path) -> bool:
    try:
        here = Path(os.path.realpath(os.getcwd()))
    except OSError:
        return False
    return here == folder or folder in here.parents
