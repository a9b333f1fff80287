"""HDF5 is not told of a full disk, whoever asks is, and so is whoever does not ask, at the end."""

import resource
import signal
import subprocess
import sys
from contextlib import contextmanager

import h5py
import numpy as np
import pytest

from composite_flow.errors import FileError
from composite_flow.files.hdf5 import reading_hdf5, writing_hdf5


@contextmanager
def full_after(size: int):
    """Files of this process cannot grow beyond this size."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_file_comes_back(tmp_path):
    with writing_hdf5(tmp_path / "new" / "x.h5") as (file, check):
        file["a"] = np.arange(100_000)
        check()
        assert not (tmp_path / "new" / "x.h5").exists()
    with reading_hdf5(tmp_path / "new" / "x.h5") as file:
        np.testing.assert_array_equal(file["a"][()], np.arange(100_000))
    assert h5py.is_hdf5(tmp_path / "new" / "x.h5")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.h5"]


def test_a_full_disk_is_told_to_whoever_asks(tmp_path):
    with full_after(10_000), pytest.raises(FileError, match=r"x\.h5 could not be written: File too large"):
        with writing_hdf5(tmp_path / "x.h5") as (file, check):
            file["a"] = np.arange(100_000)
            with pytest.raises(OSError, match="File too large"):
                check()
    assert not list(tmp_path.iterdir())


def test_and_at_the_end_to_whoever_does_not(tmp_path):
    with full_after(10_000), pytest.raises(FileError, match=r"x\.h5 could not be written: File too large"):
        with writing_hdf5(tmp_path / "x.h5") as (file, _):
            file["a"] = np.arange(100_000)
    assert not list(tmp_path.iterdir())


def test_hdf5_itself_does_not_die_of_a_full_disk():
    """Of writes that fail it does: a segmentation fault, when it tries them again in closing the file."""
    code = """
import gc, h5py, numpy as np
from composite_flow.files.hdf5 import _PatientFile
plain = _PatientFile("/dev/full", "w+b")
try:
    with h5py.File(plain, "w") as file:
        data = file.create_dataset("a", (100_000,), np.float64, chunks=(256,))
        data[:] = np.arange(100_000)
except OSError:  # it may find that what it reads is not what it wrote
    pass
del file, data
gc.collect()
try:
    plain.raise_first_error()
except OSError as error:
    print(error.strerror)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "No space left on device\n"), run.stderr


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="could not be written"), writing_hdf5(tmp_path / "file" / "x.h5"):
        pass
    assert (tmp_path / "file").read_text() == ""
