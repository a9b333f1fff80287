"""HDF5 files that are whole or not there, and refusals in a sentence of those that cannot be read.

A write that fails, as on a full disk, can end HDF5 in a segmentation fault when it closes the file. So it writes
through a file of ours, which keeps the first error to itself until it is asked for.
"""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from composite_flow.errors import FileError
from composite_flow.files.seal import BLOCK, is_as_sealed, seal


@contextmanager
def reading_hdf5(path: Path) -> Iterator[Any]:
    """The open `h5py.File`; what goes wrong within is a damaged file.

    Raises:
        FileError: the file is missing, foreign or damaged.
    """
    import h5py  # a tenth of a second to import, which who needs no files does without

    if not path.is_file():
        raise FileError(f"{path} does not exist.")
    if not os.access(path, os.R_OK):
        raise FileError(f"{path} may not be read; change its permissions.")
    if not is_as_sealed(path) and not _is_locked(path):
        raise FileError(f"{path} is truncated or damaged, and cannot be read (its checksum differs).")
    if not h5py.is_hdf5(path) and not _is_locked(path):
        raise FileError(f"{path} is not an HDF5 file, or its beginning is damaged.")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except BlockingIOError as error:
        raise FileError(
            f"{path} is locked: another process has it open to write; read it when that has ended."
        ) from error
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise FileError(f"{path} is truncated or damaged, and cannot be read ({error}).") from error


def _is_locked(path: Path) -> bool:
    """Whether another process has the file open to write."""
    import h5py

    try:
        with h5py.File(path, "r"):
            return False
    except BlockingIOError:
        return True
    except (OSError, RuntimeError):
        return False


@contextmanager
def writing_hdf5(path: Path) -> Iterator[tuple[Any, Callable[[], None]]]:
    """A file in `*.partial` beside the path, which is renamed into place when it is whole.

    Yields:
        The open `h5py.File`, and a function that raises the first error so far, to be called after each part.

    Raises:
        FileError: it cannot be written, as on a full disk.
    """
    import h5py

    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _PatientFile(partial, "w+b") as plain:
            try:
                with h5py.File(plain, "w", userblock_size=BLOCK) as file:
                    yield file, plain.raise_first_error
            finally:
                plain.raise_first_error()
            seal(plain)
            plain.raise_first_error()
            os.fsync(plain.fileno())
        partial.replace(path)
    except OSError as error:
        raise FileError(f"{path} could not be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)  # gone already where all went well


class _PatientFile(io.FileIO):
    """A file whose writes never fail: the first error is kept, and raised when it is asked for."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        while len(left) and self.error is None:  # one call may write less than all
            try:
                left = left[super().write(left) :]
            except OSError as error:
                self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return self.tell() if size is None else size

    def raise_first_error(self) -> None:
        """What HDF5 was not told."""
        if self.error is not None:
            raise self.error
