"""Files without their seal, so that a test can change what is in them."""

from pathlib import Path


def unseal(path: Path) -> Path:
    """Take off the mark in front, and what stands behind the HDF5 part."""
    content = bytearray(path.read_bytes())
    assert content.startswith(b"cf-seal1") and content.endswith(b"cf-seal1")
    told = int.from_bytes(content[-16:-8], "big")
    path.unlink()
    path.write_bytes(bytes(8) + content[8 : len(content) - told - 48])
    return path
