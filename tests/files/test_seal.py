"""A seal tells damage in whatever HDF5 parses before HDF5 does; chunks of data have checksums of their own."""

import h5py
import numpy as np
import pytest

from composite_flow.data import Episodes
from composite_flow.errors import FileError
from composite_flow.files import seal as seals
from composite_flow.files.hdf5 import reading_hdf5, writing_hdf5
from composite_flow.files.seal import is_as_sealed


@pytest.fixture
def shard(tmp_path):
    random = np.random.default_rng(0)
    Episodes.from_arrays(
        observations=random.normal(size=(4000, 2, 3)),
        actions=random.integers(0, 3, (4000, 2)),
        states=random.normal(size=(4000, 2)),
        ends=np.arange(4000) % 10 == 9,
    ).save(tmp_path / "data")
    return tmp_path / "data" / "episodes-00000.h5"


def damaged(path, place, tmp_path, length=1):
    content = bytearray(path.read_bytes())
    for at in range(place, place + length):
        content[at] ^= 0xFF
    copy = tmp_path / "data" / path.name
    copy.unlink()
    copy.write_bytes(content)
    return copy


def test_every_byte_is_sealed_or_has_a_checksum(shard, tmp_path):
    """A byte anywhere: in structures the seal tells, in chunks of data HDF5's own checksum."""
    content = shard.read_bytes()
    with open(shard, "rb") as file:
        skipped = seals._checked_chunks(file)
    in_data = np.zeros(len(content), bool)
    for first, count in skipped:
        in_data[first : first + count] = True
    assert in_data.mean() > 0.5 and not in_data[: seals.BLOCK].any()
    places = np.random.default_rng(1)
    for where, told in ((np.flatnonzero(~in_data), True), (np.flatnonzero(in_data), False)):
        for place in places.choice(where, 60):
            other = damaged(shard, int(place), tmp_path)
            assert is_as_sealed(other) != told
            with pytest.raises(FileError, match="truncated or damaged"):
                loaded = Episodes.load(tmp_path / "data", in_memory=False)
                assert [getattr(loaded, name)[:] for name in loaded.arrays]
            other.unlink()
            other.write_bytes(content)
    assert is_as_sealed(shard)


@pytest.mark.parametrize("kept", [0.999, 0.5, 0.01])
def test_a_cut_file_is_no_longer_as_sealed(shard, kept):
    content = shard.read_bytes()
    shard.write_bytes(content[: int(kept * len(content))])
    assert not is_as_sealed(shard)


def test_both_ends_tell(shard):
    """Noise over one half leaves the mark at the other end."""
    content, half = shard.read_bytes(), shard.stat().st_size // 2
    for noisy in (bytes(half) + content[half:], content[:half] + bytes(len(content) - half)):
        shard.unlink()
        shard.write_bytes(noisy)
        assert not is_as_sealed(shard)


def test_a_file_without_a_seal_is_read_as_it_is(tmp_path):
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["x"] = np.arange(3)
    assert is_as_sealed(tmp_path / "own.h5")
    with reading_hdf5(tmp_path / "own.h5") as file:
        assert file["x"][2] == 2


def test_estimates_are_sealed_as_well(tmp_path):
    with writing_hdf5(tmp_path / "e.h5") as (file, _):
        file["x"] = np.arange(1000)  # contiguous, without a checksum: sealed itself
    content = bytearray((tmp_path / "e.h5").read_bytes())
    assert content.startswith(b"cf-seal1") and content.endswith(b"cf-seal1") and is_as_sealed(tmp_path / "e.h5")
    place = content.index(np.arange(1000).tobytes())
    content[place + 500] ^= 1
    (tmp_path / "f.h5").write_bytes(content)
    assert not is_as_sealed(tmp_path / "f.h5")
