"""Locks: one process at a time writes to a place; a lock whose holder is dead is free.

The lock is the operating system's, on a small file beside what is written. It ends with its process, however that ends.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from composite_flow.errors import FileError


@contextmanager
def locked(path: Path, busy: str | None = None) -> Iterator[None]:
    """Hold the lock of a place, and remove its file at the end.

    Args:
        path: of the lock's file; its folder is made if there is none, and removed where nothing else came into it.
        busy: what is told where another process holds it; waits for it where not given.

    Raises:
        FileError: another process holds it, or the file cannot be written.
    """
    made = not path.parent.exists()
    descriptor = _acquired(path, busy)
    try:
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):
                path.unlink(missing_ok=True)  # while it is held, so that nobody waits for a file that is gone
            os.close(descriptor)
        if made:
            with suppress(OSError):  # where it is not empty
                path.parent.rmdir()


def _acquired(path: Path, busy: str | None) -> int | None:
    """The open file that holds the lock; None on systems without such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    while True:
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if busy is None else fcntl.LOCK_NB))
        except BlockingIOError as error:
            os.close(descriptor)
            raise FileError(busy) from error
        except OSError:  # a file system without locks
            os.close(descriptor)
            return None
        if _is_still(path, descriptor):
            return descriptor
        os.close(descriptor)  # its holder removed the file while this process waited


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise FileError(f"{path.parent} cannot be written: {error.strerror or error}.") from error


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except OSError:
        return False
