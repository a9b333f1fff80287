"""Estimates come back as they were written, part by part or at once, or are refused with file and fault."""

import dataclasses
import os
import resource
import signal

import h5py
import numpy as np
import pytest
from unseal import unseal

from composite_flow.errors import FileError
from composite_flow.files.estimates import Estimates, writing_estimates

JOINT, CANDIDATES, FEATURES = 600, 3, 2
ARRAYS = {"estimates", "candidates", "shares", "filled", "accepted", "accepted_share", "steps", "episodes"}


@pytest.fixture
def estimates() -> Estimates:
    random = np.random.default_rng(0)
    return Estimates(
        estimates=random.random((JOINT, FEATURES), np.float32),
        candidates=random.random((JOINT, CANDIDATES, FEATURES), np.float32),
        shares=random.random((JOINT, CANDIDATES), np.float32),
        filled=random.random((JOINT, CANDIDATES)) < 0.5,
        accepted=random.random(JOINT) < 0.5,
        accepted_share=random.random(JOINT, np.float32),
        steps=np.arange(JOINT, dtype=np.int32),
        episodes=np.arange(JOINT, dtype=np.int32) // 7,
        state_names=("speed", "heat"),
        about={"run": "runs/a", "stir": 0.2},
    )


def rows(estimates: Estimates, part: slice) -> Estimates:
    arrays = {name: getattr(estimates, name)[part] for name in ARRAYS}
    return dataclasses.replace(estimates, **arrays)


def assert_same(one: Estimates, other: Estimates):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    assert (one.state_names, one.about) == (other.state_names, other.about)


@pytest.mark.parametrize("name", ["", "mine.h5"])
def test_estimates_come_back(tmp_path, estimates, name):
    estimates.save(tmp_path / "new" / name)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name or "estimates.h5"]
    assert_same(Estimates.load(tmp_path / "new" / name), estimates)
    assert len(estimates) == JOINT


@pytest.mark.parametrize("kept", [(), ("variances",), ("samples",)])
def test_each_way_to_infer_keeps_its_own_arrays(tmp_path, estimates, kept):
    checked = {name: None for name in ARRAYS if name not in ("estimates", "steps", "episodes")}
    shapes = {"variances": (JOINT, FEATURES), "samples": (JOINT, 4, FEATURES)}
    given = {name: np.random.default_rng(1).random(shapes[name], np.float32) for name in kept}
    dataclasses.replace(estimates, **checked, **given).save(tmp_path)
    found = Estimates.load(tmp_path)
    for name in ("variances", "samples", "candidates"):
        np.testing.assert_array_equal(getattr(found, name), given.get(name))
    np.testing.assert_array_equal(found.estimates, estimates.estimates)


def test_samples_of_another_size_are_refused(tmp_path, estimates):
    checked = {name: None for name in ARRAYS if name not in ("estimates", "steps", "episodes")}
    wrong = np.zeros((JOINT - 1, 4, FEATURES), np.float32)
    dataclasses.replace(estimates, **checked, samples=np.zeros((JOINT, 4, FEATURES), np.float32)).save(tmp_path)
    with h5py.File(unseal(tmp_path / "estimates.h5"), "a") as file:
        del file["samples"]
        file["samples"] = wrong
    with pytest.raises(FileError, match="'samples' is not of the size of the others"):
        Estimates.load(tmp_path)


def test_names_on_disk_stay(tmp_path, estimates):
    estimates.save(tmp_path)
    with h5py.File(tmp_path / "estimates.h5", "r") as file:
        assert set(file) == ARRAYS and set(file.attrs) == {"format", "state_names", "about"}
        assert file.attrs["format"] == "composite-flow estimates"
        assert file.attrs["state_names"] == '["speed", "heat"]'


@pytest.mark.parametrize("size", [1, 256, 599])
def test_parts_make_the_same_file_as_the_whole(tmp_path, estimates, size):
    with writing_estimates(tmp_path / "parts.h5", JOINT) as add:
        for first in range(0, JOINT, size):
            add(rows(estimates, slice(first, first + size)))
        assert not (tmp_path / "parts.h5").exists()
    assert_same(Estimates.load(tmp_path / "parts.h5"), estimates)
    assert [path.name for path in tmp_path.iterdir()] == ["parts.h5"]


def test_what_fails_on_the_way_leaves_the_old_file_alone(tmp_path, estimates):
    rows(estimates, slice(5)).save(tmp_path)
    with pytest.raises(KeyboardInterrupt), writing_estimates(tmp_path / "estimates.h5", JOINT) as add:
        add(rows(estimates, slice(300)))
        raise KeyboardInterrupt
    assert len(Estimates.load(tmp_path)) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["estimates.h5"]
    with pytest.raises(FileError, match="exists already"):
        estimates.save(tmp_path)
    estimates.save(tmp_path, overwrite=True)
    assert len(Estimates.load(tmp_path)) == JOINT


def test_nothing_is_left_where_nothing_could_be_computed(tmp_path):
    with pytest.raises(ValueError), writing_estimates(tmp_path / "new" / "estimates.h5", JOINT):
        raise ValueError
    assert not (tmp_path / "new").exists()


def test_a_full_disk_is_told_at_the_next_part(tmp_path, estimates):
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    added = 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(FileError, match=r"estimates\.h5 could not be written"):
            with writing_estimates(tmp_path / "estimates.h5", 100 * JOINT) as add:
                for _ in range(100):
                    add(estimates)
                    added += 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert added < 5 and not list(tmp_path.iterdir())


def test_files_may_be_read_by_whom_the_umask_lets(tmp_path, estimates):
    before = os.umask(0o022)
    try:
        estimates.save(tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "estimates.h5").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("keep", [0, 100, 5_000, -1])
def test_truncated_files_are_refused(tmp_path, estimates, keep):
    estimates.save(tmp_path)
    path = tmp_path / "estimates.h5"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FileError, match=rf"{path} is (not an HDF5 file|truncated or damaged)"):
        Estimates.load(tmp_path)


def test_a_flipped_bit_of_the_numbers_is_noticed(tmp_path, estimates):
    estimates.save(tmp_path)
    path = tmp_path / "estimates.h5"
    with h5py.File(path, "r") as file:
        place = file["estimates"].id.get_chunk_info(1).byte_offset + 40
    content = path.read_bytes()
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(FileError, match=f"{path} is truncated or damaged"):
        Estimates.load(tmp_path)


def test_missing_and_foreign_files_are_refused(tmp_path, estimates):
    with pytest.raises(FileError, match="estimates.h5 does not exist"):
        Estimates.load(tmp_path)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["something"] = np.zeros(3)
    with pytest.raises(FileError, match="holds no estimates"):
        Estimates.load(tmp_path / "other.h5")


def _without_shares(file):
    del file["shares"]


def _of_another_size(file):
    _without_shares(file)
    file["shares"] = np.zeros((7, CANDIDATES), np.float32)


def _of_one_feature(file):
    file.attrs["state_names"] = '["speed"]'


def _of_broken_text(file):
    file.attrs["about"] = "{"


@pytest.mark.parametrize(
    "harm, fault",
    [
        (_without_shares, "lacks the array 'shares'"),
        (_of_another_size, "'shares' is not of the size of the others"),
        (_of_one_feature, "'estimates' is not of the size of the others"),
        (_of_broken_text, "damaged"),
    ],
)
def test_damaged_files_are_refused(tmp_path, estimates, harm, fault):
    estimates.save(tmp_path)
    with h5py.File(unseal(tmp_path / "estimates.h5"), "a") as file:
        harm(file)
    with pytest.raises(FileError, match=f"estimates.h5.*{fault}"):
        Estimates.load(tmp_path)
