"""Pictures of a world as its own library draws it, of a size that a panel of `play` shows."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import UInt8

Picture = UInt8[np.ndarray, "height width 3"]

LONGEST = 420
"""Pixels of a picture's longer side, at most: what a panel shows of it; hundreds of steps are kept."""

_DOTS = 42  # an inch; libraries draw on ten


def as_picture(drawn: Any) -> Picture | None:
    """What a library drew in red, green and blue, made small enough; None where it is no picture.

    Args:
        drawn: whole numbers from 0 to 255, (height, width, 3), or 4 with how opaque it is, which is dropped.
    """
    pixels = np.asarray(drawn)
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or not np.issubdtype(pixels.dtype, np.integer):
        return None
    if not pixels.size:
        return None
    pillow = importlib.import_module("PIL.Image")  # it comes with matplotlib
    image = pillow.fromarray(np.ascontiguousarray(pixels[:, :, :3], np.uint8))
    image.thumbnail((LONGEST, LONGEST))
    return np.array(image)


@contextmanager
def without_windows() -> Iterator[None]:
    """Let libraries draw by pyplot without any window, and leave no figure of theirs behind."""
    from matplotlib import pyplot, rc_context
    from matplotlib.backends.registry import BackendFilter, backend_registry

    before, shown = pyplot.get_backend(), set(pyplot.get_fignums())
    shows = before.lower() in map(str.lower, backend_registry.list_builtin(BackendFilter.INTERACTIVE))
    if shows:
        pyplot.switch_backend("agg")
    try:
        with rc_context({"figure.dpi": _DOTS}):
            yield
    finally:
        for number in set(pyplot.get_fignums()) - shown:
            pyplot.close(number)
        if shows:
            pyplot.switch_backend(before)
