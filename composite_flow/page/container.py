"""Numbers and a header in one block of bytes, compressed, as text: what the page's script decodes.

    "CFP1", length of the header (uint32), header (JSON, padded with blanks), arrays one after the other

Arrays are little-endian and begin at multiples of 8, from the header's end; the header's `arrays` says of which type
and shape each is, and where it begins. The block is compressed by gzip, whose checksum tells a damaged page.
"""

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

MAGIC = b"CFP1"
TYPES = ("float16", "float32", "float64", "uint8", "uint16", "int32")
"""Of arrays."""
_ALIGNMENT = 8


def packed(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """The block as base64.

    Args:
        header: JSON-able, without numbers that are none.
        arrays: of `TYPES`.
    """
    described, parts, place = {}, [], 0
    for name, array in arrays.items():
        if array.dtype.name not in TYPES:
            raise TypeError(f"Arrays of a page are of {', '.join(TYPES)}; {name} is of {array.dtype}.")
        data = _padded(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes(), b"\0")
        described[name] = {"type": array.dtype.name, "shape": list(array.shape), "offset": place}
        parts.append(data)
        place += len(data)
    text = json.dumps({**header, "arrays": described}, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-(len(MAGIC) + 4 + len(text)) % _ALIGNMENT)
    block = b"".join([MAGIC, len(text).to_bytes(4, "little"), text, *parts])
    return base64.b64encode(gzip.compress(block, 6, mtime=0)).decode()


def _padded(data: bytes, with_byte: bytes) -> bytes:
    return data + with_byte * (-len(data) % _ALIGNMENT)


def unpacked(text: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The inverse of `packed`."""
    block = gzip.decompress(base64.b64decode(text))
    first = len(MAGIC) + 4
    start = first + int.from_bytes(block[len(MAGIC) : first], "little")
    header = json.loads(block[first:start])
    arrays = {}
    for name, about in header.pop("arrays").items():
        count, place = int(np.prod(about["shape"])), start + about["offset"]
        arrays[name] = np.frombuffer(block, about["type"], count, place).reshape(about["shape"])
    return header, arrays
