"""One function of a model that is exported: what files of every format are held against."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Array


class Exported(NamedTuple):
    """One function of a model.

    Attributes:
        call: arrays (batch, …) to a dictionary of arrays (batch, …).
        inputs: names and sizes of its arguments, in order.
        examples: arguments as they occur, of a few rows.
    """

    call: Callable[..., dict[str, Array]]
    inputs: dict[str, int]
    examples: tuple[np.ndarray, ...]
