"""A seal of an HDF5 file: a digest of all that HDF5 parses, checked before it does.

HDF5 can loop for ever or crash where its structures are damaged. So a sealed file begins with a mark, in a block of 512
bytes that HDF5 leaves to users, and has behind its end

    what is skipped (JSON) | digest | length of the JSON, 8 bytes | mark

What is skipped are chunks of data, which have checksums of their own: a check reads little, however large the file is.
A file without a mark at either end was written before there were seals, and is read as it is.
"""

import hashlib
import io
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

BLOCK = 512
"""Bytes before the HDF5 part of a file: `userblock_size` of a file to be sealed."""
BinaryFile = io.BufferedIOBase | io.RawIOBase
_MARK = b"cf-seal1"
_DIGEST_SIZE, _AT_ONCE = 32, 2**20


def seal(file: BinaryFile) -> None:
    """Seal an HDF5 file that is written and closed, with a user block; the binary file can be read and written."""
    file.seek(0)
    file.write(_MARK)
    size, skipped = file.seek(0, 2), _checked_chunks(file)
    told = json.dumps({"size": size, "skipped": skipped}).encode()
    digest = _digest(file, size, skipped, told)
    file.seek(0, 2)
    file.write(told + digest + len(told).to_bytes(8, "big") + _MARK)


def is_as_sealed(path: Path) -> bool:
    """Whether a file is as it was sealed, or has no seal; a file that has not changed is read once."""
    status = path.stat()
    return _is_as_sealed(path, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _is_as_sealed(path: Path, *identity: int) -> bool:
    with open(path, "rb") as file:
        begins, end = file.read(len(_MARK)), file.seek(0, 2)
        file.seek(max(0, end - len(_MARK)))
        ends = file.read()
        return _MARK not in (begins, ends) or (begins == ends and _holds(file, end))


def _holds(file: BinaryFile, end: int) -> bool:
    """Whether the digest behind the file is that of the file."""
    tail = _DIGEST_SIZE + 8 + len(_MARK)
    file.seek(end - 8 - len(_MARK))
    length = int.from_bytes(file.read(8), "big")
    if length > end - tail:
        return False
    file.seek(end - tail - length)
    told, digest = file.read(length), file.read(_DIGEST_SIZE)
    try:
        about = json.loads(told)
        size, skipped = int(about["size"]), [(int(first), int(count)) for first, count in about["skipped"]]
    except (ValueError, TypeError, KeyError):
        return False
    return size == end - tail - length and _digest(file, size, skipped, told) == digest


def _digest(file: BinaryFile, size: int, skipped: Any, told: bytes) -> bytes:
    """Of the first `size` bytes but those skipped, and of what says so."""
    found, place = hashlib.blake2b(told, digest_size=_DIGEST_SIZE), 0
    for first, count in [*skipped, (size, 0)]:
        file.seek(place)
        left = first - place
        while left > 0 and (part := file.read(min(left, _AT_ONCE))):
            found.update(part)
            left -= len(part)
        place = max(place, first + count)
    return found.digest()


def _checked_chunks(file: BinaryFile) -> list[tuple[int, int]]:
    """Place and size of each chunk of data that has a checksum, in order."""
    import h5py

    found: list[tuple[int, int]] = []

    def note(_: str, data: Any) -> None:
        if isinstance(data, h5py.Dataset) and data.chunks is not None and data.fletcher32:
            chunks = (data.id.get_chunk_info(number) for number in range(data.id.get_num_chunks()))
            found.extend((chunk.byte_offset, chunk.size) for chunk in chunks)

    with h5py.File(file, "r") as opened:
        opened.visititems(note)
    return sorted(found)
